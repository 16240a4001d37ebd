"""Training rows and queries as arrays that have passed scikit-learn's checks and the package's."""

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data

from sklearn_synset._data.dataset_rows import rows_of
from sklearn_synset._data.input_checks import (
    CHECK_TURN,
    as_integers,
    check_range,
    check_row_shape,
    exact_labels,
    refuse_masked,
)

_FLOATS = (np.float64, np.float32)
# Integers are kept as they came until the network has been tried on them.
_NUMBERS = (*_FLOATS, np.int64, np.int32, np.int16, np.int8, np.uint8, np.uint16, np.uint32)


def training_data(estimator: BaseEstimator, X: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return training rows and their labels or values; sets the number and names of features.

    Returns
    -------
    X : ndarray of shape (n, d...)
        Numbers of the type that they came in, or float64.
    y : ndarray of shape (n,) or (n, t)
        Labels or values.
    """
    X, y = rows_of(X, y)
    refuse_masked(X, "X")
    refuse_masked(y, "y")
    y = exact_labels(y)
    X, y = validate_data(estimator, X, y, dtype=_NUMBERS, allow_nd=True, multi_output=True)
    check_range(X)
    return X, y


def query_rows(
    estimator: BaseEstimator, X: object, row_shape: tuple[int, ...], *, takes_integers: bool
) -> np.ndarray:
    """Return queries (q, d...) as floats, or as integers where the network needs such.

    Parameters
    ----------
    estimator : BaseEstimator
        What was fitted.
    X : array-like of shape (q, d...)
        Queries.
    row_shape : tuple of int
        Shape of a row in `fit`.
    takes_integers : bool
        Whether the network needs integers.
    """
    refuse_masked(X, "X")
    kinds = _NUMBERS if takes_integers else _FLOATS
    with CHECK_TURN:
        rows = validate_data(estimator, X, dtype=kinds, allow_nd=True, reset=False)
    rows = as_integers(rows) if takes_integers else rows
    check_row_shape(rows, row_shape)
    return rows
