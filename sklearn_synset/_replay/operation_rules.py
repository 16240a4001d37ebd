"""Rules for operations: what each is for many networks at once.

Blocks of networks that see the same rows share what is computed from these alone, and each block
draws random numbers of its own.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from sklearn_synset._replay.stacked_layers import (
    Window,
    batch_normalised,
    layer_normalised,
    max_pooled,
    mean_pooled,
    patches_of,
    product,
)

STATISTICS = ("running_mean", "running_var")
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class UnknownOperationError(Exception):
    """There is no rule for what a network does."""


@dataclass(eq=False)
class Pass:
    """What the operations of one pass share.

    Parameters
    ----------
    parameters : dict of str to Tensor
        Weights (K, ...) of the networks.

    sizes : list of int
        Networks in each of S blocks.

    draw : callable or None
        Calls a function without arguments for each block, from the block's own random numbers,
        and stacks what it returns; None in evaluation mode.

    row_weight : Tensor of shape (K, b) or None
        Weight of each row in batch statistics.

    statistics : dict of str to Tensor
        Running means and variances (K, c), by name.
    """

    parameters: dict[str, torch.Tensor]
    sizes: list[int]
    draw: Callable[[Callable[[], torch.Tensor]], torch.Tensor] | None = None
    row_weight: torch.Tensor | None = None
    statistics: dict[str, torch.Tensor] = field(default_factory=dict)
    seen: dict[str, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)

    def weight(self, name: str) -> torch.Tensor | None:
        """Return a weight (K, ...), None if the layer has none."""
        return self.parameters.get(name)

    def of_networks(self, blocks: torch.Tensor) -> torch.Tensor:
        """Return (K, ...), or (1, ...) which broadcasts, from (S, ...)."""
        if len(self.sizes) == 1:
            return blocks
        sizes = torch.tensor(self.sizes, device=blocks.device)
        return torch.repeat_interleave(blocks, sizes, dim=0, output_size=sum(self.sizes))


@dataclass(eq=False)
class Values:
    """What an operation is given, and returns.

    Parameters
    ----------
    tensor : Tensor of shape (K, c, ..., b), or (S, b, c, ...) if they are those of blocks
        Values for rows.

    is_of_blocks : bool, default=False
        Whether they are the same for all networks of a block.
    """

    tensor: torch.Tensor
    is_of_blocks: bool = False

    @property
    def shape(self) -> torch.Size:
        """The shape that one network sees, (b, c, ...)."""
        own = self.tensor.shape[1:]
        return own if self.is_of_blocks else torch.Size((own[-1], *own[:-1]))

    def of_networks(self, run: Pass) -> torch.Tensor:
        """Return values (K, c, ..., b)."""
        if not self.is_of_blocks:
            return self.tensor
        blocks = self.tensor.movedim(1, -1)
        return run.of_networks(blocks).expand(sum(run.sizes), *blocks.shape[1:])


def shares(row_weight: torch.Tensor, n_places: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the share (K, p * b) of each value in batch statistics, and their number (K, 1)."""
    tiny = torch.finfo(row_weight.dtype).tiny
    share = row_weight / (row_weight.sum(-1, keepdim=True) * n_places).clamp(min=tiny)
    n_values = (row_weight > 0).sum(-1, keepdim=True) * n_places
    return share.repeat(1, n_places), n_values


def unbiased(variance: torch.Tensor, n_values: torch.Tensor) -> torch.Tensor:
    """Return the variance as running statistics take it."""
    return variance * n_values / (n_values - 1).clamp(min=1)


# Rules of layers map (run, name, layer, values) to values; those of functions, their arguments.


def _linear(run: Pass, name: str, layer: nn.Linear, X: Values) -> Values:
    weight, bias = run.parameters[f"{name}.weight"], run.weight(f"{name}.bias")
    if len(X.shape) != 2:
        raise UnknownOperationError("a linear layer on sequences")
    if X.is_of_blocks:
        return Values(product(X.tensor.mT, weight, bias, run.sizes))
    return Values(product(X.tensor, weight, bias))


