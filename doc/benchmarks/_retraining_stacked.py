"""Train many copies of a network at once, each on its own rows.

One `torch.func.vmap` over their stacked weights; batch normalisation works on weighted rows.
"""

import copy

import torch
from _retraining import initial_module, row_losses
from torch.func import functional_call, grad, vmap
from torch.nn.modules.batchnorm import _BatchNorm

_STACKED_WEIGHTS = 3_000_000  # weights trained together; more fall out of the processor's cache
_STACKED_WITH_BATCHNORM = 20  # networks; here the outputs of convolutions take the room


class WeightedBatchNorm(_BatchNorm):
    """Batch normalisation in training by rows of weight one, not by those of weight zero.

    Set `row_weight` (n_rows,) before a forward pass; afterwards `statistics` holds the mean and
    the variance of each channel.
    """

    def forward(self, x):
        """Normalise `x` of shape (n_rows, n_channels) or (n_rows, n_channels, height, width)."""
        n_rows = self.row_weight.sum().clamp(min=1)
        share = self.row_weight / n_rows
        values = x.reshape(*x.shape[:2], -1)
        mean = share @ values.mean(2)
        centred = values - mean[:, None]
        variance = share @ centred.square().mean(2)
        n_values = n_rows * values.shape[2]
        self.statistics = mean.detach(), variance.detach() * n_values / (n_values - 1).clamp(min=1)
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale[:, None] + self.bias[:, None]).reshape(x.shape)


def train_stacked(module, recipe, X, y, kept, seed):
    """Train many copies of a network at once, each on its own kept rows.

    Does what `train_one` does for every row of `kept`, up to rounding. A batch's loss is the mean
    over the rows that remain in it, by weights of zero and one; where none remains, only the weight
    decay and the momentum act, and running statistics take a step towards zero.

    Parameters
    ----------
    module : nn.Module
        Network with its initial weights, without buffers but those of batch normalisation; it is
        not changed.
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
    module, layers = with_weighted_rows(module)

    def batch_loss(state, x, target, weight):
        for layer in layers.values():
            layer.row_weight = weight
        losses = row_losses(functional_call(module, state, (x,)), target)
        statistics = {name: layer.statistics for name, layer in layers.items()}
        return (weight * losses).sum() / weight.sum().clamp(min=1), statistics

    gradients = vmap(grad(batch_loss, has_aux=True), in_dims=(0, None, None, 0))
    stacked = {
        name: value.detach().expand(len(kept), *value.shape).clone()
        for name, value in module.state_dict().items()
    }
    state = {name: stacked[name] for name, _ in module.named_parameters()}
    velocity = {name: torch.zeros_like(weight) for name, weight in state.items()}
    weights = kept.to(X.dtype)
    for learning_rate, rows in recipe.steps(len(y), seed):
        gradient, statistics = gradients(state, X[rows], y[rows], weights[:, rows])
        for name, weight in state.items():
            gradient[name].add_(weight, alpha=recipe.weight_decay)
            velocity[name].mul_(recipe.momentum).add_(gradient[name])
            weight.sub_(velocity[name], alpha=learning_rate)
        for name, (mean, variance) in statistics.items():
            stacked[f"{name}.running_mean"].lerp_(mean, layers[name].momentum)
            stacked[f"{name}.running_var"].lerp_(variance, layers[name].momentum)
            stacked[f"{name}.num_batches_tracked"].add_(1)
    return stacked


def with_weighted_rows(module):
    """Return a copy of a network with `WeightedBatchNorm`, and these layers by name."""
    module = copy.deepcopy(module).train()
    layers = {name: part for name, part in module.named_modules() if isinstance(part, _BatchNorm)}
    for layer in layers.values():
        layer.__class__ = WeightedBatchNorm
    return module, layers


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
    for chunk in kept.split(n_stacked(module)):
        stacked = train_stacked(module, recipe, X, y, chunk, seed)
        for index in range(len(chunk)):
            yield {name: weight[index] for name, weight in stacked.items()}


def n_stacked(module):
    """Return how many copies of a network are trained together."""
    if any(isinstance(part, _BatchNorm) for part in module.modules()):
        return _STACKED_WITH_BATCHNORM
    return max(1, _STACKED_WEIGHTS // sum(weight.numel() for weight in module.parameters()))
