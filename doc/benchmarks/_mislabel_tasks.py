"""Data sets, networks and label noise of the benchmark on wrong labels."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from _skorch_tasks import multi_layer_perceptron
from _task_rows import digits_rows, fashion_rows, mnist_rows, scaled_rows, standardised
from sklearn import datasets
from skorch import NeuralNetClassifier
from skorch.callbacks import LRScheduler
from torch import nn


def small_table_rows(load, n_train, n_query, seed):
    """A table of scikit-learn's, columns standardised on the training rows."""
    return scaled_rows(*load(return_X_y=True), n_train, n_query, seed)


def diabetes_rows(n_train, n_query, seed):
    """Diabetes in three classes of equal size, which overlap."""
    X, y = datasets.load_diabetes(return_X_y=True)
    codes = np.searchsorted(np.quantile(y, [1 / 3, 2 / 3]), y)
    return scaled_rows(X, codes, n_train, n_query, seed)


def mixed_rows(n_train, n_query, seed):
    """A made table: six numbers, one of them skewed, and three categories; four classes.

    The classes are sectors of the plane of two nonlinear functions of all columns.
    """
    rng, n = np.random.RandomState(seed), n_train + n_query
    numbers = rng.normal(size=(n, 6))
    numbers[:, 0] = np.exp(numbers[:, 0])
    levels = [rng.randint(k, size=n) for k in (3, 5, 8)]
    effects = [rng.normal(size=(k, 2)) for k in (3, 5, 8)]
    plane = sum(effect[level] for effect, level in zip(effects, levels, strict=True))
    plane = plane + numbers @ rng.normal(size=(6, 2)) / 2
    plane = plane + np.sin(2 * numbers[:, 1:3]) + numbers[:, 3:4] * numbers[:, 4:6]
    y = 2 * (plane[:, 0] > np.median(plane[:, 0])) + (plane[:, 1] > np.median(plane[:, 1]))
    dummies = [np.eye(len(effect))[level] for effect, level in zip(effects, levels, strict=True)]
    X = np.column_stack([numbers, *dummies])
    train, query = X[:n_train], X[n_train:]
    return standardised(train, train), y[:n_train], standardised(query, train), y[n_train:]


@dataclass(frozen=True)
class MislabelTask:
    """A data set, and networks to train on it.

    Parameters
    ----------
    load : callable
        Returns `X_train, y_train, X_query, y_query` for a seed.
    n_classes : int
        Number of classes.
    learning_rate : float, default=0.1
        First step of stochastic gradient descent.
    n_epochs : int, default=40
        Passes over the rows.
    """

    load: Callable
    n_classes: int
    learning_rate: float = 0.1
    n_epochs: int = 40

    def net(self, optimizer, n_features):
        """Return an untrained network with one hidden layer of 64."""
        if optimizer == "sgd":
            settings = {
                "optimizer": torch.optim.SGD,
                "optimizer__momentum": 0.9,
                "optimizer__weight_decay": 1e-3,
                "lr": self.learning_rate,
                "callbacks": [LRScheduler("CosineAnnealingLR", T_max=self.n_epochs)],
            }
        else:
            settings = {"optimizer": torch.optim.Adam, "lr": 3e-3}
        return NeuralNetClassifier(
            multi_layer_perceptron,
            module__widths=(n_features, 64, self.n_classes),
            criterion=nn.CrossEntropyLoss,
            max_epochs=self.n_epochs,
            batch_size=50,
            iterator_train__shuffle=True,
            train_split=None,
            callbacks__print_log=None,
            verbose=0,
            **settings,
        )


TASKS = {
    "iris": MislabelTask(partial(small_table_rows, datasets.load_iris, 110, 40), 3),
    "wine": MislabelTask(partial(small_table_rows, datasets.load_wine, 130, 48), 3),
    "cancer": MislabelTask(partial(small_table_rows, datasets.load_breast_cancer, 469, 100), 2),
    "diabetes": MislabelTask(partial(diabetes_rows, 342, 100), 3),
    "digits": MislabelTask(partial(digits_rows, 1397, 400), 10),
    "mixed4000": MislabelTask(partial(mixed_rows, 4000, 4000), 4),
    "mnist3000": MislabelTask(partial(mnist_rows, 3000, 2000), 10, 0.05),
    "fashion2000": MislabelTask(partial(fashion_rows, 2000, 2000), 10, 0.05),
    "fashion10000": MislabelTask(partial(fashion_rows, 10_000, 5000), 10, 0.05, 20),
}


def flip_labels(y, rate, kind, seed):
    """Return labels of which a share is wrong; "class" to the next class, at rates that rise."""
    rng, noisy = np.random.RandomState(seed), y.copy()
    n_classes = y.max() + 1
    is_uniform = kind == "uniform"
    rates = np.full(n_classes, rate) if is_uniform else rate * np.linspace(0.5, 1.5, n_classes)
    for code, share in enumerate(rates):
        rows = np.flatnonzero(y == code)
        flipped = rng.choice(rows, round(share * len(rows)), replace=False)
        step = rng.randint(1, n_classes, len(flipped)) if is_uniform else 1
        noisy[flipped] = (code + step) % n_classes
    return noisy