def _convolution(run: Pass, name: str, layer: nn.Conv1d | nn.Conv2d, X: Values) -> Values:
    if layer.groups != 1 or layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        raise UnknownOperationError("a convolution in groups, or padded by other than zeros")
    is_flat = isinstance(layer, nn.Conv1d)
    if len(X.shape) != (3 if is_flat else 4):
        raise UnknownOperationError("a convolution of a single row")
    images = X.tensor.movedim(1, -1) if X.is_of_blocks else X.tensor
    sides: list[Any] = [layer.kernel_size, layer.stride, layer.padding, layer.dilation]
    if is_flat:
        images = images.unsqueeze(2)
        sides = [(one, *side) for one, side in zip((1, 1, 0, 1), sides, strict=True)]
    window = Window(*sides)
    values = product(
        patches_of(images, window),
        run.parameters[f"{name}.weight"].flatten(2),
        run.weight(f"{name}.bias"),
        run.sizes if X.is_of_blocks else None,
    )
    places = window.places(images.shape)[1 if is_flat else 0 :]
    return Values(values.unflatten(-1, (*places, X.shape[0])))


def _batch_norm(run: Pass, name: str, layer: nn.BatchNorm2d, X: Values) -> Values:
    values = X.of_networks(run)
    flat = values.flatten(2)
    weight, bias = run.weight(f"{name}.weight"), run.weight(f"{name}.bias")
    if run.row_weight is None:
        mean, variance = (run.statistics[f"{name}.{each}"][..., None] for each in STATISTICS)
        flat = (flat - mean) * (variance + layer.eps).rsqrt()
        if weight is not None and bias is not None:
            flat = torch.addcmul(bias[..., None], flat, weight[..., None])
    else:
        share, n_values = shares(run.row_weight, flat.shape[-1] // values.shape[-1])
        flat, mean, variance = batch_normalised(flat, share, weight, bias, layer.eps)
        run.seen[name] = (mean, unbiased(variance, n_values))
    return Values(flat.reshape(values.shape))


def _layer_norm(run: Pass, name: str, layer: nn.LayerNorm, X: Values) -> Values:
    weight, bias = run.weight(f"{name}.weight"), run.weight(f"{name}.bias")
    if len(X.shape) != 2 or weight is None:
        raise UnknownOperationError("a layer normalisation of images, or without scales")
    values = layer_normalised(X.of_networks(run), weight, layer.eps)
    return Values(values if bias is None else values + bias[..., None])


def _dropout(run: Pass, name: str, layer: nn.Dropout, X: Values) -> Values:
    if run.draw is None or not layer.p:
        return X
    ones = X.tensor.new_ones(X.shape)
    masks = run.draw(lambda: layer(ones))
    if X.is_of_blocks:
        return Values(X.tensor * masks, is_of_blocks=True)
    return Values(X.tensor * run.of_networks(masks.movedim(1, -1).contiguous()))


def _pooling(run: Pass, name: str, layer: nn.MaxPool2d | nn.AvgPool2d, X: Values) -> Values:
    window = Window(_pair(layer.kernel_size), _pair(layer.stride), _pair(layer.padding))
    is_plain = window.padding == (0, 0) and _pair(getattr(layer, "dilation", 1)) == (1, 1)
    is_other = getattr(layer, "return_indices", False) or getattr(layer, "divisor_override", None)
    if len(X.shape) != 4 or not is_plain or layer.ceil_mode or is_other:
        raise UnknownOperationError("pooling of padded images, or of other than images")
    pooled = max_pooled if isinstance(layer, nn.MaxPool2d) else mean_pooled
    return Values(pooled(X.of_networks(run), window))


def _pooling_of_all(run: Pass, name: str, layer: nn.AdaptiveAvgPool2d, X: Values) -> Values:
    if len(X.shape) != 4 or _pair(layer.output_size) != (1, 1):
        raise UnknownOperationError("adaptive pooling to more than one place")
    return Values(X.of_networks(run).mean((2, 3), keepdim=True))


def _pair(value: Any) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)


