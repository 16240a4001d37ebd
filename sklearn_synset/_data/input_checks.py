"""Checks of rows, labels and groups that scikit-learn's own do not make."""

import threading

import numpy as np
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.validation import check_consistent_length

from sklearn_synset._data.row_source import at_once, row_slices

# scikit-learn's checks replace the warning filters of the process for a moment; of two threads that
# do, the later may set back what the earlier had replaced.
CHECK_TURN = threading.RLock()


def refuse_masked(array: object, name: str) -> None:
    """Raise a ValueError for a masked array whose masked values would be taken for data."""
    if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
        raise ValueError(f"{name} is a masked array, whose masked values would be used; fill them.")


def check_range(X: np.ndarray) -> None:
    """Raise a ValueError for training rows whose squared distances overflow.

    Parameters
    ----------
    X : ndarray of shape (n, d...)
        Finite rows.
    """
    if X.dtype.kind != "f":
        return
    largest = max(abs(float(X.max())), abs(float(X.min())))
    limit = float(np.sqrt(np.finfo(X.dtype).max / X.size)) / 2
    if largest > limit:
        raise ValueError(
            f"X holds values up to {largest:.2g}, whose squares overflow in {X.dtype}; scale the "
            "features, for instance with StandardScaler."
        )


def check_row_shape(X: np.ndarray, expected: tuple[int, ...]) -> None:
    """Raise a ValueError unless queries (q, d...) have the shape d... of the rows of `fit`."""
    if X.shape[1:] != tuple(expected):
        raise ValueError(
            f"X has rows of shape {X.shape[1:]}, but SynsetAttributor was fitted with rows of "
            f"shape {tuple(expected)}."
        )


def check_option(name: str, value: object, options: tuple[str, ...]) -> None:
    """Raise a ValueError unless a value is one of some options."""
    if value not in options:
        *first, last = map(repr, options)
        raise ValueError(f"{name}={value!r} is not known; expected {', '.join(first)} or {last}.")


def check_groups(groups: object, X: np.ndarray) -> np.ndarray:
    """Return the label of each row's group.

    Parameters
    ----------
    groups : array-like of shape (n,)
        Labels of any one type that can be sorted.
    X : ndarray of shape (n, d...)
        Training rows.

    Returns
    -------
    groups : ndarray of shape (n,)
        The same.

    Raises
    ------
    TypeError
        If the labels are of types that cannot be sorted together.
    ValueError
        If there is not one for each row, or one is missing.
    """
    refuse_masked(groups, "groups")
    groups = exact_labels(groups)
    shape = np.shape(groups)  # type: ignore[call-overload]
    if len(shape) != 1 and shape[1:] != (1,):
        raise ValueError(f"groups should be a 1d array, got an array of shape {shape} instead.")
    labels = np.asarray(column_or_1d(groups))
    check_consistent_length(X, labels)
    refuse_missing(labels, "groups")
    sorted_labels(labels, "groups")
    return labels


