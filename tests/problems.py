"""Small networks and rows that several test files share."""

import numpy as np
import torch
from torch import nn

from sklearn_synset._retraining.synset import Synset
from sklearn_synset._wrapping.wrapped_model import wrap

N_FEATURES, N_CLASSES = 4, 3
# Settings of an attributor that is fitted in a second.
FAST = {"max_iter": 4, "n_steps": 8, "n_probes": 2, "random_state": 0}
REWOUND = FAST | {"solver": "rewind"}  # without a usual training of modules


def seeded(build, seed=0):
    """Build a module from a fixed seed without moving the global one."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build()


def mlp(n_features=N_FEATURES, n_outputs=N_CLASSES, n_hidden=5, dtype=torch.float64):
    return seeded(
        lambda: nn.Sequential(
            nn.Linear(n_features, n_hidden), nn.Tanh(), nn.Linear(n_hidden, n_outputs)
        ).to(dtype)
    )


def small_conv(n_outputs=N_CLASSES, dtype=torch.float64):
    """Return a network for (1, 4, 4) images that has every layer with a mode."""
    return seeded(
        lambda: nn.Sequential(
            nn.Conv2d(1, 3, 2),
            nn.BatchNorm2d(3),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Flatten(),
            nn.Linear(27, n_outputs),
        ).to(dtype)
    )


def functional(module, X, y, classes, weight_decay=0.0):
    """Return a module as a function of its weights."""
    random_state = np.random.RandomState(0)
    return wrap(
        module, X, y, classes=classes, weight_decay=weight_decay, random_state=random_state
    )[1]


def classification_model(n_rows, weight_decay=0.0, module=None):
    """Return a network, rows (n, 4) and one-hot targets (n, 3), float64."""
    rng = np.random.RandomState(1)
    X, y = rng.normal(size=(n_rows, N_FEATURES)), np.arange(n_rows) % N_CLASSES
    module = mlp() if module is None else module
    model = functional(module, X, y, np.arange(N_CLASSES), weight_decay)
    targets = torch.nn.functional.one_hot(torch.as_tensor(y), N_CLASSES).double()
    return model, torch.as_tensor(X), targets


def regression_model(n_rows, weight_decay=0.0, n_targets=2, module=None):
    """Return a network, rows (n, 4) and targets (n, 2), float64."""
    rng = np.random.RandomState(2)
    X, y = rng.normal(size=(n_rows, N_FEATURES)), rng.normal(size=(n_rows, n_targets))
    module = mlp(n_outputs=n_targets) if module is None else module
    model = functional(module, X, y, None, weight_decay)
    return model, torch.as_tensor(X), torch.as_tensor(y)


def mean_rows(X, targets, rows_by_group):
    """Return a synset of one row a group: the mean of its rows, weighted by their number."""
    sizes = torch.tensor([len(rows) for rows in rows_by_group]).to(X)
    return Synset(
        torch.stack([X[rows].mean(0) for rows in rows_by_group]),
        torch.stack([targets[rows].mean(0) for rows in rows_by_group]),
        sizes,
        torch.arange(len(rows_by_group)),
        sizes.clone(),
    )


def train(module, X, y, loss, n_steps=150, lr=0.02, weight_decay=0.0):
    """Train a module on all rows at once, from a fixed seed, and leave it in evaluation mode."""
    optimizer = torch.optim.Adam(module.parameters(), lr=lr, weight_decay=weight_decay)
    X, y = torch.tensor(X), torch.tensor(y)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module.train()
        for _ in range(n_steps):
            optimizer.zero_grad()
            loss(module(X), y).backward()
            optimizer.step()
        optimizer.zero_grad()
    return module.eval()
