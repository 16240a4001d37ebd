"""A batch normalisation by the rows' own statistics, each row by its weight."""

from typing import NamedTuple, cast

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from sklearn_synset._network.normalised_rows import moments_of_rows, normalised_by_rows


class Moments(NamedTuple):
    """Mean and variance of each channel of what a normalisation is given, by the rows' weights.

    Parameters
    ----------
    mean, variance : Tensor of shape (c,), or (R, c) of R networks
        What the normalisation subtracts, and what it divides by the root of.
    """

    mean: torch.Tensor
    variance: torch.Tensor


class NormOfTheBatch(_BatchNorm):
    """Normalises rows by their own mean and variance, weighted by its buffer `row_weight`."""

    row_weight: torch.Tensor

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        values = inputs.reshape(*inputs.shape[:2], -1)
        share = self._share(values)
        return normalised_by_rows(values, share, self.weight, self.bias, self.eps).reshape(
            inputs.shape
        )

    def normalised(self, inputs: torch.Tensor, moments: Moments) -> torch.Tensor:
        """Normalise rows (n, c, ...) by moments (c,), or by some of their own each, (n, c)."""
        mean, variance = moments
        values = inputs.reshape(*inputs.shape[:2], -1)
        scale = self.weight * (variance + self.eps).rsqrt()
        shift = self.bias - mean * scale
        return torch.addcmul(shift[..., None], values, scale[..., None]).reshape(inputs.shape)

    def standardised(self, inputs: torch.Tensor, moments: Moments) -> torch.Tensor:
        """Return rows (n, c, p) that have these moments, before scale and shift."""
        mean, variance = moments
        values = inputs.reshape(*inputs.shape[:2], -1)
        return (values - mean[:, None]) * (variance + self.eps).rsqrt()[:, None]

    @property
    def stored(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The mean and the standard deviation, (c,) each, that evaluation uses."""
        variance = cast(torch.Tensor, self.running_var)
        return cast(torch.Tensor, self.running_mean), (variance + self.eps).sqrt()

    def moments(self, inputs: torch.Tensor) -> Moments:
        """Return the moments of the channels of rows (n, c, ...)."""
        values = inputs.reshape(*inputs.shape[:2], -1)
        return Moments(*moments_of_rows(values, self._share(values)))

    def _share(self, values: torch.Tensor) -> torch.Tensor:
        """Return each row's share (n,) of the weight of all rows."""
        weight = self.row_weight if len(self.row_weight) else values.new_ones(len(values))
        return weight / weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)

    @staticmethod
    def moments_by_share(inputs: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
        """Return the derivatives (2c, n) of means and variances by each row's share in them."""
        values = inputs.reshape(*inputs.shape[:2], -1)
        return torch.cat([values.mean(2), (values - mean[:, None]).square().mean(2)], dim=1).T