def numbered_groups(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the different groups (K,), sorted, and the code (n,) of each row's; at least two."""
    groups, codes = np.unique(labels, return_inverse=True)
    if len(groups) < 2:
        n_rows = f"{len(labels)} sample" + "s" * (len(labels) > 1)
        raise ValueError(
            f"At least 2 groups are needed to leave one out, got {len(groups)} of {n_rows}."
        )
    return groups, codes


def check_sample_weight(sample_weight: object, X: np.ndarray) -> np.ndarray | None:
    """Return the weight of each row's loss, with mean 1; None if none is given.

    Parameters
    ----------
    sample_weight : array-like of shape (n,) or None
        Not negative, and not all 0.
    X : ndarray of shape (n, d...)
        Training rows.

    Returns
    -------
    weight : ndarray of shape (n,), dtype float64
        The same, over their mean.

    Raises
    ------
    ValueError
        If there is not one for each row, or one is negative or not finite, or all are 0.
    """
    if sample_weight is None:
        return None
    refuse_masked(sample_weight, "sample_weight")
    weight = check_array(
        sample_weight, dtype=np.float64, ensure_2d=False, input_name="sample_weight"
    )
    if weight.ndim != 1:
        raise ValueError(f"sample_weight should be a 1d array, got shape {weight.shape}.")
    check_consistent_length(X, weight)
    if (weight < 0).any():
        raise ValueError(f"sample_weight holds negative values, such as {weight.min():.3g}.")
    if not weight.any():
        raise ValueError("sample_weight is zero for all rows.")
    return weight / weight.mean()


def exact_labels(labels: object) -> object:
    """Return labels such that no integer becomes a float on its way into an array.

    Returns
    -------
    labels : array-like
        An array of integers or booleans in the place of a pandas array that may hold missing
        values and holds none, and of Python integers that have no common dtype in numpy; all
        others are returned as they came.

    Examples
    --------
    >>> from sklearn_synset._data.input_checks import exact_labels
    >>> exact_labels([2**63, -1])
    array([9223372036854775808, -1], dtype=object)
    """
    dtype = getattr(labels, "dtype", None)
    exact = getattr(dtype, "numpy_dtype", None)
    if exact is not None and exact.kind in "iub" and not labels.isna().any():  # type: ignore[attr-defined]
        return labels.to_numpy(dtype=exact)  # type: ignore[attr-defined]
    if isinstance(labels, (list, tuple)) and all(type(each) is int for each in labels):
        found = np.asarray(labels)
        return found if found.dtype.kind in "iu" else np.asarray(labels, dtype=object)
    return labels


def result_dtype(X: np.ndarray) -> np.dtype:
    """Return the dtype of results for rows: theirs, and float64 for integers."""
    return X.dtype if X.dtype.kind == "f" else np.dtype(np.float64)


def as_integers(X: np.ndarray) -> np.ndarray:
    """Return queries as 64-bit integers; a ValueError if some are none."""
    if X.dtype.kind == "f" and not are_integers(X):
        wrong = X[X != np.floor(X)]
        raise ValueError(f"X must hold integers, as in fit; got {float(wrong[0]):.6g}.")
    return X.astype(np.int64)


def are_integers(X: np.ndarray) -> bool:
    """Tell whether all values are whole numbers that 64-bit integers hold."""
    if max(X.max(), -X.min()) >= 2**63:
        return False
    return all((X[rows] == np.floor(X[rows])).all() for rows in row_slices(len(X), at_once(X)))


def refuse_missing(labels: np.ndarray, name: str) -> None:
    """Raise a ValueError for labels that are NaN, infinity or NaT."""
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise ValueError(f"{name} holds NaN or infinity.")
    if labels.dtype.kind in "mM" and np.isnat(labels).any():
        raise ValueError(f"{name} holds NaT.")


def sorted_labels(labels: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the different labels, sorted, and the code (n,) of each.

    Parameters
    ----------
    labels : ndarray of shape (n,)
        Labels.
    name : str
        What to call them in an error.

    Returns
    -------
    unique : ndarray of shape (C,)
        The different labels.
    codes : ndarray of shape (n,)
        Which of them each is.

    Raises
    ------
    TypeError
        If they are of types that cannot be sorted together.
    """
    try:
        unique, codes = np.unique(labels, return_inverse=True)
    except TypeError as error:
        types = sorted({type(label).__name__ for label in labels})
        raise TypeError(
            f"{name} must hold labels of one type, none of them missing; got {', '.join(types)}."
        ) from error
    return unique, codes.reshape(labels.shape)


def unknown_labels(labels: np.ndarray, known: np.ndarray) -> list:
    """Return the labels that are not among the known ones; "1" and 1 are two labels.

    Parameters
    ----------
    labels : ndarray of shape (n,)
        Labels.
    known : ndarray of shape (C,)
        Known ones.
    """
    kinds = ["number" if each.dtype.kind in "biuf" else each.dtype.kind for each in (labels, known)]
    if kinds[0] != kinds[1] and "O" not in kinds and len(labels):
        return np.unique(labels).tolist()
    try:
        return np.setdiff1d(labels, known).tolist()
    except TypeError:
        # Some cannot be compared with the known ones, and so are not among them.
        return [label for label in labels.tolist() if label not in set(known.tolist())]


def finite(values: np.ndarray, what: str) -> np.ndarray:
    """Return values unless some are NaN or infinite.

    Parameters
    ----------
    values : ndarray of shape (q, ...)
        Results for q queries.
    what : str
        What to call them in an error.

    Returns
    -------
    values : ndarray of shape (q, ...)
        The same.

    Raises
    ------
    ValueError
        If some are not finite.
    """
    wrong = ~np.isfinite(values).reshape(len(values), -1).all(1)
    if wrong.any():
        raise ValueError(
            f"The {what} of {int(wrong.sum())} of {len(values)} queries, the first of them row "
            f"{int(wrong.argmax())}, hold NaN or infinity: the network's outputs or the objective "
            "overflow there. Are these rows on the scale of those given to fit?"
        )
    return values
