"""Which stage of a distillation to keep: the one that agrees best with the probes."""

import torch

from sklearn_synset._functional_model import FunctionalModel
from sklearn_synset._offline._distillation import Distilled
from sklearn_synset._offline._probes import Probes
from sklearn_synset._online._attribution_matrix import mean_effects
from sklearn_synset._online._leave_out import LeaveOut
from sklearn_synset._online._objective import Objective
from sklearn_synset._synset import Synset
from sklearn_synset.metrics._calibration import least_squares_slope
from sklearn_synset.metrics._rank_correlation import mean_rank_correlation

_N_QUERIES = 500


def choose_candidate(
    models: list[FunctionalModel],
    distilled: Distilled,
    probes: Probes,
    leave_out: LeaveOut,
    X: torch.Tensor,
    y: torch.Tensor,
    objective: Objective,
    generator: torch.Generator,
) -> tuple[Synset, float, float]:
    """Take the stage of the distillation that agrees best with the probes.

    Parameters
    ----------
    models : list of FunctionalModel
        The trained networks.

    distilled : Distilled
        The stages of the synset.

    probes : Probes
        What is to be agreed with.

    leave_out : LeaveOut
        How groups are left out.

    X, y : Tensor
        Training rows, of which at most 500 random ones are the queries, and their labels.

    objective : callable
        What the queries are asked.

    generator : torch.Generator
        On the CPU.

    Returns
    -------
    synset : Synset
        The best stage; the last one without probes.

    correlation : float
        Its mean rank correlation with the probes.

    slope : float
        Slope of the probes on its predictions.
    """
    if len(probes.groups) < 2:
        return distilled.candidates[-1], float("nan"), float("nan")
    queries = torch.randperm(len(X), generator=generator)[:_N_QUERIES].to(X.device)
    X, y, size = X[queries], y[queries], leave_out.batch_size
    measured = mean_effects(models, probes.displacements, X, y, objective, size)
    outcomes = []
    for synset in distilled.candidates:
        kept = synset.group_size.new_ones(len(probes.groups), synset.n_groups)
        kept[torch.arange(len(kept)), probes.groups] = 0
        moves = [
            leave_out.displacements(model, synset, kept, leave_out.plan(model, synset))
            for model in models
        ]
        predicted = mean_effects(models, moves, X, y, objective, size)
        correlation = mean_rank_correlation(predicted, measured)
        outcomes.append((synset, correlation, least_squares_slope(predicted, measured)[0]))
    return max(outcomes, key=lambda outcome: outcome[1])
