"""Networks that have not seen a row's like: folds of rows left out of the training."""

from dataclasses import dataclass

import torch

from sklearn_synset._attribution.rows_left_out import nearest_in_group
from sklearn_synset._data.row_source import Rows
from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._network.training_loss import one_hot_targets
from sklearn_synset._objective.network_set import NetworkSet
from sklearn_synset._objective.objective import Objective, margin
from sklearn_synset._replay.leave_out import ReplayPlan
from sklearn_synset._retraining.synset import Synset

_N_FOLDS = 5


@dataclass(frozen=True, eq=False)
class Folds:
    """Networks trained without each of several folds of the rows.

    Parameters
    ----------
    fold : Tensor of shape (s,)
        Fold of each synset row.

    networks : list of NetworkSet
        For each seed, one network without each fold.
    """

    fold: torch.Tensor
    networks: list[NetworkSet]


def leave_folds_out(model: FunctionalModel, plan: ReplayPlan, synset: Synset, seed: int) -> Folds:
    """Repeat a training without each of five folds.

    Parameters
    ----------
    model : FunctionalModel
        The explained network.

    plan : ReplayPlan
        How its training is repeated.

    synset : Synset
        The rows that are trained on.

    seed : int
        Of the folds, which part the rows of every group as evenly as they can.

    Returns
    -------
    folds : Folds
        The networks.
    """
    fold = _folds(synset.group, seed)
    n_folds = int(fold.max()) + 1
    kept = 1 - torch.eye(n_folds).to(synset.weight)
    networks = plan.of_groups(fold).networks(model, kept, plan.lifted_X[:2], "Cross-validating")
    return Folds(fold, [each for each, _ in networks])


def _folds(group: torch.Tensor, seed: int) -> torch.Tensor:
    """Deal the rows (s,) of each group out to folds, in random order within a group."""
    generator = torch.Generator().manual_seed(seed)
    n_rows = len(group)
    shuffled = torch.randperm(n_rows, generator=generator).to(group.device)
    order = shuffled[group[shuffled].argsort(stable=True)]
    fold = torch.empty_like(group)
    fold[order] = torch.arange(n_rows, device=group.device) % min(_N_FOLDS, n_rows)
    return fold


def fold_objectives(
    folds: Folds,
    model: FunctionalModel,
    synset: Synset,
    X: Rows,
    y: torch.Tensor,
    own_group: torch.Tensor,
    objective: Objective,
    batch_size: int,
) -> torch.Tensor:
    r"""Return each row's objective under networks that have not seen it.

    Parameters
    ----------
    folds : Folds
        The networks.

    model : FunctionalModel
        The explained network.

    synset : Synset
        The rows that were trained on.

    X : Tensor or RowSource of shape (q, d...)
        Queries.

    y : Tensor of shape (q,) or (q, C)
        Their labels or values.

    own_group : Tensor of shape (q,)
        Group that each falls in.

    objective : callable
        Maps outputs (q, C) and `y` to values (q,).

    batch_size : int
        Most queries to evaluate at once.

    Returns
    -------
    objectives : Tensor of shape (q,), dtype float64
        :math:`\frac{1}{S} \sum_s o_i(\theta^{(s)}_{-F_i})`, where the fold :math:`F_i` holds the
        synset row of the query's group that is nearest to it: of a training row, itself. Margins
        are averaged as probabilities: the log-odds of their mean.
    """
    nearest = nearest_in_group(X, one_hot_targets(model, y), own_group, synset)
    own_fold = folds.fold[nearest]
    found = []
    for networks in folds.networks:
        values = networks.objectives(model, X, y, objective, batch_size)
        found.append(values.gather(0, own_fold[None])[0])
    values = torch.stack(found)
    if objective is not margin:
        return values.mean(0)
    # As probabilities, no network outvotes the others by being surer of everything.
    n_networks = torch.tensor(float(len(values)), dtype=values.dtype)
    right = torch.nn.functional.logsigmoid(values).logsumexp(0) - n_networks.log()
    wrong = torch.nn.functional.logsigmoid(-values).logsumexp(0) - n_networks.log()
    return right - wrong
