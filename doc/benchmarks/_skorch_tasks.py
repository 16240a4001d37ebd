"""Data sets and networks of the benchmarks that train skorch nets."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from _task_rows import digits_rows, fashion_rows, standardised
from sklearn.datasets import load_breast_cancer, make_classification
from skorch import NeuralNetClassifier
from skorch.callbacks import LRScheduler
from torch import nn

from sklearn_synset._wrapping.default_network import WholeBatches, keep_batch


def cancer_rows(n_train, n_query, seed):
    """Breast cancer table, columns standardised on the training rows."""
    X, y = load_breast_cancer(return_X_y=True)
    order = np.random.RandomState(seed).permutation(len(y))
    train, query = order[:n_train], order[n_train : n_train + n_query]
    return standardised(X[train], X[train]), y[train], standardised(X[query], X[train]), y[query]


def made_rows(n_train, n_query, seed):
    """A made table: five classes of three clusters each, 12 informative columns of 30."""
    X, y = make_classification(
        n_train + n_query,
        n_features=30,
        n_informative=12,
        n_redundant=8,
        n_classes=5,
        n_clusters_per_class=3,
        class_sep=1.5,
        flip_y=0,
        random_state=seed,
    )
    X_train = X[:n_train]
    return (
        standardised(X_train, X_train),
        y[:n_train],
        standardised(X[n_train:], X_train),
        y[n_train:],
    )


@dataclass(frozen=True)
class SkorchTask:
    """A data set and how a network is trained on it.

    Parameters
    ----------
    load : callable
        Returns `X_train, y_train, X_query, y_query` for a seed.
    n_features, n_classes : int
        Shape of the problem.
    learning_rate : float
        Of the first step; it falls to zero along a half cosine.
    batch_size : int, default=50
        Rows in a batch.
    n_epochs : int, default=40
        Passes over the rows.
    """

    load: Callable
    n_features: int
    n_classes: int
    learning_rate: float
    batch_size: int = 50
    n_epochs: int = 40

    def net(self, *hidden):
        """Return an untrained classifier with hidden layers of these widths, 64 by default."""
        return NeuralNetClassifier(
            multi_layer_perceptron,
            module__widths=(self.n_features, *(hidden or (64,)), self.n_classes),
            criterion=nn.CrossEntropyLoss,
            optimizer=torch.optim.SGD,
            optimizer__momentum=0.9,
            optimizer__weight_decay=1e-3,
            lr=self.learning_rate,
            max_epochs=self.n_epochs,
            batch_size=self.batch_size,
            dataset=WholeBatches,
            iterator_train__shuffle=True,
            iterator_train__collate_fn=keep_batch,
            iterator_valid__collate_fn=keep_batch,
            train_split=None,
            callbacks=[LRScheduler("CosineAnnealingLR", T_max=self.n_epochs)],
            callbacks__print_log=None,
            verbose=0,
        )


def multi_layer_perceptron(widths):
    """Return linear layers with rectified linear units between them."""
    layers = []
    for n_in, n_out in zip(widths[:-1], widths[1:], strict=True):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def seeded_fit(net, X, y, seed):
    """Train a net from a seed without moving the global random state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return net.fit(X, y)


TASKS = {
    "cancer": SkorchTask(partial(cancer_rows, n_train=469, n_query=100), 30, 2, 0.1),
    "digits": SkorchTask(partial(digits_rows, n_train=1397, n_query=400), 64, 10, 0.1),
    "fashion2000": SkorchTask(partial(fashion_rows, n_train=2000, n_query=2000), 784, 10, 0.05),
    "fashion10000": SkorchTask(
        partial(fashion_rows, n_train=10_000, n_query=5000), 784, 10, 0.05, 100, 30
    ),
    "table20000": SkorchTask(partial(made_rows, n_train=20_000, n_query=5000), 30, 5, 0.1, 100, 20),
}
