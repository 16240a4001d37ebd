"""What displays ask a fitted attributor, alone or at the end of a pipeline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sklearn_synset._synset_attributor import SynsetAttributor
from sklearn_synset.inspection._plotting import shortened

_OF_LABELS = {
    "auto": ("log-odds", "nats"),
    "margin": ("log-odds", "nats"),
    "probability": ("probability", None),
    "logit": ("logit", "nats"),
    "loss": ("log-probability", "nats"),
}


def unwrapped(estimator: object) -> tuple[SynsetAttributor, Callable]:
    """Return the attributor, and what turns rows into its inputs.

    Parameters
    ----------
    estimator : SynsetAttributor or Pipeline
        Fitted; a pipeline ends in an attributor.

    Returns
    -------
    attributor : SynsetAttributor
        Fitted.

    to_inputs : callable
        Applies the steps before it.

    Raises
    ------
    TypeError
        If it is neither.
    """
    last = estimator[-1] if isinstance(estimator, Pipeline) else estimator
    if not isinstance(last, SynsetAttributor):
        raise TypeError(
            "estimator must be a SynsetAttributor or a Pipeline that ends in one; got "
            f"{type(estimator).__name__}."
        )
    check_is_fitted(last)
    if isinstance(estimator, Pipeline) and len(estimator) > 1:
        return last, estimator[:-1].transform
    return last, lambda X: X


def quantity_and_unit(
    attributor: SynsetAttributor, objective: object = None, unit: str | None = None
) -> tuple[str, str | None]:
    """Return what the attributions are effects on, and in which unit.

    Parameters
    ----------
    attributor : SynsetAttributor
        Fitted.

    objective : str or callable, default=None
        As of `SynsetAttributor.attribute`.

    unit : str, default=None
        Unit of the target of a regression.

    Returns
    -------
    quantity : str
        Such as "log-odds".

    unit : str or None
        Such as "nats"; None if there is none.
    """
    name = attributor.objective if objective is None else objective
    if callable(name):
        return getattr(name, "__name__", type(name).__name__).replace("_", " "), unit
    if attributor.classes_ is not None:
        return _OF_LABELS[str(name)]
    if name == "loss":
        return "negative half squared error", f"{unit}²" if unit else "squared unit of y"
    return "prediction", unit or "unit of y"


def predictions(attributor: SynsetAttributor, X) -> np.ndarray:
    """Return the labels or values that the explained networks predict.

    Parameters
    ----------
    attributor : SynsetAttributor
        Fitted.

    X : array-like of shape (n_queries, n_features...)
        Its inputs.

    Returns
    -------
    predicted : ndarray of shape (n_queries,) or (n_queries, n_targets)
        Labels of `classes_`, or values.
    """
    X, predicted = attributor._check_queries(X, None)
    return predicted if attributor.classes_ is None else attributor.classes_[predicted]


def effects_and_errors(
    attributor: SynsetAttributor, X, y=None, objective=None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return attributions (q, K), and their standard errors; None if these are not known."""
    has_errors = len(attributor.estimators_) > 1 or attributor._probes.measure_noise
    found = attributor.attribute(X, y, objective=objective, return_std=has_errors)
    return found if has_errors else (found, None)


def objective_values(attributor: SynsetAttributor, X, y=None, objective=None) -> np.ndarray:
    """Return each query's objective with nothing left out.

    Parameters
    ----------
    attributor : SynsetAttributor
        Fitted.

    X : array-like of shape (n_queries, n_features...)
        Its inputs.

    y : array-like of shape (n_queries,), default=None
        Labels or values; the predicted ones if None.

    objective : str or callable, default=None
        As of `SynsetAttributor.attribute`.

    Returns
    -------
    values : ndarray of shape (n_queries,)
        In the objective's unit.
    """
    X, target = attributor._check_queries(X, y)
    function = attributor._objective(attributor._online.models[0], objective)
    return attributor._online.objectives(X, target, function)


def names_of_inputs(estimator: object, X=None):
    """Return the names of the features that the attributor sees, as far as they are known.

    Parameters
    ----------
    estimator : SynsetAttributor or Pipeline
        Fitted.

    X : array-like of shape (n, d...), default=None
        Rows, as the estimator takes them.

    Returns
    -------
    names : array-like of str, or None
        None if they have none.
    """
    if isinstance(estimator, Pipeline) and len(estimator) > 1:
        try:
            return estimator[:-1].get_feature_names_out()
        except (AttributeError, ValueError):
            return None
    return getattr(X, "columns", getattr(unwrapped(estimator)[0], "feature_names_in_", None))


def check_is_training_set(attributor, X, name: str) -> None:
    """Raise a ValueError unless there is a row for each row of `fit`.

    Parameters
    ----------
    attributor : SynsetAttributor
        Fitted.

    X : array-like
        Rows or labels.

    name : str
        What they are called.
    """
    if len(X) != len(attributor.group_labels_):
        raise ValueError(
            f"{name} must be the {len(attributor.group_labels_)} rows that fit was given, in that "
            f"order; got {len(X)}."
        )


def notes_on_groups(attributor, y=None) -> list[str]:
    """Say how large each group is, and what it holds.

    Parameters
    ----------
    attributor : SynsetAttributor
        Fitted.

    y : array-like of shape (n_rows,), default=None
        Labels or values of the training rows.

    Returns
    -------
    notes : list of str
        Such as "12 rows of 5" or "40 rows, mean y 152".
    """
    labels = attributor.group_labels_
    if y is None:
        return [_count(np.sum(labels == group)) for group in attributor.groups_]
    check_is_training_set(attributor, y, "y_train")
    y = np.asarray(y)
    is_value = attributor.classes_ is None
    note = _note_on_values if is_value else _note_on_labels
    return [note(y[labels == group]) for group in attributor.groups_]


def _count(n: int) -> str:
    return f"{n} row" + ("" if n == 1 else "s")


def _note_on_labels(y: np.ndarray) -> str:
    (label, count), *_ = Counter(y.tolist()).most_common(1)
    of = "of" if count == len(y) else f", {count} of"
    return f"{_count(len(y))} {of} {shortened(label, 12)}".replace(" ,", ",")


def _note_on_values(y: np.ndarray) -> str:
    return _count(len(y)) + (f", mean y {y.mean():.3g}" if y.ndim == 1 else "")
