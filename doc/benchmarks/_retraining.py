"""Retrain one network many times, each time with some training rows left out.

Every network of a seed starts from the same weights and sees the rows in the same order, so that
two of them differ by the left-out rows alone. Networks without batch normalisation are trained
together (one `torch.func.vmap` over their stacked weights), the others one after the other.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.nn.modules.batchnorm import _BatchNorm

_STACKED_WEIGHTS = 3_000_000  # weights trained together; more fall out of the processor's cache


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


def train_stacked(module, recipe, X, y, kept, seed):
    """Train many copies of a network at once, each on its own kept rows.

    Does what `train_one` does for every row of `kept`, up to rounding. A batch's loss is the mean
    over the rows that remain in it, by weights of zero and one; where none remains, only the weight
    decay and the momentum act.

    Parameters
    ----------
    module : nn.Module
        Network with its initial weights, without buffers; it is not changed.
    recipe : Recipe
        How to train.
    X : Tensor of shape (n_rows, ...)
        Training rows.
    y : Tensor of shape (n_rows,)
        Labels or targets.
    kept : bool Tensor of shape (n_models, n_rows)
        Rows that each copy is trained on.
    seed : int
        Seed of the row order.

    Returns
    -------
    dict of Tensors of shape (n_models, ...)
        Stacked state of the trained copies.
    """

    def batch_loss(state, x, target, weight):
        losses = row_losses(functional_call(module, state, (x,)), target)
        return (weight * losses).sum() / weight.sum().clamp(min=1)

    gradients = vmap(grad(batch_loss), in_dims=(0, None, None, 0))
    state = {
        name: weight.detach().expand(len(kept), *weight.shape).clone()
        for name, weight in module.named_parameters()
    }
    velocity = {name: torch.zeros_like(weight) for name, weight in state.items()}
    weights = kept.to(X.dtype)
    for learning_rate, rows in recipe.steps(len(y), seed):
        gradient = gradients(state, X[rows], y[rows], weights[:, rows])
        for name, weight in state.items():
            gradient[name].add_(weight, alpha=recipe.weight_decay)
            velocity[name].mul_(recipe.momentum).add_(gradient[name])
            weight.sub_(velocity[name], alpha=learning_rate)
    return state


def retrain(make_module, recipe, X, y, kept, seed):
    """Yield the state dict of one trained network for each row of `kept`.

    Parameters
    ----------
    make_module : callable
        Builds the network.
    recipe : Recipe
        How to train.
    X : Tensor of shape (n_rows, ...)
        Training rows.
    y : Tensor of shape (n_rows,)
        Labels or targets.
    kept : bool Tensor of shape (n_models, n_rows)
        Rows that each network is trained on.
    seed : int
        Seed of the initial weights and of the row order.

    Yields
    ------
    dict of Tensors
        State dict of the next network.
    """
    module = initial_module(make_module, seed)
    if any(isinstance(part, _BatchNorm) for part in module.modules()):
        for rows in kept:
            trained = train_one(initial_module(make_module, seed), recipe, X, y, rows, seed)
            yield trained.state_dict()
        return
    n_weights = sum(weight.numel() for weight in module.parameters())
    for chunk in kept.split(max(1, _STACKED_WEIGHTS // n_weights)):
        stacked = train_stacked(module, recipe, X, y, chunk, seed)
        for index in range(len(chunk)):
            yield {name: weight[index] for name, weight in stacked.items()}
