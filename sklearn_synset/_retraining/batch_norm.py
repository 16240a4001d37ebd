"""Batch normalisation by the statistics of the rows that remain, as in a training."""

from collections.abc import Callable
from dataclasses import replace
from typing import cast

import torch
from torch import nn
from torch.func import vmap
from torch.nn.modules.batchnorm import _BatchNorm

from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._network.layer_calls import layer_calls
from sklearn_synset._network.norm_of_the_batch import Moments, NormOfTheBatch
from sklearn_synset._retraining.minibatches import minibatches
from sklearn_synset._retraining.synset import Synset

_N_ROWS = 2000  # on which statistics are estimated, about
_ROWS_AT_ONCE = 2**12
_KNOWN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


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
        norm.__class__ = NormOfTheBatch
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
        norm = cast(NormOfTheBatch, network.module.get_submodule(name))
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
    moments_of: Callable[..., dict[str, Moments]] = moments,
) -> torch.Tensor:
    """Add to displacements what leaving groups out does to the statistics of normalisations.

    Parameters
    ----------
    network : FunctionalModel
        As `in_training` returns it.
    synset : Synset
        Whose rows give the statistics; some 2,000 of them if there are more.
    kept : Tensor of shape (R, K)
        1 for groups that are kept.
    displacement : Tensor of shape (R, D)
        Of the weights.
    seed : int
        Of the rows that are taken.
    moments_of : callable, default=moments
        As of `moments`; its first network is the one that nothing is left out for.

    Returns
    -------
    displacement : Tensor of shape (R, D)
        Of weights that go with the stored statistics, see `absorbed`.
    """
    rows = next(minibatches(synset, seed, _N_ROWS))
    theta = network.theta + torch.cat([torch.zeros_like(displacement[:1]), displacement])
    row_weight = rows.weight * torch.cat([torch.ones_like(kept[:1]), kept])[:, rows.group]
    found = moments_of(network, theta, rows.X, row_weight)
    before = {name: Moments(*(each[:1] for each in own)) for name, own in found.items()}
    now = {name: Moments(*(each[1:] for each in own)) for name, own in found.items()}
    return absorbed(network, theta[1:], now, before) - network.theta
