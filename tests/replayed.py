"""Nets whose training is replayed, and the same nets trained by skorch itself."""

import numpy as np
import torch
from sklearn.base import clone
from skorch import NeuralNetClassifier
from torch import nn

from sklearn_synset._data.training_data import TrainingRows
from sklearn_synset._replay.replay import replay
from sklearn_synset._replay.rows import replayed_training_rows
from sklearn_synset._wrapping.kept_rows import clone_without
from sklearn_synset._wrapping.wrapped_model import wrap

N, N_GROUPS = 60, 4


class SmallMLP(nn.Module):
    """Two layers with what a case needs between them, in double precision."""

    def __init__(self, n_outputs=3, between=(nn.Tanh,), n_hidden=6):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(4, n_hidden), *(build() for build in between), nn.Linear(n_hidden, n_outputs)
        ).double()

    def forward(self, X):
        return self.layers(X)


def small_rows(n=N):
    """Return rows (n, 4) of three classes, their labels, and four groups."""
    rng = np.random.RandomState(0)
    y = np.arange(n) % 3
    X = rng.normal(size=(n, 4))
    X[np.arange(n), y] += 1
    return X, y, rng.permutation(np.arange(n) % N_GROUPS)


def small_net(cls=NeuralNetClassifier, **params):
    """Return a net that is not trained, and rows, labels and groups for it."""
    settings = {
        "module": SmallMLP,
        "criterion": nn.CrossEntropyLoss,
        "lr": 0.1,
        "max_epochs": 4,
        "batch_size": 16,
        "train_split": None,
        "iterator_train__shuffle": True,
        "verbose": 0,
    }
    return cls(**settings | params), *small_rows()


def trained(net, X, y, groups, seed=0):
    """Train a net as `fit` does; return it, its function with its recipe, and its rows."""
    is_classifier = np.asarray(y).dtype.kind == "i"
    classes = np.unique(y) if is_classifier else None
    random_state = np.random.RandomState(seed)
    network, model = wrap(net, X, y, classes=classes, weight_decay=None, random_state=random_state)
    targets = torch.as_tensor(y)
    if is_classifier:
        targets = nn.functional.one_hot(targets, len(classes))
    members = [torch.from_numpy(np.flatnonzero(groups == k)) for k in range(N_GROUPS)]
    targets = targets.reshape(len(y), -1).to(model.dtype)
    return network, model, TrainingRows(torch.as_tensor(X), targets, members, 100)


def trained_model(net, X, y, groups, seed=0):
    """Return the function of a trained net with its recipe, and its rows."""
    return trained(net, X, y, groups, seed)[1:]


def fitted_by_hand(net, X, y, seed, kept=None):
    """Return the weights (D,) of a net that skorch trains, without some rows in the same batches.

    Of a trained batch normalisation, the statistics are appended.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        initialised = clone(net).initialize()
        if kept is not None:
            initialised, X, y = clone_without(initialised, X, y, kept)
        torch.manual_seed(seed)
        fitted = clone(initialised).fit(X, y)
    return weights_of(fitted.module_)


def fitted_ignoring(net, X, y, seed, kept):
    """Return the weights (D,) of a net that skorch trains with the left-out rows in their places.

    Their labels are ignored by the cross-entropy, so that they only draw their dropout masks.
    """
    return fitted_by_hand(net, X, np.where(kept, y, -100), seed)


def weights_of(module):
    """Return trained weights and statistics of a module, one after the other."""
    parts = [each.detach().flatten() for each in module.parameters() if each.requires_grad]
    statistics = [value.flatten() for name, value in module.named_buffers() if "running" in name]
    return torch.cat([*parts, *statistics])


def replayed(model, rows, kept, seed):
    """Return the weights and statistics (R, ...) of replayed trainings, and the stack."""
    plan_rows = replayed_training_rows(model, model.recipe, rows)
    stack = replay(model.recipe, plan_rows, [(seed, torch.as_tensor(kept).to(model.dtype))])
    parts = [each.detach().reshape(len(each), -1) for each in stack.parameters.values()]
    parts += [stack.statistics[name].flatten(1) for name in stack.statistics]
    return torch.cat(parts, dim=1), stack
