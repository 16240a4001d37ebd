"""Targets: whether they are class labels or values, and their codes."""

import warnings

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_consistent_length
from skorch import NeuralNet, NeuralNetClassifier, NeuralNetRegressor
from torch import nn

from sklearn_synset._data.input_checks import (
    CHECK_TURN,
    exact_labels,
    refuse_masked,
    refuse_missing,
    sorted_labels,
    unknown_labels,
)

_MAX_CLASSES_OF_FLOATS = 20
_ROUNDING = 1e-4
_IGNORED = -100  # by torch's criteria, if nothing else is said
_OF_VALUES = (
    *(nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss),
    *(nn.PoissonNLLLoss, nn.GaussianNLLLoss),
)
_MULTILABEL = "for several labels a row pass task='multilabel'"


def read_target(
    y: np.ndarray, estimator: object, task: str = "auto", classes: object = None
) -> tuple[np.ndarray | None, np.ndarray]:
    """Find the classes of a training target, and encode it.

    Parameters
    ----------
    y : ndarray of shape (n,), (n, C) or (n, t)
        Labels, class probabilities, or values.
    estimator : object
        What is wrapped.
    task : {"auto", "classification", "multilabel", "regression"}, default="auto"
        What `y` is; read off `y` and the estimator if "auto".
    classes : array-like of shape (C,), default=None
        All labels; those in `y` if None.

    Returns
    -------
    classes : ndarray of shape (C,) or None
        The sorted labels; None for regression.
    target : ndarray of shape (n,), (n, C) or (n, t)
        Codes 0, …, C - 1, probabilities of the sorted classes, finite values, or 0 and 1 for
        several labels a row.

    Raises
    ------
    TypeError
        If labels are bytes, or cannot be sorted.
    ValueError
        If `y` may be several things, or is not what `task` and `classes` say.
    """
    inner = estimator.estimator if isinstance(estimator, FrozenEstimator) else estimator
    kind = _kind_of_target(y, inner, task)
    given = None if classes is None else _given_classes(classes)
    if kind == "multilabel":
        if given is not None:
            raise ValueError("classes are for one label a row, but y holds several.")
        return None, check_multilabel(y)
    if kind == "values":
        if given is not None:
            raise ValueError(f"classes are for labels, but y holds values (task={task!r}).")
        dtype = y.dtype if y.dtype.kind == "f" else np.float64
        return None, check_array(y, dtype=dtype, ensure_2d=False, input_name="y")
    if kind == "probabilities":
        return _soft_target(y, given)
    y = column_or_1d(y, warn=True)
    refuse_missing(y, "y")
    if y.dtype.kind == "S":
        raise TypeError("y holds bytes; decode them to strings.")
    found, codes = sorted_labels(y, "y")
    _refuse_ignored(found, inner, given)
    check_classification_targets(y)
    if given is None:
        return found, codes
    unknown = unknown_labels(found, given)
    if unknown:
        raise ValueError(f"y holds labels that are not in classes={given.tolist()}: {unknown}.")
    known = np.sort(given)
    return known, np.searchsorted(known, y)


def _refuse_ignored(found: np.ndarray, estimator: object, given: np.ndarray | None) -> None:
    """Raise a ValueError for a label that a net's criterion ignores, and that is no class."""
    if not isinstance(estimator, NeuralNet) or found.dtype.kind not in "if":
        return
    ignored = estimator.get_params_for("criterion").get("ignore_index", _IGNORED)
    if ignored < 0 and ignored in found and (given is None or ignored not in given):
        raise ValueError(
            f"y holds no class in some rows: the net's criterion ignores the label {ignored} "
            "(ignore_index). Leave these rows out, as nothing is learnt from them."
        )


