"""A synset distilled from the training rows: how many rows it has, where it starts, its bar."""

from dataclasses import dataclass

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from sklearn_synset._data.training_data import TrainingRows
from sklearn_synset._distillation.distance import Distance
from sklearn_synset._distillation.distil import Distilled, distil, n_steps
from sklearn_synset._distillation.initialization import Initialization, auto_sizes, starting_rows
from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._network.identifier_rows import hold_identifiers
from sklearn_synset._network.training_loss import residual_norm
from sklearn_synset._retraining.leave_out import LeaveOut
from sklearn_synset._retraining.synset import Synset

_AUTO_SHARE = 0.25
# Rows of a group, from the first number to the second as long as all are at most the third.
_LARGEST_AUTO_SIZE, _LARGEST_OF_FEW, _MOST_AUTO_ROWS = 50, 250, 5000


@dataclass(frozen=True)
class Distillation:
    """How the synset is distilled; all as of the estimator's parameters."""

    synset_size: int | str
    initialization: str | Initialization
    distance: str | Distance
    max_iter: int | str
    learning_rate: float
    tol: float
    verbose: int


def distil_synset(
    models: list[FunctionalModel],
    rows: TrainingRows,
    leave_out: LeaveOut,
    distillation: Distillation,
    generator: torch.Generator,
    former: Distilled | None = None,
) -> Distilled:
    """Distil a synset; parameters as of `run_offline_stage`.

    Returns
    -------
    distilled : Distilled
        The stages of the synset, and the way there.
    """
    if former is None:
        former = Distilled([_starting_synset(models[0], rows, distillation, generator)])
    return _distil(models, rows, former, leave_out, distillation, generator)


def will_distil(rows: TrainingRows, distillation: Distillation) -> bool:
    """Tell whether starting rows are to be moved, as far as the number of training rows tells."""
    group_sizes = _group_sizes(rows)
    n_rows = np.minimum(_synset_sizes(group_sizes, distillation), group_sizes).sum()
    is_fixed = not rows.X[:1].is_floating_point()
    return not is_fixed and n_steps(distillation.max_iter, int(n_rows)) > 0


def _group_sizes(rows: TrainingRows) -> np.ndarray:
    return np.array([len(members) for members in rows.rows_by_group])


def _synset_sizes(group_sizes: np.ndarray, distillation: Distillation) -> np.ndarray:
    """Return the most synset rows of each group."""
    if distillation.synset_size != "auto":
        return np.full(len(group_sizes), int(distillation.synset_size))
    largest = max(_LARGEST_AUTO_SIZE, min(_LARGEST_OF_FEW, _MOST_AUTO_ROWS // len(group_sizes)))
    return auto_sizes(group_sizes, _AUTO_SHARE, largest)


def _starting_synset(
    model: FunctionalModel,
    rows: TrainingRows,
    distillation: Distillation,
    generator: torch.Generator,
) -> Synset:
    group_sizes = _group_sizes(rows)
    sizes = _synset_sizes(group_sizes, distillation)
    residual = residual_norm(model, rows.X, rows.targets, rows.batch_size)
    initialization = distillation.initialization
    # Products of k-means are small, and numpy's threads would wait for each other.
    with threadpool_limits(1, user_api="blas"):
        parts = starting_rows(
            *(rows.X, rows.targets, rows.rows_by_group, residual, sizes, initialization, generator),
            of_identifiers=hold_identifiers(model, rows.X),
        )
    return Synset(*parts, torch.from_numpy(group_sizes).to(rows.targets))


def _distil(
    models: list[FunctionalModel],
    rows: TrainingRows,
    former: Distilled,
    leave_out: LeaveOut,
    distillation: Distillation,
    generator: torch.Generator,
) -> Distilled:
    start = former.candidates[0]
    # Integers cannot be moved.
    is_fixed = not start.X.is_floating_point()
    max_iter = 0 if is_fixed else n_steps(distillation.max_iter, len(start.weight))
    n_iter = max_iter - len(former.loss_curve)
    with tqdm(total=n_iter, desc="Distilling", disable=not distillation.verbose) as bar:

        def report(distance: float) -> None:
            bar.update()
            bar.set_postfix(distance=f"{distance:.3g}", refresh=False)

        distilled = distil(
            models,
            rows,
            start,
            leave_out.plan,
            distance=distillation.distance,
            max_iter=max_iter,
            learning_rate=distillation.learning_rate,
            tol=distillation.tol,
            generator=generator,
            report=report,
            former=former,
        )
        # Also where `tol` ended it early, all is done.
        bar.total = bar.n
        return distilled
