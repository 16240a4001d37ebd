"""Everyday ways to train a network, and what real retraining without each group does.

Each recipe is written down twice: as a skorch net, and as the parts of a plain loop over
minibatches that makes the truth and uses nothing of the package. `bench_regimes.py --check-loops`
compares the two on all rows.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from _retraining import initial_module, objective
from _task_rows import digits_rows, group_rows, table_rows
from skorch import NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import GradientNormClipping, LRScheduler
from torch import nn
from torch.utils.data import DataLoader

CACHE = Path(__file__).parent / "cache"
PROTOCOL = 1  # part of the cache's file names: raise it when the truth is made in another way


@dataclass(frozen=True)
class Regime:
    """A data set, a network, and an everyday recipe.

    Parameters
    ----------
    load : functools.partial
        Returns `X_train, y_train, X_query, y_query` as arrays.
    make_module : callable
        Returns the untrained network.
    n_groups : int
        Groups of training rows, by class-wise k-means.
    optimizer : type
        Of torch.
    options : dict
        Its parameters, `lr` among them.
    n_epochs : int
        Passes over the rows.
    batch_size : int, default=32
        Rows of a minibatch.
    criterion : Module
        Mean of a loss of each row.
    schedule : tuple, default=None
        Name of a schedule of torch, its parameters, and whether it steps by "batch" or "epoch".
    clip : float, default=None
        Largest norm of a gradient.
    n_seeds : int, default=4
        Trainings of each kind.
    """

    load: Callable
    make_module: Callable
    n_groups: int
    optimizer: type
    options: dict
    n_epochs: int
    batch_size: int = 32
    criterion: nn.Module = field(default_factory=nn.CrossEntropyLoss)
    schedule: tuple | None = None
    clip: float | None = None
    n_seeds: int = 4

    def rows(self):
        """Return `X_train, y_train, X_query, y_query`; values have a column of their own."""
        X, y, X_query, y_query = self.load()
        if y.dtype.kind == "f":
            return X, y[:, None], X_query, y_query[:, None]
        return X, y.astype(np.int64), X_query, y_query.astype(np.int64)

    def groups(self):
        """Return the group of each training row."""
        X, y, *_ = self.rows()
        return group_rows(X, y[:, 0] if y.ndim == 2 else y, self.n_groups)

    def net(self):
        """Return the untrained skorch net."""
        is_values = self.rows()[1].ndim == 2
        callbacks = []
        if self.clip is not None:
            callbacks.append(GradientNormClipping(self.clip))
        if self.schedule is not None:
            name, params, unit = self.schedule
            callbacks.append(LRScheduler(name, **params, step_every=unit))
        options = {key: value for key, value in self.options.items() if key != "lr"}
        loss = {}
        if isinstance(self.criterion, nn.CrossEntropyLoss):
            loss["criterion__label_smoothing"] = self.criterion.label_smoothing
        return (NeuralNetRegressor if is_values else NeuralNetClassifier)(
            self.make_module,
            criterion=type(self.criterion),
            **loss,
            optimizer=self.optimizer,
            lr=self.options["lr"],
            **{f"optimizer__{key}": value for key, value in options.items()},
            max_epochs=self.n_epochs,
            batch_size=self.batch_size,
            iterator_train__shuffle=True,
            train_split=None,
            callbacks=callbacks,
            verbose=0,
        )

    def trained(self, module, X, y, kept, epochs):
        """Train a module in place by a plain loop.

        Parameters
        ----------
        module : Module
            With its initial weights.
        X, y : Tensor
            All rows, and their targets.
        kept : bool Tensor of shape (n_rows,)
            Rows to train on; the others are taken out of their minibatches.
        epochs : iterable of iterables of Tensor
            Minibatches of all rows, for each pass.

        Returns
        -------
        Module
            The same network, in evaluation mode.
        """
        optimizer = self.optimizer(module.parameters(), **self.options)
        scheduler, unit = None, None
        if self.schedule is not None:
            name, params, unit = self.schedule
            scheduler = getattr(torch.optim.lr_scheduler, name)(optimizer, **params)
        module.train()
        for batches in epochs:
            for batch in batches:
                rows = batch[kept[batch]]
                if len(rows):
                    optimizer.zero_grad()
                    self.criterion(module(X[rows]), y[rows]).backward()
                    if self.clip is not None:
                        nn.utils.clip_grad_norm_(module.parameters(), self.clip)
                    optimizer.step()
                if unit == "batch":
                    scheduler.step()
            if unit == "epoch":
                scheduler.step()
        return module.eval()

    def truth(self, progress=None):
        """Return effects (seed, query, group) of really leaving groups out, kept on disk."""
        path = CACHE / f"regime-{self._digest()}.npz"
        if not path.exists():
            CACHE.mkdir(exist_ok=True)
            temporary = path.with_suffix(f".{os.getpid()}.partial.npz")
            np.savez_compressed(temporary, effects=self._effects(progress), groups=self.groups())
            temporary.replace(path)
        with np.load(path) as stored:
            return stored["effects"].astype(float), stored["groups"]

    def _effects(self, progress):
        X, y, X_query, y_query = map(torch.as_tensor, self.rows())
        groups = torch.as_tensor(self.groups())
        judged_by = y_query[:, 0] if y_query.ndim == 2 else y_query
        effects = np.empty((self.n_seeds, len(X_query), self.n_groups), np.float32)

        def outcome(kept, seed):
            generator = torch.Generator().manual_seed(seed)
            epochs = [
                torch.randperm(len(X), generator=generator).split(self.batch_size)
                for _ in range(self.n_epochs)
            ]
            module = initial_module(self.make_module, seed)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)  # of dropout and noise
                self.trained(module, X, y, kept, epochs)
            if progress is not None:
                progress.update()
            with torch.no_grad():
                return objective(module(X_query), judged_by)

        for seed in range(self.n_seeds):
            full = outcome(torch.ones(len(X), dtype=torch.bool), seed)
            for group in range(self.n_groups):
                effects[seed, :, group] = (full - outcome(groups != group, seed)).numpy()
        return effects

    def _digest(self):
        with torch.random.fork_rng(devices=[]):
            module = str(self.make_module())
        load = (self.load.func.__name__, self.load.keywords)
        recipe = (self.optimizer.__name__, self.options, self.n_epochs, self.batch_size)
        loss = (str(self.criterion), getattr(self.criterion, "label_smoothing", None))
        parts = (PROTOCOL, load, module, self.n_groups, *recipe, *loss, self.schedule, self.clip)
        return hashlib.sha256(repr((*parts, self.n_seeds)).encode()).hexdigest()[:12]


def loop_error(regime):
    """Return how far the outputs of net and loop are apart after a training on all rows."""
    X, y, X_query, _ = regime.rows()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net_outputs = regime.net().fit(X, y).forward(X_query)
        torch.manual_seed(0)
        module = regime.make_module()
        # As skorch draws the order, from the global generator.
        loader = DataLoader(range(len(X)), batch_size=regime.batch_size, shuffle=True)
        everything = torch.ones(len(X), dtype=torch.bool)
        epochs = (loader for _ in range(regime.n_epochs))
        regime.trained(module, torch.as_tensor(X), torch.as_tensor(y), everything, epochs)
        with torch.no_grad():
            loop_outputs = module(torch.as_tensor(X_query))
    return float((net_outputs - loop_outputs).abs().max() / loop_outputs.abs().max())


def mlp(*widths, dropout=0.0):
    """Linear layers with rectified linear units, and dropout, between them."""
    layers = []
    for n_in, n_out in zip(widths[:-1], widths[1:], strict=True):
        layers += [nn.Linear(n_in, n_out), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers[:-2])


class Block(nn.Module):
    """Adds what a layer makes of normalised values to them."""

    def __init__(self, width):
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(width), nn.Linear(width, width)

    def forward(self, values):
        """Map values (n, width) to values."""
        return values + torch.relu(self.linear(self.norm(values)))


def residual(n_features, width, n_outputs):
    """Two residual blocks with layer normalisation."""
    blocks = (Block(width), Block(width), nn.LayerNorm(width))
    return nn.Sequential(nn.Linear(n_features, width), *blocks, nn.Linear(width, n_outputs))


class Noise(nn.Module):
    """Adds noise to rows in training."""

    def __init__(self, scale):
        super().__init__()
        self.scale = scale

    def forward(self, X):
        """Map rows (n, d) to rows."""
        return X + self.scale * torch.randn_like(X) if self.training else X

    def extra_repr(self):
        """Say how much."""
        return f"{self.scale}"


def noisy(*widths, scale):
    """Augment rows by noise in front of linear layers."""
    return nn.Sequential(Noise(scale), *mlp(*widths))


def small_cnn():
    """Convolution, batch normalisation, rectified linear units and pooling, twice."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        *(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(64, 10)),
    )


