"""Probes: a few groups left out of the real rows, to tell how far the synset can be trusted."""

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from sklearn_synset._functional_model import FunctionalModel
from sklearn_synset._offline._anchors import TrainingRows
from sklearn_synset._online._leave_out import LeaveOut
from sklearn_synset._synset import Synset

_MAX_ROWS, _MIN_ROWS = 2000, 500
_MAX_FLOPS = 4e11
_FLOPS_OF_GRADIENT = 3  # over those of a forward pass


def affordable_rows(model: FunctionalModel, X: torch.Tensor, n_gradients: int) -> int:
    """Return how many rows may be probed.

    Parameters
    ----------
    model : FunctionalModel
        The network.

    X : Tensor of shape (n, d...)
        Rows, of which one is tried.

    n_gradients : int
        How often the gradient on all these rows will be needed.

    Returns
    -------
    n_rows : int
        Between 500 and 2,000, so that the gradients take some tens of seconds at the most.
    """
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(model.theta, X[:1])
    flops = max(1, counter.get_total_flops()) * _FLOPS_OF_GRADIENT * n_gradients
    return int(min(max(_MAX_FLOPS / flops, _MIN_ROWS), _MAX_ROWS))


def sample_of_rows(rows: TrainingRows, max_rows: int, generator: torch.Generator) -> Synset:
    """Take real rows as a synset: all of them, or a random sample of every group.

    Parameters
    ----------
    rows : TrainingRows
        The training rows.

    max_rows : int
        About how many to take at the most.

    generator : torch.Generator
        On the CPU.

    Returns
    -------
    sample : Synset
        Every group keeps at least one row.
    """
    sizes = [len(members) for members in rows.rows_by_group]
    share = min(1.0, max_rows / sum(sizes))
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
    n_gradients = (n_probes + 1) * leave_out.n_steps * len(models)
    sample = sample_of_rows(rows, affordable_rows(models[0], rows.X, n_gradients), generator)
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