def _entrywise(run: Pass, name: str, layer: nn.Module, X: Values) -> Values:
    own = X.tensor.clone() if getattr(layer, "inplace", False) else X.tensor
    return Values(layer(own), X.is_of_blocks)


def _over_features(run: Pass, name: str, layer: nn.Softmax, X: Values) -> Values:
    if layer.dim not in (1, -1) or len(X.shape) != 2:
        raise UnknownOperationError("a softmax over other than the features of rows")
    return Values(type(layer)(dim=1)(X.of_networks(run)))


def _flatten(run: Pass, name: str, layer: nn.Flatten, X: Values) -> Values:
    return _flattened(run, X, layer.start_dim, layer.end_dim)


def _unflatten(run: Pass, name: str, layer: nn.Unflatten, X: Values) -> Values:
    shape = X.shape
    if layer.dim not in (1, 1 - len(shape)):
        raise UnknownOperationError("other than the features are unflattened")
    return _reshaped(X, X.tensor.new_empty(0, shape[1]).unflatten(1, layer.unflattened_size).shape)


def _reshaped(X: Values, shape: torch.Size) -> Values:
    """Return rows of a shape (..., c, ...) for each network."""
    n_rows, own = X.shape[0], tuple(shape[1:])
    if X.is_of_blocks:
        return Values(X.tensor.reshape(len(X.tensor), n_rows, *own), True)
    return Values(X.tensor.reshape(len(X.tensor), *own, n_rows))


def _flattened(run: Pass, X: Values, start_dim: int = 0, end_dim: int = -1) -> Values:
    n_dims = len(X.shape)
    if start_dim not in (1, 1 - n_dims) or end_dim not in (-1, n_dims - 1):
        raise UnknownOperationError("other than all features are flattened")
    return _reshaped(X, torch.Size((0, X.shape[1:].numel())))


def _viewed(run: Pass, X: Values, *shape: Any) -> Values:
    sizes = shape[0] if isinstance(shape[0], (tuple, list)) else shape
    new = torch.empty(X.shape, device="meta").reshape(tuple(sizes)).shape
    if new[0] != X.shape[0] or len(new) < 2:
        raise UnknownOperationError("rows are reshaped")
    return _reshaped(X, new)


def _same_kind(run: Pass, *values: Any) -> tuple[list[Any], bool]:
    """Return tensors that can be computed with entry by entry, and whether they are of blocks."""
    own = [each for each in values if isinstance(each, Values)]
    if len({each.shape for each in own}) > 1:
        raise UnknownOperationError("values of other shapes are broadcast")
    if any(not isinstance(each, (Values, int, float)) for each in values):
        raise UnknownOperationError("other than values and numbers are computed with")
    is_of_blocks = all(each.is_of_blocks for each in own)
    tensors = [
        each
        if not isinstance(each, Values)
        else each.tensor
        if is_of_blocks
        else each.of_networks(run)
        for each in values
    ]
    return tensors, is_of_blocks


def _arithmetic(function: Callable) -> Callable:
    def rule(run: Pass, *values: Any) -> Values:
        tensors, is_of_blocks = _same_kind(run, *values)
        return Values(function(*tensors), is_of_blocks)

    return rule


def _activation(function: Callable) -> Callable:
    def rule(run: Pass, X: Values, *args: Any, inplace: bool = False, **kwargs: Any) -> Values:
        if any(isinstance(each, Values) for each in (*args, *kwargs.values())):
            raise UnknownOperationError("an activation with parameters")
        return Values(function(X.tensor, *args, **kwargs), X.is_of_blocks)

    return rule


