"""Probes: a few groups left out of the real rows, to tell how far the synset can be trusted."""

from dataclasses import dataclass

import torch

from sklearn_synset._functional_model import FunctionalModel
from sklearn_synset._offline._anchors import TrainingRows
from sklearn_synset._online._leave_out import LeaveOut
from sklearn_synset._synset import Synset

# Probes cost (number of probes + 1) * n_steps passes over the rows: more are sampled down to this.
_MAX_ROWS = 2000


def sample_of_rows(rows: TrainingRows, generator: torch.Generator) -> Synset:
    """Take real rows as a synset: all of them, or a random sample of every group.

    Parameters
    ----------
    rows : TrainingRows
        The training rows.

    generator : torch.Generator
        On the CPU.

    Returns
    -------
    sample : Synset
        At most about 2,000 rows; every group keeps at least one.
    """
    sizes = [len(members) for members in rows.rows_by_group]
    share = min(1.0, _MAX_ROWS / sum(sizes))
    chosen, weight, group = [], [], []
    for k, members in enumerate(rows.rows_by_group):
        n_taken = max(1, round(share * len(members)))
        taken = torch.randperm(len(members), generator=generator)[:n_taken].sort().values
        chosen.append(members[taken.to(members.device)])
        weight.append(torch.full((n_taken,), len(members) / n_taken))
        group.append(torch.full((n_taken,), k))
    index = torch.cat(chosen)
    return Synset(
        rows.X[index],
        rows.targets[index],
        torch.cat(weight).to(rows.X),
        torch.cat(group).to(index.device),
        torch.tensor(sizes).to(rows.X),
    )


@dataclass(frozen=True, eq=False)
class Probes:
    """Groups that were left out of the real rows, one at a time.

    Parameters
    ----------
    groups : Tensor of shape (p,)
        Which.

    displacements : list of Tensor of shape (p, D)
        How the weights of each network moved.
    """

    groups: torch.Tensor
    displacements: list[torch.Tensor]


def measure_probes(
    models: list[FunctionalModel],
    rows: TrainingRows,
    leave_out: LeaveOut,
    n_probes: int,
    generator: torch.Generator,
) -> Probes:
    """Leave random groups out of the real rows.

    Parameters
    ----------
    models : list of FunctionalModel
        The trained networks.

    rows : TrainingRows
        The training rows, of which a sample is used if there are many.

    leave_out : LeaveOut
        How the networks are trained again.

    n_probes : int
        Groups to leave out; all of them if there are fewer.

    generator : torch.Generator
        On the CPU.

    Returns
    -------
    probes : Probes
        Measured displacements.
    """
    sample = sample_of_rows(rows, generator)
    groups = torch.randperm(sample.n_groups, generator=generator)[:n_probes].sort().values
    kept = sample.group_size.new_ones(len(groups), sample.n_groups)
    kept[torch.arange(len(groups)), groups] = 0
    if sample.n_groups < 2 or not len(groups):
        return Probes(groups[:0], [model.theta.new_empty(0, len(model.theta)) for model in models])
    moves = [
        leave_out.displacements(model, sample, kept, leave_out.plan(model, sample))
        for model in models
    ]
    return Probes(groups, moves)
