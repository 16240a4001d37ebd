"""Networks that have not seen a row: folds of rows left out of the training."""

from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import torch

from sklearn_synset._attribution.label_noise import LabelNoise, fit_label_noise
from sklearn_synset._attribution.rows_left_out import nearest_in_group
from sklearn_synset._data.row_source import Rows
from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._network.training_loss import one_hot_targets
from sklearn_synset._objective.evaluation import evaluate_objective
from sklearn_synset._objective.network_set import NetworkSet
from sklearn_synset._objective.objective import Objective
from sklearn_synset._replay.course import n_moments_within_memory
from sklearn_synset._replay.leave_out import ReplayPlan
from sklearn_synset._retraining.synset import Synset
from sklearn_synset._runtime.torch_interop import as_array, as_tensor

_N_FOLDS = 5
_N_MOMENTS = 16
_MOST_OPERATIONS = 2e11  # some four seconds of one core


@dataclass(frozen=True, eq=False)
class Folds:
    """Networks trained without each of several folds of the rows.

    Parameters
    ----------
    fold : Tensor of shape (s,)
        Fold of each synset row.

    networks : list of NetworkSet
        For each seed, one network without each fold, with its course.

    noise : LabelNoise or None
        Of the synset rows' labels; None if they are values or class probabilities.
    """

    fold: torch.Tensor
    networks: list[NetworkSet]
    noise: LabelNoise | None = None


