"""How outputs grow with the weights: the number of layers, however a network is spelled."""

import math
from collections.abc import Callable, Sequence

import torch

NORMS = (
    torch.nn.modules.batchnorm._BatchNorm,
    torch.nn.LayerNorm,
    torch.nn.GroupNorm,
    *([torch.nn.RMSNorm] if hasattr(torch.nn, "RMSNorm") else []),  # since torch 2.4
)
_SHARE, _N_HALVINGS = 0.5, 24
_LEAST, _MOST = 0.5, 50.0
_ALMOST_ZERO = 1e-6  # a weight of norm 0 has no direction


def depth_of(outputs: Callable[[float], torch.Tensor]) -> float:
    r"""Return the power of the weights that a network's outputs grow with.

    Parameters
    ----------
    outputs : callable
        Maps a factor in (0, 1] to the outputs (n, C) of the network with its weights times that.

    Returns
    -------
    depth : float
        L such that weights times :math:`2^{-1/L}` make outputs of half the size, as differences
        from those of zero weights; 1 where outputs do not change with the weights. The number of
        layers, if these have no shifts and activations that scale as ReLU does; less where
        activations saturate.
    """
    with torch.no_grad():
        at_zero = outputs(_ALMOST_ZERO)
        goal, low, high = _SHARE * float((outputs(1.0) - at_zero).norm()), 0.0, 1.0
        if not (goal > 0 and math.isfinite(goal)):
            return 1.0
        for _ in range(_N_HALVINGS):
            middle = (low + high) / 2
            is_small = float((outputs(middle) - at_zero).norm()) < goal
            low, high = (middle, high) if is_small else (low, middle)
    return min(_MOST, max(_LEAST, math.log(_SHARE) / math.log(high))) if high < 1 else _MOST


def shrinking(
    module: torch.nn.Module, names: Sequence[str], shapes: Sequence[tuple[int, ...]], factor: float
) -> torch.Tensor:
    """Return what to multiply weights by.

    Parameters
    ----------
    module : Module
        The network.

    names, shapes : sequence
        Name and shape of each parameter, in their order.

    factor : float
        What weights are multiplied by.

    Returns
    -------
    scale : Tensor of shape (D,)
        1 for layers right in front of a normalisation, and the factor for all others.
    """
    layers = list(dict.fromkeys(map(_layer, names)))
    modules = dict(module.named_modules())
    is_norm = [isinstance(modules[layer], NORMS) for layer in layers]
    left = {
        layer
        for layer, norm, is_followed in zip(layers, is_norm, [*is_norm[1:], False], strict=True)
        if is_followed and not norm
    }
    sizes = torch.tensor([math.prod(shape) for shape in shapes])
    parts = torch.tensor([1.0 if _layer(name) in left else factor for name in names])
    return parts.double().repeat_interleave(sizes)


def _layer(name: str) -> str:
    """Return the name of the layer that a parameter belongs to, parametrized or not."""
    inside, mark, _ = name.partition(".parametrizations.")
    return inside if mark else name.rpartition(".")[0]
