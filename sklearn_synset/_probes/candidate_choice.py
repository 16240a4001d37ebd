"""Which stage of a distillation to keep: the last, unless the probes speak against it."""

import torch

from sklearn_synset._attribution.group_effects import mean_effects
from sklearn_synset._data.row_source import Rows
from sklearn_synset._distillation.distil import Distilled
from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._objective.objective import Objective
from sklearn_synset._probes.fidelity import fidelity_score
from sklearn_synset._probes.probes import Probes
from sklearn_synset._retraining.leave_out import LeaveOut
from sklearn_synset._retraining.synset import Synset

_N_QUERIES = 500
# A few probes differ by half of this from chance alone; a distillation that failed, by more.
_CLEARLY = 0.1


def choose_candidate(
    models: list[FunctionalModel],
    distilled: Distilled,
    probes: Probes,
    leave_out: LeaveOut,
    X: Rows,
    y: torch.Tensor,
    objective: Objective,
    generator: torch.Generator,
) -> Synset:
    """Take the distilled synset, unless its starting rows agree clearly better with the probes.

    Parameters
    ----------
    models : list of FunctionalModel
        The trained networks.

    distilled : Distilled
        The stages of the synset.

    probes : Probes
        What is to be agreed with. None of their groups may be in the probes that fidelity is
        reported on.

    leave_out : LeaveOut
        How groups are left out.

    X, y : Tensor (or RowSource)
        Training rows, of which at most 500 random ones are the queries, and their labels.

    objective : callable
        What the queries are asked.

    generator : torch.Generator
        On the CPU.

    Returns
    -------
    synset : Synset
        The last stage; the first one if its agreement is better by more than 0.1. With fewer than
        two probes the last one.
    """
    if len(probes) < 2 or len(distilled.candidates) < 2:
        return distilled.candidates[-1]
    queries = torch.randperm(len(X), generator=generator)[:_N_QUERIES].to(X.device)
    rows, y, size = X[queries], y[queries], leave_out.batch_size
    measured = probes.effects(models, rows, y, objective, size)

    def agreement(synset: Synset) -> float:
        kept = probes.kept.to(synset.weight)
        plans = [leave_out.plan_for_groups(model, synset) for model in models]
        moves = leave_out.displacements_by_network(models, synset, kept, plans)
        return fidelity_score(mean_effects(models, moves, rows, y, objective, size), measured)

    start, *_, last = distilled.candidates
    return start if agreement(start) > agreement(last) + _CLEARLY else last