def check_multilabel(y: np.ndarray) -> np.ndarray:
    """Return several labels a row (n, L) as floats; a ValueError unless they are 0 and 1."""
    target = check_array(y, dtype=np.float64, ensure_2d=False, input_name="y")
    if target.ndim != 2 or not np.isin(target, (0, 1)).all():
        raise ValueError(
            "Several labels a row are 0 and 1 in y of shape (n_rows, n_labels); got shape "
            f"{target.shape} and values between {target.min():.3g} and {target.max():.3g}."
        )
    return target


def loss_of_target(
    classes: np.ndarray | None, y: np.ndarray, estimator: object, task: str = "auto"
) -> str:
    """Return the name of the loss that goes with a target.

    Parameters
    ----------
    classes : ndarray of shape (C,) or None
        As `read_target` returned them.
    y, estimator, task
        As of `read_target`.

    Returns
    -------
    loss : {"cross_entropy", "binary_cross_entropy", "squared_error"}
        For one label a row, several labels a row, and values.
    """
    if classes is not None:
        return "cross_entropy"
    inner = estimator.estimator if isinstance(estimator, FrozenEstimator) else estimator
    is_multilabel = _kind_of_target(y, inner, task) == "multilabel"
    return "binary_cross_entropy" if is_multilabel else "squared_error"


def column_order(classes: object) -> tuple[int, ...] | None:
    """Return the column of each sorted class in a network whose columns are in a given order.

    Examples
    --------
    >>> from sklearn_synset._data.target import column_order
    >>> column_order(["dog", "cat"]), column_order(["cat", "dog"]), column_order(None)
    ((1, 0), None, None)
    """
    if classes is None:
        return None
    order = tuple(np.argsort(_given_classes(classes)).tolist())
    return None if order == tuple(range(len(order))) else order


def label_codes(target: np.ndarray, classes: np.ndarray | None) -> np.ndarray:
    """Return codes (n,) of labels, of the most probable ones of soft targets, or the values."""
    return target.argmax(1) if classes is not None and target.ndim == 2 else target


def _given_classes(classes: object) -> np.ndarray:
    """Return the classes (C,) that the user names."""
    given = np.asarray(classes)
    if given.ndim != 1 or not len(given):
        raise ValueError(f"classes must be one-dimensional, got the shape {given.shape}.")
    if len(sorted_labels(given, "classes")[0]) < len(given):
        raise ValueError(f"classes must differ from each other, got {given.tolist()}.")
    return given