def leave_folds_out(
    model: FunctionalModel, plan: ReplayPlan, synset: Synset, seed: int, batch_size: int
) -> Folds:
    """Repeat a training without each of five folds; twice, where that is cheap.

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

    batch_size : int
        Most rows to evaluate at once.

    Returns
    -------
    folds : Folds
        The networks of the last round.

    Notes
    -----
    In a first round each two folds are left out. It estimates the label noise, and how likely each
    label is right. In the second, each fold is left out, and the other rows are weighted by that
    probability, by networks that have seen neither the row nor the fold: no row influences the
    networks that it is evaluated by. Expensive trainings are repeated from one seed, or in one
    round that leaves out each fold.
    """
    fold = _folds(synset.group, seed)
    n_folds = int(fold.max()) + 1
    each_fold = [[k] for k in range(n_folds)]
    labels = _hard_labels(model, synset)
    if labels is None:
        networks = _trained(model, plan, fold, _without(each_fold, n_folds).to(synset.weight))
        return Folds(fold, networks)
    pairs = [list(pair) for pair in combinations(range(n_folds), 2)]
    n_networks = len(pairs) + n_folds
    n_seeds = int(_MOST_OPERATIONS // plan.n_operations(model, n_networks))
    plan = replace(plan, seeds=plan.seeds[: max(1, n_seeds)])
    kept, by_row = _without(each_fold, n_folds).to(synset.weight), fold
    if n_seeds and len(pairs) > n_folds:
        first = _trained(model, plan, fold, _without(pairs, n_folds).to(synset.weight))
        p = _probabilities_by_network(model, first, synset.X, batch_size, fold, pairs)
        kept = as_tensor(_row_weights(as_array(p), as_array(fold), pairs, labels)).to(kept)
        by_row = torch.arange(len(fold), device=fold.device)
    networks = _trained(model, plan, by_row, kept)
    p = _probabilities_by_network(model, networks, synset.X, batch_size, fold, each_fold)
    return Folds(fold, networks, fit_label_noise(_log(as_array(p.sum(0))), labels))


def _folds(group: torch.Tensor, seed: int) -> torch.Tensor:
    """Deal the rows (s,) of each group out to folds, in random order within a group."""
    generator = torch.Generator().manual_seed(seed)
    n_rows = len(group)
    shuffled = torch.randperm(n_rows, generator=generator).to(group.device)
    order = shuffled[group[shuffled].argsort(stable=True)]
    fold = torch.empty_like(group)
    fold[order] = torch.arange(n_rows, device=group.device) % min(_N_FOLDS, n_rows)
    return fold


def _hard_labels(model: FunctionalModel, synset: Synset) -> np.ndarray | None:
    """Return the codes (s,) of labels; None for values and class probabilities."""
    if model.loss != "cross_entropy" or not bool((synset.y.max(1).values == 1).all()):
        return None
    return as_array(synset.y.argmax(1))


def _without(left_out: list[list[int]], n_folds: int) -> torch.Tensor:
    """Return 1 for the folds (R, K) that each network is trained on."""
    kept = torch.ones(len(left_out), n_folds)
    for network, folds in enumerate(left_out):
        kept[network, folds] = 0
    return kept


def _trained(
    model: FunctionalModel, plan: ReplayPlan, group: torch.Tensor, kept: torch.Tensor
) -> list[NetworkSet]:
    n_moments = n_moments_within_memory(_N_MOMENTS, len(kept) * model.n_parameters)
    own = plan.of_groups(group)
    found = own.networks(model, kept, plan.lifted_X[:2], "Cross-validating", n_moments)
    return [networks for networks, _ in found]


def _probabilities_by_network(
    model: FunctionalModel,
    networks: list[NetworkSet],
    X: Rows,
    batch_size: int,
    fold: torch.Tensor,
    left_out: list[list[int]],
) -> torch.Tensor:
    """Return class probabilities (R, n, C), mean over seeds and moments; 0 for rows seen."""
    total = torch.zeros(
        len(left_out), len(fold), model.n_outputs, dtype=torch.float64, device=fold.device
    )
    for network, folds in enumerate(left_out):
        unseen = torch.isin(fold, torch.tensor(folds, device=fold.device)).nonzero()[:, 0]
        if not len(unseen):
            continue
        rows = X[unseen]
        total[network, unseen] = _probabilities(model, networks, network, rows, batch_size)
    return total


@torch.no_grad()
def _probabilities(
    model: FunctionalModel, networks: list[NetworkSet], number: int, X: Rows, batch_size: int
) -> torch.Tensor:
    """Return class probabilities (n, C) by one network, mean over seeds and moments."""
    moments = [moment for each in networks for moment in each.course]
    nothing = torch.arange(len(X))
    total = torch.zeros(len(X), model.n_outputs, dtype=torch.float64, device=model.device)
    for moment in moments:
        own = moment.model(model, number)
        outputs = evaluate_objective(own, own.theta, X, nothing, _log_softmax, batch_size)
        total += outputs.double().exp() / len(moments)
    return total


def _log_softmax(outputs: torch.Tensor, _: object) -> torch.Tensor:
    return outputs.log_softmax(-1)


def _row_weights(
    p: np.ndarray, fold: np.ndarray, pairs: list[list[int]], y: np.ndarray
) -> np.ndarray:
    """Return how likely each label is right (K, n) by networks without each fold; 0 in the fold.

    Parameters
    ----------
    p : ndarray of shape (P, n, C)
        Class probabilities by networks without each pair of folds; 0 for rows that were seen.

    fold : ndarray of shape (n,)
        Fold of each row.

    pairs : list of P pairs
        The folds.

    y : ndarray of shape (n,)
        Codes of the labels.
    """
    noise = fit_label_noise(_log(p.sum(0)), y)
    everyone = np.arange(len(y))
    weight = np.zeros((fold.max() + 1, len(y)))
    for pair, own in zip(pairs, p, strict=True):
        for left_out, other in (pair, pair[::-1]):
            rows = everyone[fold == other]
            posterior = noise.log_posterior(_log(own[rows]), y[rows])
            weight[left_out, rows] = np.exp(posterior[np.arange(len(rows)), y[rows]])
    return weight


def _log(p: np.ndarray) -> np.ndarray:
    """Return log-probabilities of weights (n, C), finite ones."""
    p = np.maximum(p / p.sum(1, keepdims=True), np.finfo(np.float64).tiny)
    return np.log(p)


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
    r"""Return each row's objective by networks that have not seen it.

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
        Of labels :math:`o(\log r_i, y_i)` with the posterior :math:`r_i` of the true label; of
        values :math:`\frac{1}{S} \sum_s o_i(\theta^{(s)}_{-F_i})`.
    """
    if model.loss == "cross_entropy":
        outputs = fold_log_posterior(folds, model, synset, X, y, own_group, batch_size)
        return objective(outputs, y)
    own_fold = _fold_of(folds, model, synset, X, y, own_group)
    found = []
    for networks in folds.networks:
        values = networks.objectives(model, X, y, objective, batch_size)
        found.append(values.gather(0, own_fold[None])[0])
    return torch.stack(found).mean(0)


def fold_log_posterior(
    folds: Folds,
    model: FunctionalModel,
    synset: Synset,
    X: Rows,
    y: torch.Tensor,
    own_group: torch.Tensor,
    batch_size: int,
) -> torch.Tensor:
    r"""Return the log-probability of each class being a row's true label.

    Parameters
    ----------
    folds, model, synset, X, y, own_group, batch_size
        As of `fold_objectives`.

    Returns
    -------
    log_posterior : Tensor of shape (q, C), dtype float64
        As of `LabelNoise.log_posterior`, with the probabilities of classes by the networks without
        the fold :math:`F_i`, mean over the course of their training and over the seeds. The fold
        is that of the synset row of the query's group that is nearest to it: of a training row,
        itself. The log-probabilities themselves, if the labels are class probabilities.
    """
    own_fold = _fold_of(folds, model, synset, X, y, own_group)
    p = torch.zeros(len(X), model.n_outputs, dtype=torch.float64, device=y.device)
    for k in own_fold.unique().tolist():
        rows = (own_fold == k).nonzero()[:, 0]
        p[rows] = _probabilities(model, folds.networks, k, X[rows], batch_size)
    log_p = _log(as_array(p))
    if folds.noise is not None and y.ndim == 1:
        log_p = folds.noise.log_posterior(log_p, as_array(y))
    return as_tensor(log_p, device=y.device)


def _fold_of(
    folds: Folds,
    model: FunctionalModel,
    synset: Synset,
    X: Rows,
    y: torch.Tensor,
    own_group: torch.Tensor,
) -> torch.Tensor:
    return folds.fold[nearest_in_group(X, one_hot_targets(model, y), own_group, synset)]
