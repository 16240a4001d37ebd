"""Rows as people see them: which are typical, as pictures, and by which features."""

from __future__ import annotations

import numpy as np

_CHANNELS = (1, 3, 4)


def take(X, rows: np.ndarray) -> np.ndarray:
    """Return rows of an array or a DataFrame as an array.

    Parameters
    ----------
    X : array-like of shape (n, d...)
        Rows.
    rows : ndarray of shape (m,)
        Which.

    Returns
    -------
    taken : ndarray of shape (m, d...)
        Of dtype object for columns of several types.
    """
    return X.iloc[rows].to_numpy() if hasattr(X, "iloc") else np.asarray(X)[rows]


def names_of_features(X, n_features: int, given=None) -> list[str]:
    """Return the names of the columns.

    Parameters
    ----------
    X : array-like of shape (n, d...)
        Rows.
    n_features : int
        Number of columns.
    given : array-like of shape (d,), default=None
        Names that go before those of a DataFrame.
    """
    names = getattr(X, "columns", None) if given is None else given
    return [f"x{i}" for i in range(n_features)] if names is None else [str(name) for name in names]


def typical_rows(
    X: np.ndarray, labels: np.ndarray, groups: np.ndarray, n: int | None
) -> list[np.ndarray]:
    """Return the rows of each group that are closest to its mean, in standardised features.

    Parameters
    ----------
    X : ndarray of shape (n_rows, d...)
        Rows, numeric.
    labels : ndarray of shape (n_rows,)
        Group of each.
    groups : ndarray of shape (K,)
        Wanted groups.
    n : int or None
        Rows to return of each group; all if None.

    Returns
    -------
    rows : list of K ndarray of shape (at most n,)
        Positions in `X`, the most typical first.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_synset.inspection._shown_rows import typical_rows
    >>> X = np.array([[0.0], [4.0], [5.0], [9.0]])
    >>> typical_rows(X, np.array(["a", "a", "a", "b"]), np.array(["a", "b"]), 2)
    [array([1, 2]), array([3])]
    """
    flat = np.asarray(X).reshape(len(X), -1)
    scale = flat.std(0, dtype=float)
    scale[scale == 0] = 1
    found = []
    for group in groups:
        members = np.flatnonzero(labels == group)
        rows = flat[members] / scale
        distance = np.square(rows - rows.mean(0)).sum(1)
        found.append(members[np.argsort(distance, kind="stable")[:n]])
    return found


def picture_shape(X, input_shape=None, given=None) -> tuple[int, ...] | None:
    """Return the shape in which rows can be shown as pictures.

    Parameters
    ----------
    X : array-like of shape (n, d...)
        Rows.
    input_shape : tuple of int, default=None
        Shape that flat rows have for the network.
    given : tuple of int, default=None
        Shape that was asked for.

    Returns
    -------
    shape : tuple of int or None
        (height, width), (channels, height, width) or (height, width, channels); None when rows
        are no pictures.

    Raises
    ------
    ValueError
        If the shape that was asked for is none of these, or does not fit the rows.
    """
    size = int(np.prod(np.shape(X)[1:]))
    if given is not None:
        if not _is_picture(given) or np.prod(given) != size:
            raise ValueError(
                "image_shape must be (height, width), (channels, height, width) or (height, width, "
                f"channels) with {size} values and 1, 3 or 4 channels; got {given!r}."
            )
        return tuple(given)
    for shape in (np.shape(X)[1:], tuple(input_shape or ())):
        if _is_picture(shape) and np.prod(shape) == size:
            return shape
    return None


def _is_picture(shape) -> bool:
    if len(shape) == 3:
        return shape[0] in _CHANNELS or shape[2] in _CHANNELS
    return len(shape) == 2


def as_pictures(rows: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return rows as matplotlib takes pictures.

    Parameters
    ----------
    rows : ndarray of shape (m, d...)
        Rows.
    shape : tuple of int
        As of `picture_shape`.

    Returns
    -------
    pictures : ndarray of shape (m, height, width) or (m, height, width, channels)
        Channels last.
    """
    pictures = np.asarray(rows, dtype=float).reshape(-1, *shape)
    if len(shape) == 3 and shape[0] in _CHANNELS:
        pictures = np.moveaxis(pictures, 1, -1)
    return pictures[..., 0] if pictures.shape[3:] == (1,) else pictures


def picture_style(pictures: np.ndarray) -> tuple[np.ndarray, dict]:
    """Return pictures on one common scale, and how to draw them.

    Parameters
    ----------
    pictures : ndarray of shape (m, height, width) or (m, height, width, channels)
        As of `as_pictures`.

    Returns
    -------
    pictures : ndarray
        From 0, the smallest value of all, to 1, the largest.
    style : dict
        Arguments of matplotlib's `imshow`; the largest value of a grey picture is black.
    """
    low, span = pictures.min(), np.ptp(pictures)
    style = {"cmap": "gray_r", "vmin": 0, "vmax": 1, "interpolation": "nearest"}
    return (pictures - low) / (span or 1), style


def telling_features(rows: np.ndarray, all_rows: np.ndarray, n: int) -> np.ndarray:
    """Return the features in which some rows differ most, for what is usual among all.

    Parameters
    ----------
    rows : ndarray of shape (m, d)
        The rows to tell apart; text is allowed.
    all_rows : ndarray of shape (k, d)
        Rows that say how much each feature varies.
    n : int
        Features to return.

    Returns
    -------
    features : ndarray of shape (at most n,)
        Positions of the features, in their order: those with the largest range over the standard
        deviation of all rows, where different texts are one standard deviation apart.
    """
    spread = [_spread(*columns) for columns in zip(rows.T, all_rows.T, strict=True)]
    return np.sort(np.argsort(-np.array(spread), kind="stable")[:n])


def _spread(values: np.ndarray, all_values: np.ndarray) -> float:
    try:
        values, all_values = values.astype(float), all_values.astype(float)
    except (TypeError, ValueError):
        return len({str(value) for value in values}) - 1.0
    scale = np.nanstd(all_values)
    return float((np.nanmax(values) - np.nanmin(values)) / scale) if scale > 0 else 0.0
