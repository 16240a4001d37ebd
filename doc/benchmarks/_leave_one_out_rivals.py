"""What training takes: once, and once without each group in the ways there are."""

import math
import time
from dataclasses import dataclass, replace

import numpy as np
import torch
from _retraining import initial_module, train_one
from _retraining_stacked import retrain
from joblib import Parallel, delayed
from skorch import NeuralNetClassifier
from torch import nn

N_MEASURED = 6000  # rows of the epoch that is timed; every step of an epoch costs the same
N_SEQUENTIAL = 3  # trainings that are timed where one follows the other


@dataclass(frozen=True)
class Seconds:
    """Time of the clock and of the processor (nan where other processes work)."""

    wall: float
    processor: float = math.nan

    def __add__(self, other):
        return Seconds(self.wall + other.wall, self.processor + other.processor)

    def __sub__(self, other):
        return Seconds(self.wall - other.wall, self.processor - other.processor)

    def __mul__(self, factor):
        return Seconds(self.wall * factor, self.processor * factor)


def timed(call):
    """Return what a call returns and the seconds that it takes."""
    wall, processor = time.perf_counter(), time.process_time()
    result = call()
    return result, Seconds(time.perf_counter() - wall, time.process_time() - processor)


def least_time(call, n_threads):
    """Return the least seconds that a call takes, on one thread or on several.

    Small steps gain little from a second thread, and lose where other programs compete.
    """
    seconds = []
    for n in {1, n_threads}:
        torch.set_num_threads(n)
        seconds.append(timed(call)[1])
    torch.set_num_threads(n_threads)
    return min(seconds, key=lambda found: found.wall)


def one_training(task, X, y):
    """Train the network of seed 0 by a plain loop."""
    everything = torch.ones(len(y), dtype=torch.bool)
    return train_one(initial_module(task.make_module, 0), task.recipe, X, y, everything, 0)


class Rivals:
    """Times one epoch on the first rows and scales it to a whole training, or to one per group.

    Parameters
    ----------
    task : Task
        The task.
    X : Tensor of shape (n_rows, ...)
        Training rows.
    y : Tensor of shape (n_rows,)
        Their labels.
    groups : ndarray of shape (n_rows,)
        Group of each row.
    n_threads : int
        Threads, or processes of one thread.
    """

    def __init__(self, task, X, y, groups, n_threads):
        self.task, self.n_threads = task, n_threads
        self.X, self.y = X[:N_MEASURED].clone(), y[:N_MEASURED].clone()
        self.kept = torch.from_numpy(groups[:N_MEASURED] != np.arange(task.n_groups)[:, None])
        self.recipe = replace(task.recipe, epochs=1)
        self.scale = n_steps(task.recipe, len(y)) / n_steps(self.recipe, len(self.y))

    def skorch(self):
        """Return the seconds of one training by skorch, all but the network at its defaults."""
        recipe = self.recipe
        net = NeuralNetClassifier(
            initial_module(self.task.make_module, 0),
            criterion=nn.CrossEntropyLoss,
            optimizer=torch.optim.SGD,
            optimizer__momentum=recipe.momentum,
            optimizer__weight_decay=recipe.weight_decay,
            lr=recipe.learning_rate,
            batch_size=recipe.batch_size,
            max_epochs=recipe.epochs,
            iterator_train__shuffle=True,
            train_split=None,
            verbose=0,
        )
        with torch.random.fork_rng(devices=[]):
            return least_time(lambda: net.fit(self.X, self.y), self.n_threads) * self.scale

    def sequential(self):
        """Return the seconds of training without each group, one after the other."""
        drawn = self.kept[:: max(1, len(self.kept) // N_SEQUENTIAL)][:N_SEQUENTIAL]

        def train():
            for kept in drawn:
                module = initial_module(self.task.make_module, 0)
                train_one(module, self.recipe, self.X, self.y, kept, 0)

        return least_time(train, self.n_threads) * (self.scale * len(self.kept) / len(drawn))

    def joblib(self):
        """Return the seconds of the same by joblib, on as many processes as there are threads."""
        drawn = self.kept[: 2 * self.n_threads].numpy()
        data = self.task.make_module, self.recipe, self.X.numpy(), self.y.numpy()
        parallel = Parallel(self.n_threads)
        parallel(delayed(train_in_process)(*data, kept) for kept in drawn)  # processes start
        _, seconds = timed(
            lambda: parallel(delayed(train_in_process)(*data, kept) for kept in drawn)
        )
        return Seconds(seconds.wall) * (self.scale * len(self.kept) / len(drawn))

    def vectorised(self):
        """Return the seconds of training the networks without each group together."""

        def train():
            list(retrain(self.task.make_module, self.recipe, self.X, self.y, self.kept, 0))

        return least_time(train, self.n_threads) * self.scale


def train_in_process(make_module, recipe, X, y, kept):
    """Train on one thread; for another process."""
    torch.set_num_threads(1)
    X, y, kept = (torch.from_numpy(np.array(part)) for part in (X, y, kept))
    train_one(initial_module(make_module, 0), recipe, X, y, kept, 0)


def n_steps(recipe, n_rows):
    """Return the number of steps of a training."""
    return recipe.epochs * math.ceil(n_rows / recipe.batch_size)
