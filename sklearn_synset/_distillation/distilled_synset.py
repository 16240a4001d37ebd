"""The rows of a synset: how many, where they start, and their distillation."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from sklearn_synset._data.training_data import TrainingRows
from sklearn_synset._distillation.distance import Distance
from sklearn_synset._distillation.distil import Distilled, distil
from sklearn_synset._distillation.initialization import Initialization, auto_sizes, starting_rows
from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._network.training_loss import residual_norm
from sklearn_synset._retraining.leave_out import LeaveOut
from sklearn_synset._retraining.synset import Synset
from sklearn_synset._wrapping.identifier_rows import hold_identifiers

_AUTO_SHARE = 0.25
# Rows of a group, from the first number to the second as long as all are at most the third.
_LARGEST_AUTO_SIZE, _LARGEST_OF_FEW, _MOST_AUTO_ROWS = 50, 250, 5000


@dataclass(frozen=True)
class Distillation:
    """Settings of the synset, as of the estimator's parameters."""

    synset_size: int | str
    initialization: str | Initialization
    distance: str | Distance
    max_iter: int
    learning_rate: float
    tol: float
    verbose: int


def whole_synset(rows: TrainingRows) -> Synset:
    """Return the training rows, in their order, as a synset."""
    return Synset(rows.X[:], rows.targets, rows.positive_weight, rows.group, rows.group_weight)


def _synset_sizes(group_sizes: np.ndarray, distillation: Distillation) -> np.ndarray:
    """Return the most synset rows of each group."""
    if distillation.synset_size != "auto":
        return np.full(len(group_sizes), int(distillation.synset_size))
    largest = max(_LARGEST_AUTO_SIZE, min(_LARGEST_OF_FEW, _MOST_AUTO_ROWS // len(group_sizes)))
    return auto_sizes(group_sizes, _AUTO_SHARE, largest)


def make_synset(
    models: list[FunctionalModel],
    rows: TrainingRows,
    leave_out: LeaveOut,
    distillation: Distillation,
    *,
    is_whole: bool,
) -> Distilled:
    """Return all training rows as synset, or distil one."""
    if is_whole:
        return Distilled(whole_synset(rows))
    generator = torch.Generator().manual_seed(leave_out.seed)
    if not rows.X[:1].is_floating_point():  # integers cannot be moved
        distillation = replace(distillation, max_iter=0)
    start = starting_synset(models[0], rows, distillation, generator)
    return distil_synset(models, rows, start, leave_out, distillation, generator)


def starting_synset(
    model: FunctionalModel,
    rows: TrainingRows,
    distillation: Distillation,
    generator: torch.Generator,
) -> Synset:
    """Return real rows and means of rows, for every group."""
    group_sizes = np.array([len(members) for members in rows.rows_by_group])
    sizes = _synset_sizes(group_sizes, distillation)
    residual = residual_norm(model, rows.X, rows.targets, rows.batch_size)
    initialization = distillation.initialization
    # Products of k-means are small, and numpy's threads would wait for each other.
    with threadpool_limits(1, user_api="blas"):
        parts = starting_rows(
            *(rows.X, rows.targets, rows.rows_by_group, residual, sizes, initialization, generator),
            of_identifiers=hold_identifiers(model, rows.X),
            row_weight=None if rows.sample_weight is None else rows.positive_weight,
        )
    return Synset(*parts, rows.group_weight)


def distil_synset(
    models: list[FunctionalModel],
    rows: TrainingRows,
    start: Synset,
    leave_out: LeaveOut,
    distillation: Distillation,
    generator: torch.Generator,
) -> Distilled:
    """Match the starting rows to the training rows.

    Parameters
    ----------
    models, rows, start, generator
        As of `distil`.
    leave_out : LeaveOut
        Says how networks are rewound: their paths are matched.
    distillation : Distillation
        The settings.
    """
    hidden = not distillation.verbose
    with tqdm(total=distillation.max_iter, desc="Distilling", disable=hidden) as bar:

        def report(distance: float) -> None:
            bar.update()
            bar.set_postfix(distance=f"{distance:.3g}", refresh=False)

        distilled = distil(
            models,
            rows,
            start,
            leave_out.plan,
            distance=distillation.distance,
            max_iter=distillation.max_iter,
            learning_rate=distillation.learning_rate,
            tol=distillation.tol,
            generator=generator,
            report=report,
        )
        # Also where `tol` ended it early, all is done.
        bar.total = bar.n
        return distilled
