"""Probes by rewinding: the explained networks, trained again on real rows without some groups."""

from dataclasses import replace

import torch

from sklearn_synset._data.training_data import TrainingRows
from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._probes.probe_choice import n_to_choose_by
from sklearn_synset._probes.probes import Probes
from sklearn_synset._retraining.leave_out import LeaveOut, operations
from sklearn_synset._retraining.row_sample import affordable_rows, sample_of_rows

_MOST_OPERATIONS = 5e11  # that probes take together; half a minute of one core, about


def rewound_probes(
    models: list[FunctionalModel],
    rows: TrainingRows,
    leave_out: LeaveOut,
    kept: torch.Tensor,
    generator: torch.Generator,
    *,
    may_halve: bool = False,
    is_choice: bool = True,
) -> Probes:
    """Rewind the networks, and train them again on the real rows of the groups that are kept.

    Parameters
    ----------
    models : list of FunctionalModel
        The trained networks.

    rows : TrainingRows
        The training rows, of which a sample is used if there are many.

    leave_out : LeaveOut
        How the networks are trained again.

    kept : Tensor of shape (P, K)
        Groups to keep.

    generator : torch.Generator
        On the CPU.

    may_halve : bool, default=False
        Whether to make every second probe only, where all would take long.

    is_choice : bool, default=True
        Whether there is something to choose; if not, probes to choose by are not made.

    Returns
    -------
    probes : Probes
        The networks that come of it.
    """
    if not len(kept):
        return Probes(kept, [model.theta.new_empty(0, 0) for model in models], [{} for _ in models])
    sample = sample_of_rows(rows, affordable_rows(models[0], rows.X), generator)
    plans = [
        # A judge of what is linearised is not.
        replace(leave_out.plan_for_groups(model, sample), linearised=())
        for model in models
    ]
    if may_halve and sum(operations(models, sample, plans)) * len(kept) > _MOST_OPERATIONS:
        kept = kept[::2]
    if not is_choice:
        kept = kept[n_to_choose_by(len(kept)) :]
    moves = leave_out.displacements_by_network(
        models, sample, kept.to(sample.weight), plans, "Probing"
    )
    theta = [model.theta + move for model, move in zip(models, moves, strict=True)]
    return Probes(kept, theta, [{} for _ in models], tells_size=False)
