"""Networks without some groups, from rewound weights."""

import torch

from sklearn_synset._attribution.choose_plan import Plan
from sklearn_synset._attribution.first_order_displacement import (
    blended,
    first_order_displacements,
)
from sklearn_synset._data.training_data import TrainingRows
from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._retraining.leave_out import LeaveOut
from sklearn_synset._retraining.measured_remainder import measured_remainder
from sklearn_synset._retraining.removal import Retraining
from sklearn_synset._retraining.row_sample import sample_of_rows
from sklearn_synset._retraining.synset import Synset

_MEASURED_ROWS = 1000


def plan_and_leave_out(
    models: list[FunctionalModel],
    synset: Synset,
    leave_out: LeaveOut,
    kept: torch.Tensor,
    rows: TrainingRows,
    plan: Plan,
) -> tuple[list[Retraining], list[torch.Tensor]]:
    """Plan how each network is trained from rewound weights, and leave groups out.

    Parameters
    ----------
    models : list of M FunctionalModels
        The explained networks.
    synset : Synset
        What groups are left out of.
    leave_out : LeaveOut
        Settings of the descent.
    kept : Tensor of shape (R, K)
        Groups that are kept.
    rows : TrainingRows
        The training rows: they tell what the synset lacks, see `measured_remainder`, and the
        effects of groups to first order, see `first_order_displacements`.
    plan : Plan
        Whether these are used.

    Returns
    -------
    plans : list of M Retrainings
        How each network is trained.
    displacements : list of M Tensors of shape (R, D)
        How its weights move.
    """
    plans = [leave_out.plan_for_groups(model, synset) for model in models]
    if plan.is_measured:
        plans = [
            _with_remainder(model, synset, leave_out, kept, rows, own)
            for model, own in zip(models, plans, strict=True)
        ]
    moves = leave_out.displacements_by_network(models, synset, kept, plans, "Leaving out")
    if plan.is_mixed:
        moves = [
            _with_first_order(model, synset, leave_out, rows, own, move)
            for model, own, move in zip(models, plans, moves, strict=True)
        ]
    return plans, moves


def _with_first_order(
    model: FunctionalModel,
    synset: Synset,
    leave_out: LeaveOut,
    rows: TrainingRows,
    retraining: Retraining,
    displacement: torch.Tensor,
) -> torch.Tensor:
    """Return displacements (K, D) mixed with those of first order."""
    generator = torch.Generator().manual_seed(leave_out.seed)
    sample = sample_of_rows(rows, _MEASURED_ROWS, generator)
    first = first_order_displacements(model, synset, rows, sample, retraining, generator)
    return blended(displacement, first)


def _with_remainder(
    model: FunctionalModel,
    synset: Synset,
    leave_out: LeaveOut,
    kept: torch.Tensor,
    rows: TrainingRows,
    retraining: Retraining,
) -> Retraining:
    """Return a retraining as long as the rows take, and with what the synset lacks of them."""
    generator = torch.Generator().manual_seed(leave_out.seed)
    sample = sample_of_rows(rows, _MEASURED_ROWS, generator)
    if retraining.rewind:
        retraining = retraining.as_long_as(leave_out.plan(model, sample), leave_out.n_steps)
    moves = leave_out.displacements(model, synset, kept, retraining)
    remainder = measured_remainder(model, synset, rows, sample, retraining, moves, generator)
    return retraining.with_remainder(remainder)
