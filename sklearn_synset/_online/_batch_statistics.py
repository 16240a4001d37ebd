"""Batch normalisation by the statistics of the rows that remain, as in a training."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, cast

import torch
from torch import nn
from torch.func import vmap
from torch.nn.modules.batchnorm import _BatchNorm

from sklearn_synset._functional_model import FunctionalModel
from sklearn_synset._layer_calls import layer_calls
from sklearn_synset._online._minibatches import minibatches
from sklearn_synset._online._normalised_rows import moments_of_rows, normalised_by_rows
from sklearn_synset._synset import Synset

_N_ROWS = 2000  # from which statistics are told, about
_ROWS_AT_ONCE = 2**12
_KNOWN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class Moments(NamedTuple):
    """Mean and variance of each channel of what a normalisation is given, by the rows' weights.

    Parameters
    ----------
    mean, variance : Tensor of shape (c,), or (R, c) of R networks
        What the normalisation subtracts, and what it divides by the root of.
    """

    mean: torch.Tensor
    variance: torch.Tensor


class _OfTheBatch(_BatchNorm):
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


def in_training(model: FunctionalModel, X: torch.Tensor) -> FunctionalModel | None:
    r"""Return a network with batch normalisation as it is in training.

    Parameters
    ----------
    model : FunctionalModel
        The trained network, which normalises by stored statistics.

    X : Tensor of shape (n, d...)
        Rows; two are tried.

    Returns
    -------
    network : FunctionalModel or None
        Normalises rows by their own statistics, each row by its `row_weight`, so that rows without
        weight take no part. None if there is no batch normalisation with stored statistics, or one
        that is not torch's own, whose scale and shift were not trained, or that is used more than
        once or on something else than rows: `absorbed` could not put its statistics into the
        weights.
    """
    norms = {
        name: part
        for name, part in model.module.named_modules(remove_duplicate=False)
        if isinstance(part, _BatchNorm) and part.running_mean is not None
    }
    names = list(norms)
    parameters = [f"{name}.{part}" for name in names for part in ("weight", "bias")]
    is_known = all(type(norm) in _KNOWN for norm in norms.values())
    if not names or not is_known or not set(parameters) <= set(model.names):
        return None
    rows = X[:2]
    calls = [(call.name, len(call.given[0])) for call in layer_calls(model, rows, names)]
    if sorted(calls) != sorted((name, len(rows)) for name in names):
        return None
    module = model.copied_module()
    for name in names:
        norm = module.get_submodule(name)
        norm.__class__ = _OfTheBatch
        norm.register_buffer("row_weight", model.theta.new_empty(0))
    return replace(model, module=module, live_norms=tuple(names))


def moments(
    network: FunctionalModel, theta: torch.Tensor, X: torch.Tensor, row_weight: torch.Tensor
) -> dict[str, Moments]:
    """Return the statistics of what each normalisation is given.

    Parameters
    ----------
    network : FunctionalModel
        As `in_training` returns it; nothing else uses it meanwhile.

    theta : Tensor of shape (R, D)
        Weights of R networks.

    X : Tensor of shape (n, d...)
        Rows.

    row_weight : Tensor of shape (R, n)
        Their weight for each network.

    Returns
    -------
    moments : dict of str to Moments
        For each name of a normalisation, (R, c) each.
    """
    found: dict[str, Moments] = {}
    hooks = [
        network.module.get_submodule(name).register_forward_pre_hook(
            lambda norm, given, name=name: found.update({name: norm.moments(given[0])})
        )
        for name in network.live_norms
    ]

    def of_network(theta: torch.Tensor, row_weight: torch.Tensor) -> dict[str, Moments]:
        network(theta, X, row_weight)
        return {name: found.pop(name) for name in network.live_norms}

    size = max(1, _ROWS_AT_ONCE // len(X))
    try:
        with torch.no_grad():
            return vmap(of_network, chunk_size=size)(theta, row_weight)
    finally:
        for hook in hooks:
            hook.remove()


def absorbed(
    network: FunctionalModel,
    theta: torch.Tensor,
    now: dict[str, Moments],
    before: dict[str, Moments] | None = None,
) -> torch.Tensor:
    r"""Put other statistics into the scale and shift of normalisations.

    Parameters
    ----------
    network : FunctionalModel
        As `in_training` returns it.

    theta : Tensor of shape (R, D)
        Weights of R networks.

    now : dict of str to Moments
        Statistics :math:`m, v` that these networks normalise by.

    before : dict of str to Moments, default=None
        Statistics :math:`m_0, v_0` in the place of which others are stored,
        :math:`\mu, \sigma^2`: then the change alone is taken over, to
        :math:`\mu + (m - m_0) \sigma / \sqrt{v_0}` and :math:`\sigma^2 v / v_0`.

    Returns
    -------
    theta : Tensor of shape (R, D)
        Weights with which a network that normalises by what is stored has the same outputs.
    """
    theta = theta.clone()
    place = network.unflatten(torch.arange(network.n_parameters, device=theta.device))
    for name in network.live_norms:
        norm = cast(_OfTheBatch, network.module.get_submodule(name))
        mean, spread = now[name].mean, (now[name].variance + norm.eps).sqrt()
        stored, stored_spread = norm.stored
        if before is not None:
            longer = stored_spread / (before[name].variance + norm.eps).sqrt()
            mean, spread = stored + (mean - before[name].mean) * longer, spread * longer
        scale, shift = place[f"{name}.weight"], place[f"{name}.bias"]
        theta[:, shift] += theta[:, scale] * (stored - mean) / spread
        theta[:, scale] *= stored_spread / spread
    return theta


def with_statistics(
    network: FunctionalModel,
    synset: Synset,
    kept: torch.Tensor,
    displacement: torch.Tensor,
    seed: int,
    told: Callable[..., dict[str, Moments]] = moments,
) -> torch.Tensor:
    """Add to displacements what leaving groups out does to the statistics of normalisations.

    Parameters
    ----------
    network : FunctionalModel
        As `in_training` returns it.

    synset : Synset
        Whose rows tell the statistics; some 2,000 of them if there are more.

    kept : Tensor of shape (R, K)
        1 for groups that are kept.

    displacement : Tensor of shape (R, D)
        Of the weights.

    seed : int
        Of the rows that are taken.

    told : callable, default=moments
        As of `moments`; its first network is the one that nothing is left out for.

    Returns
    -------
    displacement : Tensor of shape (R, D)
        Of weights that go with the stored statistics, see `absorbed`.
    """
    rows = next(minibatches(synset, seed, _N_ROWS))
    theta = network.theta + torch.cat([torch.zeros_like(displacement[:1]), displacement])
    row_weight = rows.weight * torch.cat([torch.ones_like(kept[:1]), kept])[:, rows.group]
    found = told(network, theta, rows.X, row_weight)
    before = {name: Moments(*(each[:1] for each in own)) for name, own in found.items()}
    now = {name: Moments(*(each[1:] for each in own)) for name, own in found.items()}
    return absorbed(network, theta[1:], now, before) - network.theta
