"""From starting rows to the synset, in rounds of anchors and matching."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning

from sklearn_synset._data.training_data import TrainingRows
from sklearn_synset._distillation.anchors import Anchor, Norm, draw_anchors
from sklearn_synset._distillation.distance import DISTANCES, Distance, squared_error
from sklearn_synset._distillation.matching import Matching, row_bounds
from sklearn_synset._distillation.prediction_norm import prediction_norm
from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._retraining.removal import Retraining
from sklearn_synset._retraining.rewinding import on_the_way
from sklearn_synset._retraining.synset import Synset

_N_ROUNDS = 4
_ANCHORS_PER_ROUND = 6
_COPIES_OF_ROWS = 8  # their moves, the moments of these, and the like
_ANCHOR_BYTES = 2**28
_MOMENTUM_GAIN = 10.0  # steps with momentum 0.9 are worth ten plain ones

Planner = Callable[[FunctionalModel, Synset], Retraining]


@dataclass(frozen=True)
class Distilled:
    """Outcome of a distillation.

    Parameters
    ----------
    synset : Synset
        The matched rows.
    loss_curve : list of float
        Gradient distance before each step.
    """

    synset: Synset
    loss_curve: list[float] = field(default_factory=list)


def distil(
    models: list[FunctionalModel],
    rows: TrainingRows,
    start: Synset,
    plan: Planner,
    *,
    distance: str | Distance,
    max_iter: int,
    learning_rate: float,
    tol: float,
    generator: torch.Generator,
    report: Callable[[float], None],
) -> Distilled:
    """Match the synset to the training rows along the removal paths of all networks.

    Parameters
    ----------
    models : list of FunctionalModel
        The trained networks that one synset has to serve.
    rows : TrainingRows
        The training rows.
    start : Synset
        Where to start.
    plan : callable
        Maps a network and a synset to the `Retraining` whose paths are matched.
    distance : {"prediction", "squared_error", "cosine"} or callable
        What is made small; a callable maps the synset's and the real group gradients (K, D) to a
        distance.
    max_iter : int
        Steps of matching; 0 leaves the starting rows.
    learning_rate : float
        Size of the first step, see `Matching`.
    tol : float
        Stops at the end of a round whose mean distance is below.
    generator : torch.Generator
        On the CPU.
    report : callable
        Called with the distance after each step.

    Warns
    -----
    ConvergenceWarning
        If the distance stops being finite, or the synset can no longer be trained on.
    """
    if not max_iter:
        return Distilled(start)
    bounds = row_bounds(rows.X, rows.targets, models[0])
    matching = Matching(models[0], start, bounds, learning_rate, max_iter)
    anchors: list[Anchor] = []
    plans = [plan(model, start) for model in models]
    norms = [
        _norm(distance, model, retraining, rows, generator)
        for model, retraining in zip(models, plans, strict=True)
    ]
    n_iters = [n for n in np.diff(np.linspace(0, max_iter, _N_ROUNDS + 1).astype(int)) if n]
    for part, n_iter in enumerate(n_iters):
        if part:
            try:
                plans = [plan(model, matching.result) for model in models]
            except FloatingPointError:
                return _given_up(start, matching)
        for model, retraining, norm in zip(models, plans, norms, strict=True):
            anchors += draw_anchors(
                model, matching.result, rows, retraining, norm, _ANCHORS_PER_ROUND, generator
            )
        anchors = anchors[-_n_affordable(anchors[-1], start) :]
        matching.run(anchors, n_iter, generator, report)
        mean_distance = np.mean(matching.loss_curve[-n_iter:])
        if not np.isfinite(mean_distance):
            return _given_up(start, matching)
        if mean_distance < tol:
            break
    if mean_distance > matching.loss_curve[0]:
        try:
            plans = [plan(model, matching.result) for model in models]
        except FloatingPointError:
            return _given_up(start, matching)
    return Distilled(matching.result, matching.loss_curve)


def _given_up(start: Synset, matching: Matching) -> Distilled:
    """Return the starting rows, with a warning."""
    warnings.warn(
        "The distillation diverged, and the synset's starting rows are kept; lower learning_rate.",
        ConvergenceWarning,
        stacklevel=3,
    )
    return Distilled(start, matching.loss_curve)


def _norm(
    distance: str | Distance,
    model: FunctionalModel,
    retraining: Retraining,
    rows: TrainingRows,
    generator: torch.Generator,
) -> Norm:
    """Turn a name into a norm, for a network and the length of its retraining."""
    if distance != "prediction":
        function = DISTANCES[distance] if isinstance(distance, str) else distance
        return Norm(lambda gradients: gradients, _scalar(function))
    # Directions that retraining has no time to follow are damped by one over that time.
    time = _MOMENTUM_GAIN * retraining.n_steps * retraining.step_size
    damping = model.weight_decay + retraining.damping + 1 / time
    norm = prediction_norm(model, on_the_way(model, retraining.rewind), rows.X, damping, generator)
    return Norm(norm.whiten, squared_error)


def _scalar(distance: Distance) -> Distance:
    """Return the distance, with an error when it is no scalar."""

    def checked(synset: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        value = distance(synset, real)
        if value.ndim:
            raise ValueError(f"distance must return a scalar, got shape {tuple(value.shape)}.")
        return value

    return checked


def _n_affordable(anchor: Anchor, synset: Synset) -> int:
    """Anchors whose real gradients may be held at once, beside what learning the rows takes."""
    size = anchor.gradients.numel() * anchor.gradients.element_size()
    rows = synset.X.numel() * synset.X.element_size() * _COPIES_OF_ROWS
    return max(2, (_ANCHOR_BYTES - rows) // size)
