"""Tasks whose truth was made elsewhere and lies in a folder of `.npz` files.

They are made as those of `fidelity_tasks.py`, by another program: the figures on them show that
neither the package nor these scripts lean on one way to retrain.
"""

from functools import partial
from pathlib import Path

import numpy as np
import torch
from _retraining import Recipe
from _task_rows import digits_rows, split_rows
from fidelity_tasks import Task, mlp
from sklearn.datasets import load_breast_cancer
from torch import nn

__all__ = ["OUTSIDE_TASKS", "load_outside_task"]


def cancer_rows(n_train, n_query, seed):
    """Return the breast cancer table, its columns standardised on all rows."""
    X, y = load_breast_cancer(return_X_y=True)
    X = ((X - X.mean(0)) / X.std(0)).astype(np.float32)
    return split_rows(X, y, n_train, n_query, seed)


OUTSIDE_TASKS = {
    task.name: task
    for task in (
        Task(
            "digits-lr",
            partial(digits_rows, n_train=1000, n_query=200, seed=0),
            partial(nn.Linear, 64, 10),
            Recipe(batch_size=100, epochs=60, learning_rate=0.5),
            n_groups=50,
            role="report",
        ),
        Task(
            "digits-mlp",
            partial(digits_rows, n_train=1000, n_query=200, seed=0),
            partial(mlp, 64, 64, 10),
            Recipe(batch_size=50, epochs=40, learning_rate=0.2),
            n_groups=50,
            role="report",
        ),
        Task(
            "cancer-mlp",
            partial(cancer_rows, n_train=400, n_query=169, seed=0),
            partial(mlp, 30, 32, 2),
            Recipe(batch_size=40, epochs=40, learning_rate=0.1),
            n_groups=20,
            role="report",
        ),
    )
}


def load_outside_task(name, folder):
    """Load a task with its truth out of a folder.

    Parameters
    ----------
    name : str
        Key of `OUTSIDE_TASKS`.
    folder : path-like
        Folder that holds `{name}.npz`.

    Returns
    -------
    module : nn.Module
        The trained network, in evaluation mode.
    data : tuple of ndarray
        `X_train, y_train, X_query, y_query`.
    truth : dict of ndarray
        As `_retraining_truth.make_truth` returns it, without the arrays of single seeds.
    """
    task = OUTSIDE_TASKS[name]
    with np.load(Path(folder) / f"{name}.npz") as stored:
        truth = dict(stored)
    with torch.random.fork_rng(devices=[]):
        module = task.make_module()
    module.load_state_dict(
        {key[2:]: torch.as_tensor(truth[key]) for key in truth if key.startswith("p_")}
    )
    return module.eval(), task.load(), truth
