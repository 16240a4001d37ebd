"""Networks that have not seen a row: folds of rows left out of the training."""

from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import torch

from sklearn_synset._data.row_source import Rows
from sklearn_synset._labels.label_noise import LabelNoise, fit_label_noise
from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._objective.evaluation import evaluate_objective
from sklearn_synset._objective.network_set import NetworkSet
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

    Notes
    -----
    In a first round each two folds are left out. It estimates the label noise, and how likely each
    label is right. In the second, each fold is left out, and the other rows are weighted by that
    probability, by networks that have seen neither the row nor the fold: no row influences the
    networks that it is evaluated by. Expensive trainings are repeated from one seed, or in one
    round that leaves out each fold.
    """
    fold = folds_of_rows(synset.group, _N_FOLDS, seed)
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
    return Folds(fold, networks, fit_label_noise(log_probabilities(as_array(p.sum(0))), labels))


def folds_of_rows(group: torch.Tensor, n_folds: int, seed: int) -> torch.Tensor:
    """Return the fold (s,) of each row: those of each group in turn, in random order within it.

    Parameters
    ----------
    group : Tensor of shape (s,)
        Group of each row.
    n_folds : int
        Folds; as many as rows if there are fewer.
    seed : int
        Of the order.
    """
    generator = torch.Generator().manual_seed(seed)
    n_rows = len(group)
    shuffled = torch.randperm(n_rows, generator=generator).to(group.device)
    order = shuffled[group[shuffled].argsort(stable=True)]
    fold = torch.empty_like(group)
    fold[order] = torch.arange(n_rows, device=group.device) % min(n_folds, n_rows)
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
        total[network, unseen] = class_probabilities(model, networks, network, rows, batch_size)
    return total


@torch.no_grad()
def class_probabilities(
    model: FunctionalModel, networks: list[NetworkSet], number: int, X: Rows, batch_size: int
) -> torch.Tensor:
    """Return class probabilities by one network, mean over seeds and moments of its training.

    Parameters
    ----------
    model : FunctionalModel
        The architecture.
    networks : list of NetworkSet
        For each seed, several networks with their course.
    number : int
        Which of them.
    X : Tensor or RowSource of shape (n, d...)
        Rows.
    batch_size : int
        Most rows to evaluate at once.

    Returns
    -------
    probabilities : Tensor of shape (n, C), dtype float64
        Rows sum to 1.
    """
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
    noise = fit_label_noise(log_probabilities(p.sum(0)), y)
    everyone = np.arange(len(y))
    weight = np.zeros((fold.max() + 1, len(y)))
    for pair, own in zip(pairs, p, strict=True):
        for left_out, other in (pair, pair[::-1]):
            rows = everyone[fold == other]
            posterior = noise.log_posterior(log_probabilities(own[rows]), y[rows])
            weight[left_out, rows] = np.exp(posterior[np.arange(len(rows)), y[rows]])
    return weight


def log_probabilities(p: np.ndarray) -> np.ndarray:
    """Return finite log-probabilities (n, C) of what is proportional to probabilities."""
    return np.log(np.maximum(p / p.sum(1, keepdims=True), np.finfo(np.float64).tiny))
