"""Effects of all groups on all queries, on the predicted and on the given labels."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

import numpy as np

from sklearn_synset.inspection._fitted_attributor import (
    effects_and_errors,
    objective_values,
    predictions,
)
from sklearn_synset.inspection._report._sources import Sources, take_inputs
from sklearn_synset.inspection._report._summaries import groups_to_flip, runner_up, softmax


@dataclass(frozen=True, eq=False)
class Effects:
    """What the groups do to the queries.

    Parameters
    ----------
    predicted : ndarray of shape (n_queries,) or (n_queries, n_targets)
        Codes of the predicted labels, or predicted values.
    effects : ndarray of shape (n_queries, n_groups)
        As of `SynsetAttributor.attribute`, on the predicted labels; positive supports.
    errors : ndarray of shape (n_queries, n_groups) or None
        Their standard errors by the seed of the training, if that was measured.
    values : ndarray of shape (n_queries,)
        The objective itself, with nothing left out.
    wrong : ndarray of shape (n_wrong,)
        Queries whose given label is another one.
    on_given, errors_on_given : ndarray of shape (n_wrong, n_groups) or None
        Effects on the given labels of these.
    values_on_given : ndarray of shape (n_wrong,) or None
        The objective of these labels.
    on_truth : ndarray of shape (n_queries, n_groups) or None
        Effects on minus the loss of the given labels or values: positive helps. None if none are
        given.
    probabilities : ndarray of shape (n_queries, n_classes) or None
        Of the labels.
    to_flip : ndarray of shape (n_queries,) or None
        As of `groups_to_flip`.
    seconds : float
        How long `attribute` took for all queries.
    """

    predicted: np.ndarray
    effects: np.ndarray
    errors: np.ndarray | None
    values: np.ndarray
    wrong: np.ndarray
    on_given: np.ndarray | None
    errors_on_given: np.ndarray | None
    values_on_given: np.ndarray | None
    on_truth: np.ndarray | None
    probabilities: np.ndarray | None
    to_flip: np.ndarray | None
    seconds: float


def compute_effects(sources: Sources) -> Effects:
    """Attribute all queries."""
    return _of_labels(sources) if sources.is_classification else _of_values(sources)


def _of_labels(sources: Sources) -> Effects:
    attributor, inputs, y = sources.attributor, sources.inputs, sources.y
    predicted = sources.class_codes(predictions(attributor, inputs))
    start = perf_counter()
    effects, errors = effects_and_errors(attributor, inputs)
    seconds = perf_counter() - start
    wrong = np.zeros(0, dtype=int)
    on_given = errors_on_given = values_on_given = on_truth = None
    if y is not None:
        wrong = np.flatnonzero(sources.class_codes(y) != predicted)
        on_truth = attributor.attribute(inputs, y, objective="loss")
        if len(wrong):
            misread = take_inputs(inputs, wrong), y[wrong]
            on_given, errors_on_given = effects_and_errors(attributor, *misread)
            values_on_given = objective_values(attributor, *misread)
    probabilities, to_flip = _certainty(sources, predicted)
    return Effects(
        predicted,
        effects,
        errors,
        objective_values(attributor, inputs),
        wrong,
        on_given,
        errors_on_given,
        values_on_given,
        on_truth,
        probabilities,
        to_flip,
        seconds,
    )


def _of_values(sources: Sources) -> Effects:
    attributor, inputs, y = sources.attributor, sources.inputs, sources.y
    # A prediction does not depend on y; any other objective takes the given values.
    given = None if attributor.objective in ("auto", "prediction") else y
    start = perf_counter()
    effects, errors = effects_and_errors(attributor, inputs, given)
    seconds = perf_counter() - start
    on_truth = None if y is None else attributor.attribute(inputs, y, objective="loss")
    return Effects(
        predictions(attributor, inputs),
        effects,
        errors,
        objective_values(attributor, inputs, given),
        np.zeros(0, dtype=int),
        None,
        None,
        None,
        on_truth,
        None,
        None,
        seconds,
    )


def _certainty(sources: Sources, predicted: np.ndarray) -> tuple[np.ndarray | None, ...]:
    """Return the probabilities of all labels, and how many groups a flip takes."""
    attributor, inputs = sources.attributor, sources.inputs
    classes = np.asarray(attributor.classes_)
    if len(classes) < 2:
        return None, None
    n_queries = len(predicted)
    logits = np.stack(
        [
            objective_values(attributor, inputs, np.repeat(classes[[c]], n_queries), "logit")
            for c in range(len(classes))
        ],
        axis=1,
    )
    rows, second = np.arange(n_queries), runner_up(logits, predicted)
    first_effects, second_effects = (
        attributor.attribute(inputs, classes[codes], objective="logit")
        for codes in (predicted, second)
    )
    gap = logits[rows, predicted] - logits[rows, second]
    return softmax(logits), groups_to_flip(gap, first_effects - second_effects)
