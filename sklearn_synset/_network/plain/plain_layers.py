"""Layers whose kernels torch cannot vectorise over weights, in plain operations."""

import torch
from torch import nn
from torch.nn.utils.parametrizations import _WeightNorm

from sklearn_synset._network.plain.plain_embedding_bag import PlainEmbeddingBag
from sklearn_synset._network.plain.plain_recurrence import PLAIN_RECURRENCE


class _PlainPReLU(nn.PReLU):
    def forward(self, input):
        """Return values (b, c, ...), negative ones times the slope of their channel."""
        slope: torch.Tensor = self.weight
        if input.ndim > 1 and len(slope) > 1:
            slope = slope.reshape(1, -1, *(1,) * (input.ndim - 2))
        return torch.where(input > 0, input, slope * input)


class _PlainWeightNorm(_WeightNorm):
    def forward(self, weight_g, weight_v):
        """Return a weight of norms `weight_g` in the directions of `weight_v`."""
        others = [d for d in range(weight_v.ndim) if d != self.dim]
        return weight_v * (weight_g / weight_v.square().sum(others, keepdim=True).sqrt())


_PLAIN: dict[type, type] = {
    **PLAIN_RECURRENCE,
    nn.EmbeddingBag: PlainEmbeddingBag,
    nn.PReLU: _PlainPReLU,
    _WeightNorm: _PlainWeightNorm,
}


def with_plain_layers(module: nn.Module) -> nn.Module:
    """Let the recurrent layers and embedding bags of a module run in plain operations.

    Parameters
    ----------
    module : Module
        Changed in place: its `RNN`, `GRU` and `LSTM` layers, the cells of these, and its
        `EmbeddingBag` and `PReLU` layers keep their parameters and attributes, as do weight
        normalisations.

    Returns
    -------
    module : Module
        The same, which computes the same up to rounding.

    Notes
    -----
    torch has no rule to run these kernels for many networks at once. A plain recurrent layer takes
    one step after the other, each for all networks: as many small operations as a sequence has
    steps.
    """
    for part in module.modules():
        if type(part) in _PLAIN:
            part.__class__ = _PLAIN[type(part)]
    return module
