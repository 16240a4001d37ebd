"""Train one network, with some training rows left out.

Every network of a seed starts from the same weights and sees the rows in the same order, so that
two of them differ by the left-out rows alone. `_retraining_stacked.py` trains many at once.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Recipe:
    """Momentum SGD with a cosine learning rate and L2 added to the gradient.

    Parameters
    ----------
    batch_size : int
        Rows in a batch.
    epochs : int
        Passes over the training rows.
    learning_rate : float
        Learning rate of the first step; it falls to zero along a half cosine.
    weight_decay : float, default=1e-3
        `weight_decay * weight` is added to the gradient of every parameter.
    momentum : float, default=0.9
        Share of the last step's velocity that is kept.
    """

    batch_size: int
    epochs: int
    learning_rate: float
    weight_decay: float = 1e-3
    momentum: float = 0.9

    def steps(self, n_rows, seed):
        """Yield `(learning rate, row indices)` of every step, the same ones for the same seed."""
        generator = torch.Generator().manual_seed(seed)
        n_steps = self.epochs * math.ceil(n_rows / self.batch_size)
        step = 0
        for _ in range(self.epochs):
            for rows in torch.randperm(n_rows, generator=generator).split(self.batch_size):
                yield self.learning_rate * (1 + math.cos(math.pi * step / n_steps)) / 2, rows
                step += 1


def row_losses(output, y):
    """Loss of every row: cross-entropy for labels, `(f - y)**2 / 2` for a continuous `y`."""
    if y.is_floating_point():
        return (output.squeeze(-1) - y).square() / 2
    return nn.functional.cross_entropy(output, y, reduction="none")


def objective(output, y):
    """Value that a query is judged by.

    Parameters
    ----------
    output : Tensor of shape (n_queries, n_outputs)
        The network's output.
    y : Tensor of shape (n_queries,)
        Labels (integers) or targets (floats).

    Returns
    -------
    Tensor of shape (n_queries,)
        The margin, correct logit minus logsumexp of the others, or for targets the prediction.
    """
    if y.is_floating_point():
        return output.squeeze(-1)
    label = y.unsqueeze(-1)
    others = output.scatter(-1, label, -torch.inf).logsumexp(-1)
    return output.gather(-1, label).squeeze(-1) - others


def initial_module(make_module, seed):
    """Build the network of a seed without moving the global random state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make_module()


def train_one(module, recipe, X, y, kept, seed):
    """Train a network in place on the kept rows.

    A left-out row keeps its place in the row order but is taken out of its batch, from the loss and
    from the batch statistics alike; a batch that loses every row is skipped.

    Parameters
    ----------
    module : nn.Module
        Network with its initial weights.
    recipe : Recipe
        How to train.
    X : Tensor of shape (n_rows, ...)
        Training rows.
    y : Tensor of shape (n_rows,)
        Labels or targets.
    kept : bool Tensor of shape (n_rows,)
        Rows to train on.
    seed : int
        Seed of the row order.

    Returns
    -------
    nn.Module
        The same network, trained, in evaluation mode.
    """
    optimizer = torch.optim.SGD(
        module.parameters(), recipe.learning_rate, recipe.momentum, weight_decay=recipe.weight_decay
    )
    module.train()
    for optimizer.param_groups[0]["lr"], rows in recipe.steps(len(y), seed):
        rows = rows[kept[rows]]
        if not len(rows):
            continue
        optimizer.zero_grad()
        row_losses(module(X[rows]), y[rows]).mean().backward()
        optimizer.step()
    return module.eval()
