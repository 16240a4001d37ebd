"""Tasks of the fidelity benchmark, and their truth: what real retraining does.

As a script it makes the truth of the named tasks (by default of all) and prints a line for each::

    python doc/benchmarks/fidelity_tasks.py wine-mlp mnist-mlp

For each task the training rows are grouped by class-wise k-means. For every seed a network is
trained on all rows, without each group, and on each of 60 random halves of the groups (every group
is kept with probability one half), from the same weights and in the same row order. The outcome is
kept in `cache/` beside this file, under a name that changes with everything that it depends on.

Learning rates are chosen by the truth alone: high enough to fit the rows, low enough that a group's
effect is not drowned by the seed's. At 0.1 one retraining of fashion-mlp has a LOO of 0.24, at 0.05
of 0.45, at training accuracies of 0.97 and 0.95.
"""

import argparse
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from _retraining import Recipe, initial_module
from _retraining_truth import evaluate, make_truth
from _task_rows import digits_rows, fashion_rows, mnist_rows, table_rows
from torch import nn
from tqdm import tqdm

__all__ = ["TASKS", "Task", "cached_truth", "evaluate", "load_problem", "load_task", "make_truth"]

CACHE = Path(__file__).parent / "cache"
PROTOCOL = 1  # part of the cache's file names: raise it when the truth is made in another way


def mlp(n_features, n_hidden, n_outputs):
    """Network with one hidden layer."""
    return nn.Sequential(nn.Linear(n_features, n_hidden), nn.ReLU(), nn.Linear(n_hidden, n_outputs))


def convolutional_network():
    """Two strided convolutions with batch normalisation, and a linear layer."""
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.Conv2d(8, 16, 3, stride=2), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(16 * 6 * 6, 10)),
    )


@dataclass(frozen=True)
class Task:
    """A data set, a network, and how it is trained.

    Parameters
    ----------
    name : str
        Name of the task.
    load : functools.partial
        Returns `X_train, y_train, X_query, y_query` as arrays.
    make_module : callable
        Returns the untrained network.
    recipe : Recipe
        How the network is trained.
    n_groups : int
        Number of groups of training rows.
    role : {"choose", "report"}
        Whether defaults of the package may be chosen on the task, or only be reported.
    kind : {"classification", "regression"}, default="classification"
        What is predicted; regression is trained on `(f - y)**2 / 2`.
    slow : bool, default=False
        Whether making the truth takes minutes.
    n_seeds : int, default=3
        Number of seeds of the initial weights and the row order.
    n_subsets : int, default=60
        Number of random halves of the groups.
    """

    name: str
    load: Callable
    make_module: Callable
    recipe: Recipe
    n_groups: int
    role: str
    kind: str = "classification"
    slow: bool = False
    n_seeds: int = 3
    n_subsets: int = 60

    @property
    def objective(self):
        """Name of the objective that the truth is about."""
        return "margin" if self.kind == "classification" else "prediction"

    @property
    def path(self):
        """File that holds the truth."""
        with torch.random.fork_rng(devices=[]):
            module = str(self.make_module())
        load = (self.load.func.__name__, self.load.keywords)
        parts = (PROTOCOL, load, module, self.recipe, self.n_groups, self.n_seeds, self.n_subsets)
        digest = hashlib.sha256(repr(parts).encode()).hexdigest()[:10]
        return CACHE / f"{self.name}-{digest}.npz"


def _rows(load, n_train, n_query=100, seed=1, **options):
    return partial(load, n_train=n_train, n_query=n_query, seed=seed, **options)


