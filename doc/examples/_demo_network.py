"""The demo's network: how it is trained, and what training it again without a group changes."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn


@dataclass(frozen=True)
class Recipe:
    """One hidden layer, momentum SGD with weight decay, a learning rate that falls to zero."""

    n_hidden: int
    learning_rate: float
    epochs: int = 40
    batch_size: int = 50
    weight_decay: float = 1e-3
    momentum: float = 0.9


def train(recipe, X, y, *, kept=None, seed=0):
    """Train a network from scratch on the rows where `kept` holds.

    Networks of one seed start from the same weights and see the rows in the same order; a row that
    is left out is only taken out of its batch. They differ by the left-out rows alone.
    """
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    n_classes = int(y.max()) + 1
    hidden, output = nn.Linear(X.shape[1], recipe.n_hidden), nn.Linear(recipe.n_hidden, n_classes)
    module = nn.Sequential(hidden, nn.ReLU(), output)
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
    """Return what really leaving out each group does, of shape (seeds, queries, groups).

    For each seed the network is trained on all rows and again without each group. An effect is a
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