def _soft_target(y: np.ndarray, classes: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the sorted classes and their probabilities (n, C)."""
    dtype = y.dtype if y.dtype.kind == "f" else np.float64
    target = check_array(y, dtype=dtype, input_name="y")
    known = np.arange(target.shape[1]) if classes is None else classes
    if len(known) != target.shape[1]:
        raise ValueError(f"y has {target.shape[1]} columns, but there are {len(known)} classes.")
    if not _are_probabilities(target):
        wrong = (target < 0).any(1) | (np.abs(target.sum(1) - 1) > _ROUNDING)
        raise ValueError(
            "y of shape (n, C) must hold class probabilities, not negative and with a sum of 1 in "
            f"each row; row {int(wrong.argmax())} is {target[wrong.argmax()].tolist()}."
        )
    order = np.argsort(known)
    return known[order], target[:, order]


def _are_probabilities(y: np.ndarray) -> bool:
    """Tell whether the rows (n, C) of a target are distributions."""
    return bool((y >= 0).all() and (np.abs(y.sum(1) - 1) <= _ROUNDING).all())


def _kind_of_target(y: np.ndarray, estimator: object, task: str) -> str:
    """Return whether a target holds "labels", "probabilities", "multilabel" or "values"."""
    if task == "multilabel":
        return "multilabel"
    if task == "regression":
        return "values"
    is_wide = isinstance(y, np.ndarray) and y.ndim == 2 and y.shape[1] > 1
    if task == "classification":
        return "probabilities" if is_wide else "labels"
    if not is_wide or y.dtype.kind not in "biuf":
        return "labels" if is_classification(y, estimator) else "values"
    with np.errstate(invalid="ignore"):
        is_binary, is_soft = bool(np.isin(y, (0, 1)).all()), _are_probabilities(y)
    if isinstance(estimator, NeuralNet):
        if not is_classification(y, estimator):
            return "values"
        if is_binary and _is_of_kind(estimator.criterion, (nn.BCEWithLogitsLoss,)):
            return "multilabel"
        if is_binary and not is_soft:
            raise ValueError(
                "y holds several labels a row, which need criterion=torch.nn.BCEWithLogitsLoss."
            )
        return "probabilities" if is_soft else "labels"
    if is_soft:
        raise ValueError(
            f"y of shape {y.shape} may hold class probabilities or values: its rows sum to 1. "
            "Pass task='classification' for probabilities (one-hot rows among them), or "
            "task='regression' for values."
        )
    if is_binary:
        raise ValueError(
            f"y of shape {y.shape} holds nothing but 0 and 1: several labels a row, or values? "
            f"Pass task='regression' for values; {_MULTILABEL}."
        )
    return "labels" if is_classification(y, estimator) else "values"


def encode_target(
    y: object,
    classes: np.ndarray | None,
    X: np.ndarray,
    n_outputs: int | None = None,
    order: tuple[int, ...] | None = None,
) -> np.ndarray:
    """Encode the labels or values of queries.

    Parameters
    ----------
    y : array-like of shape (q,), (q, C) or (q, t)
        Labels, class probabilities (of which the largest counts), or values.
    classes : ndarray of shape (C,) or None
        The labels known from `fit`; None for regression.
    X : ndarray of shape (q, d...)
        The queries.
    n_outputs : int, default=None
        Number of targets in regression; not checked if None.
    order : tuple of int, default=None
        Column of each class in class probabilities; None if they are in order.

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
    values = np.asarray(check_array(y, dtype=None, ensure_2d=False, input_name="y"))
    return _encoded(values, classes, X, n_outputs, order)


def query_target(
    y: object,
    X: np.ndarray,
    classes: np.ndarray | None,
    class_order: object,
    n_outputs: int,
    *,
    is_multilabel: bool = False,
) -> np.ndarray:
    """Return `encode_target` of labels whose probabilities come in the order that the user gave."""
    order = None if classes is None else column_order(class_order)
    with CHECK_TURN:
        target = encode_target(exact_labels(y), classes, X, n_outputs, order)
        return check_multilabel(target) if is_multilabel else target


def _encoded(
    y: np.ndarray,
    classes: np.ndarray | None,
    X: np.ndarray,
    n_outputs: int | None,
    order: tuple[int, ...] | None,
) -> np.ndarray:
    """Encode labels or values that are an array."""
    check_consistent_length(X, y)
    if classes is None:
        n_targets = 1 if y.ndim == 1 else y.shape[1]
        if n_outputs not in (None, n_targets):
            raise ValueError(f"y has {n_targets} targets, but there were {n_outputs} in fit.")
        return y.astype(X.dtype)
    if y.ndim == 2 and y.shape[1] == len(classes) > 1 and _are_probabilities(y):
        return (y if order is None else y[:, list(order)]).argmax(1)
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
    with CHECK_TURN:
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
        integers; except under a skorch regressor or another net whose criterion takes values.

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
        return not _is_of_kind(estimator.criterion, _OF_VALUES)
    if y.dtype.kind != "f":
        return True
    with np.errstate(invalid="ignore"):  # large values are compared with their integers
        is_discrete = type_of_target(y, input_name="y") in ("binary", "multiclass")
    return is_discrete and len(np.unique(y)) <= _MAX_CLASSES_OF_FLOATS


def _is_of_kind(criterion: object, kinds: tuple[type, ...]) -> bool:
    kind = criterion if isinstance(criterion, type) else type(criterion)
    return issubclass(kind, kinds)