TASKS = {
    task.name: task
    for task in (
        Task(
            "digits-mlp32",
            _rows(digits_rows, 1000),
            partial(mlp, 64, 32, 10),
            Recipe(batch_size=50, epochs=40, learning_rate=0.2),
            n_groups=50,
            role="choose",
            n_seeds=10,
        ),
        Task(
            "wine-lr",
            _rows(table_rows, 100, 78, table="wine"),
            partial(nn.Linear, 13, 3),
            Recipe(batch_size=50, epochs=60, learning_rate=0.1),
            n_groups=15,
            role="choose",
            n_seeds=10,
        ),
        Task(
            "wine-mlp",
            _rows(table_rows, 100, 78, seed=2, table="wine"),
            partial(mlp, 13, 16, 3),
            Recipe(batch_size=50, epochs=60, learning_rate=0.1),
            n_groups=15,
            role="report",
            n_seeds=10,
        ),
        Task(
            "cancer-mlp16",
            _rows(table_rows, 400, table="breast_cancer"),
            partial(mlp, 30, 16, 2),
            Recipe(batch_size=50, epochs=40, learning_rate=0.1),
            n_groups=20,
            role="choose",
            n_seeds=10,
        ),
        Task(
            "diabetes-mlp",
            _rows(table_rows, 340, table="diabetes"),
            partial(mlp, 10, 32, 1),
            Recipe(batch_size=50, epochs=60, learning_rate=0.05),
            n_groups=20,
            role="report",
            kind="regression",
            n_seeds=10,
        ),
        Task(
            "mnist-mlp",
            _rows(mnist_rows, 2000),
            partial(mlp, 784, 32, 10),
            Recipe(batch_size=100, epochs=40, learning_rate=0.1),
            n_groups=50,
            role="choose",
        ),
        Task(
            "fashion-mlp",
            _rows(fashion_rows, 2000),
            partial(mlp, 784, 64, 10),
            Recipe(batch_size=100, epochs=40, learning_rate=0.05),
            n_groups=50,
            role="report",
        ),
        Task(
            "fashion-cnn",
            _rows(fashion_rows, 2000, image_shape=(1, 28, 28)),
            convolutional_network,
            Recipe(batch_size=100, epochs=20, learning_rate=0.05),
            n_groups=20,
            role="choose",
            slow=True,
            n_seeds=2,
        ),
        Task(
            "fashion10k-mlp",
            _rows(fashion_rows, 10_000),
            partial(mlp, 784, 64, 10),
            Recipe(batch_size=100, epochs=20, learning_rate=0.02),
            n_groups=100,
            role="report",
            slow=True,
            n_seeds=2,
        ),
    )
}


def load_task(name):
    """Load a task with its truth.

    Returns
    -------
    module : nn.Module
        The trained network of seed 0, in evaluation mode.
    data : tuple of ndarray
        `X_train, y_train, X_query, y_query`.
    truth : dict of ndarray
        See `make_truth`; made now if it is not in the cache.
    """
    return load_problem(TASKS[name])


def load_problem(task):
    """Load a task that need not be among `TASKS`; as `load_task`."""
    truth = cached_truth(task)
    module = initial_module(task.make_module, 0)
    module.load_state_dict(
        {key[2:]: torch.as_tensor(truth[key]) for key in truth if key.startswith("p_")}
    )
    return module.eval(), task.load(), truth


def cached_truth(task, progress=None, n_jobs=None):
    """Read the truth of a task, or make it and keep it; arguments as of `make_truth`."""
    if not task.path.exists():
        truth = make_truth(task, progress, n_jobs)
        CACHE.mkdir(exist_ok=True)
        partial_file = task.path.with_suffix(f".{os.getpid()}.partial.npz")
        np.savez_compressed(partial_file, **truth)
        partial_file.replace(task.path)  # at once: another process may be waiting for the file
    with np.load(task.path) as stored:
        return dict(stored)


COLUMNS = {  # head of a column of the printed table -> (key of the truth, format)
    "train": ("train_score", "6.3f"),
    "test": ("test_score", "6.3f"),
    "one_retrain": ("one_retrain", "11.3f"),
    "LDS of LOO": ("lds_of_true_loo", "10.3f"),
    "one net s": ("t_one", "9.2f"),
    "seconds": ("seconds", "8.1f"),
}


def table_line(task, truth):
    """Line of the printed table."""
    X = task.load()[0]
    cells = [f"{task.name:15s} {len(X):6d} {X[0].size:4d} {task.n_groups:4d} {task.n_seeds:5d}"]
    cells += [format(float(truth[key]), form) for key, form in COLUMNS.values()]
    return " ".join(cells)


def main():
    """Make the truths of the tasks named on the command line and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(TASKS), metavar="name")
    names = parser.parse_args().names
    if unknown := set(names) - set(TASKS):
        parser.error(f"no task {', '.join(sorted(unknown))}; choose from {', '.join(TASKS)}")
    head = [f"{'task':15s} {'n':>6s} {'D':>4s} {'K':>4s} {'seeds':>5s}"]
    head += [f"{name:>{int(float(form[:-1]))}s}" for name, (_, form) in COLUMNS.items()]
    tqdm.write(" ".join(head))
    for name in names:
        task = TASKS[name]
        n_networks = task.n_seeds * (1 + task.n_groups + task.n_subsets)
        with tqdm(total=n_networks, desc=name, unit="net", leave=False) as progress:
            truth = cached_truth(task, progress)
        tqdm.write(table_line(task, truth))


if __name__ == "__main__":
    main()
