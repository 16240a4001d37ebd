"""Targets: whether they are class labels or values, and their codes."""

import warnings

import numpy as np
import torch
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_consistent_length
from skorch import NeuralNet, NeuralNetClassifier, NeuralNetRegressor

from sklearn_synset._data.input_checks import (
    refuse_masked,
    refuse_missing,
    sorted_labels,
    unknown_labels,
)

_MAX_CLASSES_OF_FLOATS = 20


def read_target(y: np.ndarray, estimator: object) -> tuple[np.ndarray | None, np.ndarray]:
    """Tell the classes of a training target, and encode it.

    Parameters
    ----------
    y : ndarray of shape (n,) or (n, t)
        Target.

    estimator : object
        What is wrapped.

    Returns
    -------
    classes : ndarray of shape (C,) or None
        The sorted labels; None for regression.

    target : ndarray of shape (n,) or (n, t)
        Codes 0, …, C - 1, or finite values.
    """
    inner = estimator.estimator if isinstance(estimator, FrozenEstimator) else estimator
    if not is_classification(y, inner):
        dtype = y.dtype if y.dtype.kind == "f" else np.float64
        return None, check_array(y, dtype=dtype, ensure_2d=False, input_name="y")
    y = column_or_1d(y, warn=True)
    refuse_missing(y, "y")
    if y.dtype.kind == "S":
        raise TypeError("y holds bytes; decode them to strings.")
    classes, codes = sorted_labels(y, "y")
    check_classification_targets(y)
    return classes, codes


def encode_target(
    y: np.ndarray, classes: np.ndarray | None, X: np.ndarray, n_outputs: int | None = None
) -> np.ndarray:
    """Encode the labels or values of queries.

    Parameters
    ----------
    y : array-like of shape (q,) or (q, t)
        Labels or values.

    classes : ndarray of shape (C,) or None
        The labels known from `fit`; None for regression.

    X : ndarray of shape (q, d...)
        The queries.

    n_outputs : int, default=None
        Number of targets in regression; not checked if None.

    Returns
    -------
    target : ndarray of shape (q,) or (q, t)
        Codes, or finite values in the dtype of `X`.

    Raises
    ------
    ValueError
        If there is not one for each query, one is missing or infinite, a label is unknown, or
        there are more or fewer targets than in `fit`.
    """
    refuse_masked(y, "y")
    y = np.asarray(check_array(y, dtype=None, ensure_2d=False, input_name="y"))
    check_consistent_length(X, y)
    if classes is None:
        n_targets = 1 if y.ndim == 1 else y.shape[1]
        if n_outputs not in (None, n_targets):
            raise ValueError(f"y has {n_targets} targets, but there were {n_outputs} in fit.")
        return y.astype(X.dtype)
    y = column_or_1d(y)
    unseen = unknown_labels(y, classes)
    if unseen:
        raise ValueError(f"y holds labels that were not seen in fit: {unseen}.")
    return np.searchsorted(classes, y)


def rows_of_known_labels(
    X: np.ndarray, y: object, classes: np.ndarray | None
) -> tuple[np.ndarray, object]:
    """Leave out queries with labels that are not known, unless none would remain.

    Parameters
    ----------
    X : ndarray of shape (q, d...)
        Queries.

    y : array-like of shape (q,)
        Their labels or values, not yet validated.

    classes : ndarray of shape (C,) or None
        The labels known from `fit`; None for regression.

    Returns
    -------
    X, y : array-like
        The queries that remain; all of them where `y` is not one label for each.

    Warns
    -----
    UserWarning
        If some are left out.
    """
    refuse_masked(y, "y")
    labels = np.asarray(check_array(y, dtype=None, ensure_2d=False, input_name="y"))
    if classes is None or labels.shape != (len(X),):
        return X, y
    unseen = unknown_labels(labels, classes)
    known = np.array([label not in unseen for label in labels.tolist()])
    if not unseen or not known.any():
        return X, y
    warnings.warn(
        f"{(~known).sum()} of {len(X)} rows are left out, as their labels were not seen in fit: "
        f"{unseen}. Folds that hold all classes avoid this (StratifiedKFold).",
        UserWarning,
        stacklevel=5,
    )
    return X[known], labels[known]


def n_outputs(classes: np.ndarray | None, target: np.ndarray) -> int:
    """Return the number of classes, or of targets of values (n,) or (n, t)."""
    if classes is not None:
        return len(classes)
    return 1 if target.ndim == 1 else target.shape[1]


def is_classification(y: np.ndarray, estimator: object) -> bool:
    """Tell from the target, and from what is wrapped, whether labels are to be predicted.

    Parameters
    ----------
    y : ndarray of shape (n,) or (n, t)
        Target.

    estimator : object
        What is wrapped, without a `FrozenEstimator` around it.

    Returns
    -------
    is_classification : bool
        True for strings, booleans and integers, and for floats that hold at most 20 different
        integers; except under a skorch regressor or another net with squared error.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_synset._data.target import is_classification
    >>> is_classification(np.array([0, 1, 2]), None), is_classification(np.array([0.5, 1.0]), None)
    (True, False)
    """
    if isinstance(estimator, NeuralNetClassifier):
        return True
    if isinstance(estimator, NeuralNetRegressor):
        return False
    if isinstance(estimator, NeuralNet):
        return not _is_squared_error(estimator.criterion)
    if y.dtype.kind != "f":
        return True
    with np.errstate(invalid="ignore"):  # large values are compared with their integers
        is_discrete = type_of_target(y, input_name="y") in ("binary", "multiclass")
    return is_discrete and len(np.unique(y)) <= _MAX_CLASSES_OF_FLOATS


def _is_squared_error(criterion: object) -> bool:
    kind = criterion if isinstance(criterion, type) else type(criterion)
    return issubclass(kind, torch.nn.MSELoss)