def _random_like(function: Callable) -> Callable:
    def rule(run: Pass, X: Values, **kwargs: Any) -> Values:
        if run.draw is None or kwargs:
            raise UnknownOperationError("random numbers in evaluation mode")
        own = X.tensor.new_empty(X.shape)
        drawn = run.draw(lambda: function(own))
        if X.is_of_blocks:
            return Values(drawn, True)
        return Values(run.of_networks(drawn.movedim(1, -1)).expand_as(X.tensor))

    return rule


def _functional_dropout(
    run: Pass, X: Values, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Values:
    return _dropout(run, "", nn.Dropout(p), X) if training else X


def _joined(run: Pass, values: list[Values], dim: int = 0) -> Values:
    if dim not in (1, 1 - len(values[0].shape)):
        raise UnknownOperationError("other than features are joined")
    if all(each.is_of_blocks for each in values):
        return Values(torch.cat([each.tensor for each in values], dim=2), True)
    return Values(torch.cat([each.of_networks(run) for each in values], dim=1))


def _size(run: Pass, X: Values, dim: int | None = None) -> Any:
    return X.shape if dim is None else X.shape[dim]


def _attribute(run: Pass, X: Values, name: str) -> Any:
    if name != "shape":
        raise UnknownOperationError(f"the attribute {name}")
    return X.shape


def _item(run: Pass, found: Any, index: Any) -> Any:
    if isinstance(found, Values):
        raise UnknownOperationError("an index")
    return found[index]


_ENTRYWISE_LAYERS = (
    *(nn.CELU, nn.ELU, nn.GELU, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.Identity),
    *(nn.LeakyReLU, nn.LogSigmoid, nn.Mish, nn.ReLU, nn.ReLU6, nn.SELU, nn.SiLU, nn.Sigmoid),
    *(nn.Softplus, nn.Softsign, nn.Tanh, nn.Tanhshrink),
)
RULES_OF_LAYERS: dict[type, Callable] = {
    nn.Linear: _linear,
    nn.Conv1d: _convolution,
    nn.Conv2d: _convolution,
    nn.LayerNorm: _layer_norm,
    nn.Flatten: _flatten,
    nn.Unflatten: _unflatten,
    **dict.fromkeys(BATCH_NORMS, _batch_norm),
    **dict.fromkeys((nn.Dropout, nn.Dropout1d, nn.Dropout2d), _dropout),
    **dict.fromkeys((nn.MaxPool2d, nn.AvgPool2d), _pooling),
    nn.AdaptiveAvgPool2d: _pooling_of_all,
    **dict.fromkeys((nn.Softmax, nn.LogSoftmax), _over_features),
    **dict.fromkeys(_ENTRYWISE_LAYERS, _entrywise),
}
_ACTIVATIONS = (
    *(torch.relu, torch.tanh, torch.sigmoid, torch.exp, torch.abs, torch.sin, torch.cos),
    *(functional.relu, functional.gelu, functional.elu, functional.silu, functional.leaky_relu),
    *(functional.tanh, functional.sigmoid, functional.softplus, functional.selu),
)
_ARITHMETIC = (
    *(operator.add, operator.sub, operator.mul, operator.truediv, operator.neg),
    *(torch.add, torch.sub, torch.mul, torch.div),
)
RULES_OF_FUNCTIONS: dict[Callable, Callable] = {
    **{function: _activation(function) for function in _ACTIVATIONS},
    **{function: _arithmetic(function) for function in _ARITHMETIC},
    **{function: _random_like(function) for function in (torch.randn_like, torch.rand_like)},
    functional.dropout: _functional_dropout,
    torch.flatten: _flattened,
    torch.cat: _joined,
    torch.reshape: _viewed,
    getattr: _attribute,
    operator.getitem: _item,
    operator.iadd: _arithmetic(operator.add),
    operator.imul: _arithmetic(operator.mul),
}
RULES_OF_METHODS: dict[str, Callable] = {
    **{name: _activation(getattr(torch, name)) for name in ("relu", "tanh", "sigmoid", "exp")},
    "flatten": _flattened,
    "size": _size,
    "view": _viewed,
    "reshape": _viewed,
}
