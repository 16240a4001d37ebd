"""Chains of fully connected layers, run for many networks at once without `vmap`."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

_ENTRYWISE = (
    nn.CELU,
    nn.ELU,
    nn.GELU,
    nn.Hardswish,
    nn.Hardtanh,
    nn.Identity,
    nn.LeakyReLU,
    nn.LogSigmoid,
    nn.Mish,
    nn.ReLU,
    nn.ReLU6,
    nn.SELU,
    nn.SiLU,
    nn.Sigmoid,
    nn.Softplus,
    nn.Tanh,
)


class _StackedLinear(torch.autograd.Function):
    """Rows (b, i) or (K, b, i) times weights (K, o, i), plus biases (K, o)."""

    @staticmethod
    def forward(ctx, rows, weight, bias):
        ctx.save_for_backward(rows, weight)
        ctx.has_bias = bias is not None
        stacked = rows.expand(len(weight), *rows.shape) if rows.ndim == 2 else rows
        if bias is None:
            return torch.bmm(stacked, weight.mT)
        return torch.baddbmm(bias[:, None], stacked, weight.mT)

    @staticmethod
    def backward(ctx, gradient):
        rows, weight = ctx.saved_tensors
        own = torch.bmm(gradient, weight) if ctx.needs_input_grad[0] else None
        stacked = rows.expand(len(weight), *rows.shape) if rows.ndim == 2 else rows
        # This way round the result is contiguous, as the optimizers want it.
        of_weight = torch.bmm(gradient.mT, stacked)
        return own, of_weight, gradient.sum(1) if ctx.has_bias else None


def chain_of(module: nn.Module, norm: type[nn.Module]) -> list[tuple[str, nn.Module]] | None:
    """Return the layers of a chain.

    Parameters
    ----------
    module : Module
        A network.

    norm : type
        Batch normalisations that `run_chain` knows.

    Returns
    -------
    layers : list of tuple or None
        Name and layer, in order; None if the network is no `Sequential` of fully connected layers,
        activations that act on single numbers, dropout and batch normalisation, or a layer has
        hooks, or frozen or tied weights.
    """
    if type(module) is not nn.Sequential:
        return None
    layers: list[tuple[str, nn.Module]] = []
    for name, part in module.named_children():
        if type(part) is nn.Sequential:
            inner = chain_of(part, norm)
            if inner is None:
                return None
            layers += [(f"{name}.{below}", layer) for below, layer in inner]
        elif type(part) in (*_ENTRYWISE, nn.Linear, nn.Dropout, nn.Flatten, norm):
            layers.append((name, part))
        else:
            return None
    owned = [id(parameter) for _, layer in layers for parameter in layer.parameters()]
    if len(set(owned)) < len(owned):
        return None  # tied weights
    for _, layer in layers:
        if layer._forward_hooks or layer._forward_pre_hooks:
            return None
        if not all(parameter.requires_grad for parameter in layer.parameters()):
            return None
        if isinstance(layer, nn.Flatten) and (layer.start_dim, layer.end_dim) != (1, -1):
            return None
    return layers


def run_chain(
    layers: list[tuple[str, nn.Module]],
    parameters: dict[str, torch.Tensor],
    X: torch.Tensor,
    normalise: Callable[[str, torch.Tensor], torch.Tensor],
    draw_mask: Callable[[nn.Dropout, torch.Tensor], torch.Tensor] | None = None,
    *,
    is_stacked: bool = False,
) -> torch.Tensor:
    """Return what a chain makes of rows.

    Parameters
    ----------
    layers : list of tuple
        As of `chain_of`.

    parameters : dict of str to Tensor
        Weights of K networks, (K, ...).

    X : Tensor of shape (b, d...), or (K, b, d...)
        Rows.

    normalise : callable
        Maps the name of a batch normalisation and values (K, b, c) to normalised ones.

    draw_mask : callable, default=None
        Maps a dropout and the values that it is given to what it multiplies them by; None where
        dropout does not act.

    is_stacked : bool, default=False
        Whether each network has rows of its own.

    Returns
    -------
    outputs : Tensor of shape (K, b, c)
        Differentiable by the weights.
    """
    values = X
    for name, layer in layers:
        if isinstance(layer, nn.Linear):
            weight, bias = parameters[f"{name}.weight"], parameters.get(f"{name}.bias")
            if values.ndim > 3 or (values.ndim == 3 and values is X and not is_stacked):
                raise ValueError("A chain of layers takes flat rows.")
            values = _StackedLinear.apply(values, weight, bias)
        elif isinstance(layer, nn.Dropout):
            if draw_mask is not None and layer.p:
                values = values * draw_mask(layer, values)
        elif isinstance(layer, nn.Flatten):
            values = values.flatten(2 if is_stacked else 1) if values is X else values
        elif isinstance(layer, _ENTRYWISE):
            values = layer(values.clone() if getattr(layer, "inplace", False) else values)
        else:
            values = normalise(name, values)
    return values


def shared_mask(layer: nn.Dropout, values: torch.Tensor) -> torch.Tensor:
    """Draw the mask (b, c) of a dropout for values (..., b, c), as the layer alone would."""
    ones = torch.ones(values.shape[-2:], dtype=values.dtype, device=values.device)
    return functional.dropout(ones, layer.p)
