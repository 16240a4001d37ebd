"""The demo's network: how it is trained, and what retraining without a group changes."""

from dataclasses import dataclass

import numpy as np
import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import LRScheduler
from torch import nn


@dataclass(frozen=True)
class Recipe:
    """One hidden layer, momentum SGD with weight decay, a learning rate that falls to zero."""

    n_hidden: int
    learning_rate: float
    epochs: int = 30
    batch_size: int = 50
    weight_decay: float = 1e-3
    momentum: float = 0.9


def layers(n_features, n_hidden, n_classes):
    """Return an untrained network with one hidden layer."""
    return nn.Sequential(nn.Linear(n_features, n_hidden), nn.ReLU(), nn.Linear(n_hidden, n_classes))


class Network(nn.Sequential):
    """The same as a class that skorch can make anew."""

    def __init__(self, n_features, n_hidden, n_classes):
        super().__init__(*layers(n_features, n_hidden, n_classes))


def skorch_net(recipe, X, y):
    """Return an untrained skorch net with the recipe: what `SynsetAttributor` is given."""
    n_steps = recipe.epochs * -(-len(y) // recipe.batch_size)
    return NeuralNetClassifier(
        Network,
        module__n_features=X.shape[1],
        module__n_hidden=recipe.n_hidden,
        module__n_classes=int(y.max()) + 1,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.SGD,
        optimizer__momentum=recipe.momentum,
        optimizer__weight_decay=recipe.weight_decay,
        lr=recipe.learning_rate,
        batch_size=recipe.batch_size,
        max_epochs=recipe.epochs,
        iterator_train__shuffle=True,
        callbacks=[LRScheduler("CosineAnnealingLR", T_max=n_steps, step_every="batch")],
        train_split=None,
        verbose=0,
    )


def train(recipe, X, y, *, kept=None, seed=0):
    """Train a network by a plain torch loop on the rows where `kept` holds.

    This is the truth: it shares no code with the package.

    Networks of one seed start from the same weights and see the rows in the same order; a row that
    is left out is only taken out of its batch. They differ by the left-out rows alone.
    """
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    module = layers(X.shape[1], recipe.n_hidden, int(y.max()) + 1)
    rows, labels = torch.as_tensor(X), torch.as_tensor(y)
    kept = torch.ones(len(y), dtype=torch.bool) if kept is None else torch.as_tensor(kept)
    optimizer = torch.optim.SGD(
        module.parameters(), recipe.learning_rate, recipe.momentum, weight_decay=recipe.weight_decay
    )
    n_steps = recipe.epochs * -(-len(y) // recipe.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
    for _ in range(recipe.epochs):
        for batch in torch.randperm(len(y), generator=generator).split(recipe.batch_size):
            batch = batch[kept[batch]]
            optimizer.zero_grad()
            if len(batch):
                nn.functional.cross_entropy(module(rows[batch]), labels[batch]).backward()
            optimizer.step()
            schedule.step()
    return module.eval()


def logits(module, X):
    """Return the network's outputs as an array."""
    with torch.no_grad():
        return module(torch.as_tensor(X)).double().numpy()


def margin(outputs, labels):
    """Return the log-odds of each row's label, in nats."""
    picked = outputs[np.arange(len(labels)), labels]
    others = outputs.copy()
    others[np.arange(len(labels)), labels] = -np.inf
    return picked - np.logaddexp.reduce(others, axis=1)


def retrained_effects(recipe, X, y, group_labels, groups, X_query, labels, *, seeds, progress):
    """Measure the effect of each group by retraining, of shape (seeds, queries, groups).

    For each seed one network is trained on all rows, and one without each group. An effect is a
    query's margin with all rows minus its margin without the group.
    """
    effects = np.empty((len(seeds), len(X_query), len(groups)))
    for i, seed in enumerate(seeds):
        full = margin(logits(train(recipe, X, y, seed=seed), X_query), labels)
        for j, group in enumerate(groups):
            module = train(recipe, X, y, kept=group_labels != group, seed=seed)
            effects[i, :, j] = full - margin(logits(module, X_query), labels)
            progress.update()
    return effects
