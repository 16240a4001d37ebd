"""What a retrained estimator says of a query, in the unit of the attributor's objectives."""

from typing import Any

import numpy as np
import torch
from scipy.special import logsumexp
from sklearn.pipeline import Pipeline
from skorch import NeuralNet

from sklearn_synset._network.functional_model import linked
from sklearn_synset._objective.objective import Objective
from sklearn_synset._wrapping.skorch_net import read_criterion
from sklearn_synset.metrics._training import final_net

_EPSILON = np.finfo(np.float64).eps
_SAME = 1e-5  # between probabilities, of which some are float32


def objective_values(
    fitted: Any, X: Any, y: np.ndarray, classes: np.ndarray | None, objective: Objective
) -> np.ndarray:
    """Return the objective of each query.

    Parameters
    ----------
    fitted : object
        Fitted predictor.
    X : array-like of shape (n_queries, n_features...)
        Queries.
    y : ndarray of shape (n_queries,)
        Codes of their labels, or values.
    classes : ndarray of shape (n_classes,) or None
        Sorted labels; None for regression.
    objective : callable
        Maps outputs (n_queries, n_outputs) and labels to values (n_queries,), as tensors.

    Returns
    -------
    values : ndarray of shape (n_queries,)
        float64, in the objective's unit.

    Raises
    ------
    ValueError
        If the outputs are not finite, or of another width than the number of classes.
    """
    with torch.no_grad():
        outputs = torch.as_tensor(predictor_outputs(fitted, X, classes))
        if not torch.isfinite(outputs).all():
            raise ValueError(diverged(fitted))
        return objective(outputs, torch.as_tensor(y)).double().numpy()


def diverged(estimator: object) -> str:
    """Return what to say of an estimator whose outputs are not finite."""
    return (
        f"A retrained {type(estimator).__name__} returned NaN or infinity for a query: its "
        "training diverged."
    )


def predictor_outputs(fitted: Any, X: Any, classes: np.ndarray | None) -> np.ndarray:
    """Return logits of the classes, or predictions.

    Parameters
    ----------
    fitted : object
        Fitted predictor.
    X : array-like of shape (n_queries, n_features...)
        Queries.
    classes : ndarray of shape (n_classes,) or None
        Sorted labels; None for regression.

    Returns
    -------
    outputs : ndarray of shape (n_queries, n_classes) or (n_queries, n_targets)
        float64.

    Raises
    ------
    ValueError
        If the width is not the number of classes.
    TypeError
        If the predictor of a classification has neither probabilities nor a decision function.
    """
    net = final_net(fitted)
    if net is not None:
        rows = fitted[:-1].transform(X) if isinstance(fitted, Pipeline) else X
        outputs = _net_outputs(net, rows, classes)
    elif classes is None:
        outputs = np.asarray(fitted.predict(X), dtype=np.float64)
        outputs = outputs.reshape(len(outputs), -1)
    else:
        outputs = _classifier_logits(fitted, X, classes)
    if classes is not None and outputs.shape[1] != len(classes):
        raise ValueError(
            f"The retrained {type(fitted).__name__} has {outputs.shape[1]} outputs, but y holds "
            f"{len(classes)} classes."
        )
    return outputs


def _net_outputs(net: NeuralNet, X: Any, classes: np.ndarray | None) -> np.ndarray:
    """Return a net's logits, or predictions, by the criterion that it was trained with."""
    output = net.forward(X)
    output = output[0] if isinstance(output, tuple) else output
    output = output.reshape(len(output), -1)
    return (output if classes is None else linked(output, _link(net))).double().numpy()


def _link(net: NeuralNet) -> str:
    """Return what makes logits of a net's outputs; class weights do not matter to that."""
    if isinstance(net.criterion_, torch.nn.CrossEntropyLoss):
        return "identity"
    if isinstance(net.criterion_, torch.nn.BCEWithLogitsLoss):
        return "single_logit"
    return read_criterion(net).link


def _classifier_logits(fitted: Any, X: Any, classes: np.ndarray) -> np.ndarray:
    """Return logits of a classifier, up to a shift shared by each row's."""
    probability = fitted.predict_proba(X) if hasattr(fitted, "predict_proba") else None
    decision = fitted.decision_function(X) if hasattr(fitted, "decision_function") else None
    if probability is None and decision is None:
        raise TypeError(
            f"{type(fitted).__name__} has neither predict_proba nor decision_function, so it has "
            "no margin; pass a classifier that has one."
        )
    if decision is not None:
        decision = _one_column_each(np.asarray(decision, dtype=np.float64))
        # Of a support vector machine, say, they are not the logits of its probabilities.
        if probability is None or _are_logits(decision, probability):
            return decision
    return np.log(np.clip(np.asarray(probability, dtype=np.float64), _EPSILON, None))


def _one_column_each(decision: np.ndarray) -> np.ndarray:
    """Return a column for each of two classes where only the second's log-odds are given."""
    if decision.ndim == 2 and decision.shape[1] > 1:
        return decision
    flat = decision.reshape(-1)
    return np.stack([np.zeros_like(flat), flat], axis=1)


def _are_logits(decision: np.ndarray, probability: np.ndarray) -> bool:
    """Tell whether probabilities are the softmax of decision values."""
    if decision.shape != probability.shape:
        return False
    softmax = np.exp(decision - logsumexp(decision, axis=1, keepdims=True))
    return bool(np.abs(softmax - probability).max() < _SAME)
