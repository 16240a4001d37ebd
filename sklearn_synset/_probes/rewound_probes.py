"""Probes by rewinding: the explained networks, trained on real rows without some groups."""

import torch

from sklearn_synset._data.training_data import TrainingRows
from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._objective.network_set import NetworkSet
from sklearn_synset._probes.probes import Probes, no_probes
from sklearn_synset._retraining.leave_out import LeaveOut, operations
from sklearn_synset._retraining.row_sample import affordable_rows, sample_of_rows

_MOST_OPERATIONS = 5e11  # that probes take together; half a minute of one core, about


def rewound_probes(
    models: list[FunctionalModel],
    rows: TrainingRows,
    leave_out: LeaveOut,
    kept: torch.Tensor,
    generator: torch.Generator,
    reason: str = "",
) -> Probes:
    """Rewind the networks, and train them on the real rows of the groups that are kept.

    Parameters
    ----------
    models : list of FunctionalModel
        The explained networks.

    rows : TrainingRows
        The training rows, of which a sample is used if there are many.

    leave_out : LeaveOut
        How the networks are rewound and trained.

    kept : Tensor of shape (P, K)
        Groups to keep; every second probe is made where all would take long.

    generator : torch.Generator
        On the CPU.

    reason : str, default=""
        As of `Probes`.

    Returns
    -------
    probes : Probes
        The explained networks, and these networks.
    """
    if not len(kept):
        return no_probes(kept, models, reason)
    sample = sample_of_rows(rows, affordable_rows(models[0], rows.X), generator)
    plans = [leave_out.plan(model, sample) for model in models]
    if sum(operations(models, sample, plans)) * len(kept) > _MOST_OPERATIONS:
        kept = kept[::2]
    moves = leave_out.displacements_by_network(
        models, sample, kept.to(sample.weight), plans, "Probing"
    )
    networks = [
        NetworkSet(torch.cat([model.theta[None], model.theta + move]))
        for model, move in zip(models, moves, strict=True)
    ]
    return Probes(kept, networks, reason)
