"""Features of the rows of a table, as few and as short as a report can hold."""

from __future__ import annotations

import numpy as np

from sklearn_synset.inspection._plotting import shortened
from sklearn_synset.inspection._report._packing import rounded
from sklearn_synset.inspection._shown_rows import telling_features

_CELLS = 200_000
_FEWEST = 8
_CHARACTERS = 240  # of the texts of a row together
_SHORTEST = 40


def flat(rows: np.ndarray) -> np.ndarray:
    """Return rows with one axis of features.

    Parameters
    ----------
    rows : ndarray of shape (n, d...)
        Rows; of shape (n,) for a single feature.

    Returns
    -------
    rows : ndarray of shape (n, d)
        The same.
    """
    return np.asarray(rows).reshape(len(rows), -1) if len(rows) else np.empty((0, 1))


def kept_features(rows: np.ndarray, n_rows: int) -> np.ndarray:
    """Return the features that there is room for.

    Parameters
    ----------
    rows : ndarray of shape (m, d)
        Rows between which the features should differ.
    n_rows : int
        Rows that the report holds.

    Returns
    -------
    features : ndarray of shape (at most d,)
        Positions in their order: all, or those with the largest range over the standard deviation.
    """
    n_features = rows.shape[1]
    n_kept = max(_CELLS // max(n_rows, 1), _FEWEST)
    if n_kept >= n_features:
        return np.arange(n_features)
    return telling_features(rows, rows, n_kept)


def is_number(column: np.ndarray) -> bool:
    """Return whether a feature holds numbers.

    Parameters
    ----------
    column : ndarray of shape (n,)
        Its values.
    """
    if column.dtype.kind in "iuf":
        return True
    if column.dtype.kind != "O":
        return False
    return all(
        value is None
        or (isinstance(value, (int, float, np.number)) and not isinstance(value, bool))
        for value in column
    )


def columns_of(rows: np.ndarray, features: np.ndarray, numeric: list[bool]) -> list[list]:
    """Return the values of some features, ready for JSON.

    Parameters
    ----------
    rows : ndarray of shape (n, d)
        Rows.
    features : ndarray of shape (m,)
        Positions of the features.
    numeric : list of m bool
        Whether each of them holds numbers.

    Returns
    -------
    columns : list of m list of n
        Numbers in four significant digits, or texts cut to some length; None if not known.
    """
    length = max(_SHORTEST, _CHARACTERS // max(len(features), 1))
    return [
        rounded(rows[:, k].astype(float)) if is_numeric else _texts(rows[:, k], length)
        for k, is_numeric in zip(features, numeric, strict=True)
    ]


def centre_and_spread(column: np.ndarray) -> tuple[float, float]:
    """Return the mean and the standard deviation of a feature.

    Parameters
    ----------
    column : ndarray of shape (n,)
        Its values; NaN are left out.
    """
    values = column.astype(float)
    values = values[np.isfinite(values)]
    if not len(values):
        return float("nan"), float("nan")
    return float(values.mean()), float(values.std())


def _texts(column: np.ndarray, length: int) -> list:
    # Only what is missing, such as NaN, differs from itself.
    return [
        None if value is None or value != value else shortened(value, length) for value in column
    ]
