"""Truth about single rows: networks trained on random halves of the training rows."""

import hashlib
import os
from dataclasses import replace

import numpy as np
import torch
from _retraining_stacked import retrain
from _retraining_truth import judge
from fidelity_tasks import CACHE

from sklearn_synset.metrics import linear_datamodeling_score

PROTOCOL = 1  # part of the cache's file names: raise it when the truth is made in another way


def row_truth(task, n_halves=100, n_seeds=5):
    """Return the truth about a task's rows; it is made when it is not in the cache.

    Parameters
    ----------
    task : Task
        The task; its groups do not matter here.
    n_halves : int, default=100
        Number of random halves of the training rows.
    n_seeds : int, default=5
        Seeds of the initial weights and the row order that the objective is averaged over.

    Returns
    -------
    dict of ndarray
        - `kept` (n_halves, n_rows), true for the rows that a network is trained on, exactly half;
        - `objective_seeds` (n_seeds, n_halves, n_queries), the objective of these networks;
        - `p_*`, the state dict of seed 0's network trained on all rows.
    """
    digest = hashlib.sha256(repr((PROTOCOL, n_halves, n_seeds)).encode()).hexdigest()[:6]
    key = replace(task, n_groups=1, n_seeds=1, n_subsets=1).path.stem
    path = CACHE / f"{key}-rows-{digest}.npz"
    if not path.exists():
        truth = make_row_truth(task, n_halves, n_seeds)
        CACHE.mkdir(exist_ok=True)
        partial_file = path.with_suffix(f".{os.getpid()}.partial.npz")
        np.savez_compressed(partial_file, **truth)
        partial_file.replace(path)  # at once: another process may be waiting for the file
    with np.load(path) as stored:
        return dict(stored)


def make_row_truth(task, n_halves, n_seeds):
    """Train the networks that `row_truth` tells about."""
    X, y, X_query, y_query = (torch.from_numpy(part) for part in task.load())
    rng = np.random.RandomState(0)
    kept = np.zeros((n_halves, len(y)), bool)
    for row in kept:
        row[rng.permutation(len(y))[: len(y) // 2]] = True
    everything = torch.ones(1, len(y), dtype=torch.bool)
    (full,) = retrain(task.make_module, task.recipe, X, y, everything, 0)
    values = np.empty((n_seeds, n_halves, len(y_query)), np.float32)
    for seed in range(n_seeds):
        states = retrain(task.make_module, task.recipe, X, y, torch.from_numpy(kept), seed)
        for half, state in enumerate(states):
            values[seed, half] = judge(task, state, X_query, y_query)
    network = {f"p_{key}": value.numpy().copy() for key, value in full.items()}
    return {"kept": kept, "objective_seeds": values} | network


def row_lds(scores, truth):
    """Return the linear datamodeling score of scores for single rows.

    Parameters
    ----------
    scores : ndarray of shape (n_queries, n_rows)
        Attribution of each query to each training row, positive where the row helps.
    truth : mapping of ndarray
        What `row_truth` returns.

    Returns
    -------
    lds : float
        Mean over queries of the Spearman correlation, over random halves of the training rows,
        between the sum of the kept rows' scores and the objective of the network trained on them,
        mean over seeds.
    """
    return linear_datamodeling_score(truth["objective_seeds"], scores, truth["kept"])