def _table(name, n_train, n_query):
    return partial(table_rows, table=name, n_train=n_train, n_query=n_query, seed=5)


DIGITS = partial(digits_rows, n_train=800, n_query=150, seed=5)
ADAM = (torch.optim.Adam, {"lr": 1e-3})
REGIMES = {
    "wine-cosine": Regime(
        _table("wine", 110, 60),
        partial(mlp, 13, 32, 3),
        *(18, torch.optim.AdamW, {"lr": 3e-3, "weight_decay": 1e-2}, 40),
        batch_size=16,
        schedule=("CosineAnnealingLR", {"T_max": 280}, "batch"),
        n_seeds=8,
    ),
    "cancer-clipped": Regime(
        _table("breast_cancer", 400, 150),
        partial(mlp, 30, 32, 2),
        *(20, torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}, 30),
        schedule=("StepLR", {"step_size": 10, "gamma": 0.3}, "epoch"),
        clip=1.0,
        n_seeds=6,
    ),
    "digits-residual": Regime(
        DIGITS,
        partial(residual, 64, 48, 10),
        *(30, torch.optim.RMSprop, {"lr": 1e-3}, 20),
        n_seeds=8,
    ),
    "digits-cnn": Regime(DIGITS, small_cnn, 20, *ADAM, 10, n_seeds=3),
    "digits-deep": Regime(
        DIGITS,
        partial(mlp, 64, 64, 64, 10, dropout=0.3),
        *(30, *ADAM, 30),
        criterion=nn.CrossEntropyLoss(label_smoothing=0.1),
    ),
    "diabetes-huber": Regime(
        _table("diabetes", 340, 100),
        partial(mlp, 10, 32, 1),
        *(20, *ADAM, 60),
        criterion=nn.HuberLoss(),
        n_seeds=6,
    ),
    "digits-noise": Regime(
        DIGITS,
        partial(noisy, 64, 64, 10, scale=0.2),
        *(30, torch.optim.AdamW, {"lr": 1e-3, "weight_decay": 1e-2}, 30),
    ),
}
