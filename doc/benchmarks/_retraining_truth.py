"""Truth of a fidelity task: the effect of groups of rows as real retraining finds it."""

import time

import numpy as np
import torch
from _retraining import initial_module, objective, train_one
from _retraining_stacked import retrain
from _task_rows import group_rows
from joblib import Parallel, delayed
from torch.func import functional_call

from sklearn_synset.metrics import (
    calibration_slope,
    leave_one_out_ceiling,
    leave_one_out_correlation,
    linear_datamodeling_score,
)


def make_truth(task, progress=None, n_jobs=None):
    """Retrain a task's network without each group and on random halves of the groups.

    Parameters
    ----------
    task : Task
        The task.
    progress : tqdm, optional
        Bar that is moved by the number of trained networks after every seed.
    n_jobs : int, optional
        Seeds to train at once.

    Returns
    -------
    dict of ndarray
        - `groups` (n_rows,);
        - `effect_seeds` (n_seeds, n_groups, n_queries), the objective of the network trained on all
          rows minus that of the one without the group, so positive where the group helps;
          `effect_mean`, their mean over seeds, and `effect_seed0`, the first seed's;
        - `subset` (n_subsets, n_groups), true for the groups that are kept, and `subset_margin`
          (n_subsets, n_queries), the objective of the networks trained on them, mean over seeds;
        - `objective`, its name, and `objective_full` (n_seeds, n_queries), its values for the
          networks trained on all rows;
        - `p_*`, the state dict of seed 0's network trained on all rows, and `train_score` and
          `test_score`, its accuracy or R²;
        - `one_retrain`, the `LOO` of one seed's effects against the mean of the other seeds', mean
          over seeds, and `lds_of_true_loo`, the `LDS` of `effect_mean`;
        - `t_one` and `seconds`, the time that training one network and that making the truth took.
    """
    start = time.perf_counter()
    X, y, *_ = task.load()
    groups = group_rows(X, y, task.n_groups)
    n_groups, rng = task.n_groups, np.random.RandomState(0)
    subset = rng.rand(task.n_subsets, n_groups) < 0.5
    kept_groups = np.vstack([np.ones((1, n_groups), bool), ~np.eye(n_groups, dtype=bool), subset])
    values, networks = [], []
    for objectives, network in Parallel(n_jobs, return_as="generator")(
        delayed(retrained_objectives)(task, groups, kept_groups, seed)
        for seed in range(task.n_seeds)
    ):
        values.append(objectives)
        networks.append(network)
        if progress is not None:
            progress.update(len(kept_groups))
    truth = summarise(np.stack(values), subset) | networks[0]
    truth |= {"groups": groups, "objective": np.array(task.objective)}
    truth["t_one"] = np.array(time_one(task, torch.from_numpy(X), torch.from_numpy(y)))
    truth["seconds"] = np.array(time.perf_counter() - start)
    return truth


def retrained_objectives(task, groups, kept_groups, seed):
    """Retrain a task's network on some groups, for one seed.

    Parameters
    ----------
    task : Task
        The task.
    groups : ndarray of shape (n_rows,)
        Group of each training row.
    kept_groups : bool ndarray of shape (n_models, n_groups)
        Groups that each network is trained on; all of them for the first.
    seed : int
        Seed of the initial weights and the row order.

    Returns
    -------
    objectives : ndarray of shape (n_models, n_queries)
        Objective of each network on each query.
    network : dict of ndarray
        Of the first network, its state dict with `p_` before the names, and its scores.
    """
    X, y, X_query, y_query = (torch.from_numpy(part) for part in task.load())
    kept = torch.from_numpy(kept_groups[:, groups])
    objectives, network = np.empty((len(kept), len(y_query)), np.float32), {}
    for model, state in enumerate(retrain(task.make_module, task.recipe, X, y, kept, seed)):
        if not network:
            network = {f"p_{key}": value.numpy().copy() for key, value in state.items()}
            network |= network_scores(task, state, (X, y), (X_query, y_query))
        objectives[model] = judge(task, state, X_query, y_query)
    return objectives, network


def summarise(values, subset):
    """Turn objectives (n_seeds, 1 + n_groups + n_subsets, n_queries) into the truth's arrays."""
    n_groups = subset.shape[1]
    effects = values[:, :1] - values[:, 1 : n_groups + 1]
    truth = {
        "effect_seeds": effects,
        "effect_mean": effects.mean(0),
        "effect_seed0": effects[0],
        "subset": subset,
        "subset_margin": values[:, n_groups + 1 :].mean(0),
        "objective_full": values[:, 0],
    }
    truth["one_retrain"] = np.array(leave_one_out_ceiling(effects.swapaxes(1, 2)))
    truth["lds_of_true_loo"] = np.array(evaluate(truth["effect_mean"].T, truth)["LDS"])
    return truth


@torch.no_grad()
def outputs(task, state, X):
    """Output of the network with the given state, in evaluation mode."""
    return functional_call(initial_module(task.make_module, 0).eval(), state, (X,))


def judge(task, state, X, y):
    """Objective of the network with the given state on each query."""
    return objective(outputs(task, state, X), y).numpy()


def network_scores(task, state, train, test):
    """Accuracy, or for regression R², on training and query rows."""
    scores = {}
    for name, (X, y) in (("train_score", train), ("test_score", test)):
        output = outputs(task, state, X)
        if task.kind == "regression":
            score = 1 - (output.squeeze(-1) - y).square().mean() / y.var(correction=0)
        else:
            score = (output.argmax(-1) == y).float().mean()
        scores[name] = score.numpy()
    return scores


def time_one(task, X, y):
    """Seconds that training one network takes."""
    module = initial_module(task.make_module, 0)
    start = time.perf_counter()
    train_one(module, task.recipe, X, y, torch.ones(len(y), dtype=torch.bool), 0)
    return time.perf_counter() - start


def evaluate(scores, truth):
    """Compare attribution scores with real retraining.

    Parameters
    ----------
    scores : ndarray of shape (n_queries, n_groups)
        Attribution of each query to each group, positive where the group helps.
    truth : mapping of ndarray
        What `make_truth` returns.

    Returns
    -------
    dict of float
        - `LOO`, mean over queries of the Spearman correlation over groups between the scores and
          the true effect, averaged over seeds;
        - `LDS`, the same over random halves of the groups, between the sum of the scores of the
          kept groups and the objective;
        - `slope`, least-squares slope of the true effect of seed 0 on the score: 1 means that the
          scores are in real units;
        - `r`, Pearson correlation of all (query, group) pairs with the true effect of seed 0.
    """
    scores = np.asarray(scores, np.float64)
    effect = truth["effect_seed0"].T
    with np.errstate(invalid="ignore", divide="ignore"):  # constant scores have no correlation
        r = np.corrcoef(scores.ravel(), effect.ravel())[0, 1]
    return {
        "LOO": leave_one_out_correlation(truth["effect_mean"].T, scores),
        "LDS": linear_datamodeling_score(truth["subset_margin"], scores, truth["subset"]),
        "slope": calibration_slope(effect, scores),
        "r": float(r),
    }
