"""What the weights of a single layer do to values that come after it."""

from typing import cast

import torch
from torch import nn

from sklearn_synset._network.norm_of_the_batch import NormOfTheBatch

Layer = nn.Linear | nn.Conv1d | nn.Conv2d | NormOfTheBatch


def is_known(layer: nn.Module, inputs: torch.Tensor) -> bool:
    """Tell whether a layer's Jacobian can be taken when it is given such inputs."""
    if type(layer) in (nn.Conv1d, nn.Conv2d):
        layer = cast(nn.Conv2d, layer)
        is_plain = layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
        return is_plain and inputs.ndim == layer.weight.ndim
    return type(layer) is NormOfTheBatch or (type(layer) is nn.Linear and inputs.ndim == 2)


def layer_jacobian(
    layer: Layer,
    inputs: torch.Tensor,
    slope: torch.Tensor,
    parts: tuple[str, ...],
    *,
    is_summed: bool = False,
) -> list[torch.Tensor]:
    r"""Return derivatives by a layer's weights, from those by its outputs.

    Parameters
    ----------
    layer : Layer
        One for which `is_known`.
    inputs : Tensor of shape (b, i, ...)
        What it was given; a normalisation's, standardised, (b, c, p).
    slope : Tensor of shape (B, b, o, ...)
        Derivatives of B values of each row by what the layer made of it.
    parts : tuple of str
        Which weights: "weight", "bias" or both.
    is_summed : bool, default=False
        Whether to return sums over the rows.

    Returns
    -------
    jacobians : list of Tensor of shape (B, b, e), or (B, e) of sums
        In each of these parts, flattened; its weight before its bias.
    """
    slope = slope.reshape(*slope.shape[:3], -1)
    rows = "" if is_summed else "b"
    found = []
    if "weight" in parts and isinstance(layer, NormOfTheBatch):
        found.append(torch.einsum(f"Bbcp,bcp->B{rows}c", slope, inputs))
    elif "weight" in parts:
        patches = _patches(layer, inputs)
        grouped = slope.unflatten(2, (patches.shape[1], -1))
        weight = torch.einsum(f"Bbgop,bgkp->B{rows}gok", grouped, patches)
        found.append(weight.flatten(-3))
    if "bias" in parts:
        found.append(slope.sum((1, 3)) if is_summed else slope.sum(3))
    return found


def _patches(layer: Layer, inputs: torch.Tensor) -> torch.Tensor:
    """Return what each output is a product of: (b, g, k, p) of g groups, for p positions."""
    if isinstance(layer, nn.Linear):
        return inputs[:, None, :, None]
    layer = cast(nn.Conv2d, layer)
    if inputs.ndim == 3:
        inputs = inputs[:, :, None]

    def pair(sizes: tuple[int, ...], filler: int) -> tuple[int, ...]:
        return sizes if len(sizes) == 2 else (filler, *sizes)

    patches = nn.functional.unfold(
        inputs,
        pair(layer.kernel_size, 1),
        pair(layer.dilation, 1),
        pair(cast(tuple[int, ...], layer.padding), 0),
        pair(layer.stride, 1),
    )
    return patches.unflatten(1, (layer.groups, -1))
