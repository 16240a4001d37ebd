"""Inputs of a network's first linear layer, narrowed to their leading components."""

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import nn
from torch.nn.utils import skip_init

from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._network.layer_calls import layer_calls
from sklearn_synset._retraining.synset import Synset

_KEPT = 0.99  # of the inputs' second moments
_LARGEST_SHARE = 0.5  # of the inputs' dimensions, above which little is gained
_N_ROWS = 1000  # on which the components are estimated


@dataclass(frozen=True, eq=False)
class InputSubspace:
    r"""Leading components of the inputs of a linear layer.

    Parameters
    ----------
    layer : str
        The layer's name.

    basis : Tensor of shape (d, r)
        Orthonormal V, from the largest second moment of the inputs to the smallest.

    moments : Tensor of shape (r,)
        These second moments.

    start : int
        Where the layer's weights start in a flat weight vector, narrowed or not.

    width : int
        Outputs of the layer.

    Notes
    -----
    Gradients of the layer's weights W are sums of :math:`\delta_j x_j^\top` over the rows: training
    moves W in the span of the inputs, and hardly along directions in which these do not vary.
    """

    layer: str
    basis: torch.Tensor
    moments: torch.Tensor
    start: int
    width: int

    def narrow(self, model: FunctionalModel) -> FunctionalModel:
        r"""Return the network with weights :math:`A = W V`, applied to :math:`V^\top x`."""
        module = model.copied_module()
        parent, _, own = self.layer.rpartition(".")
        layer = cast(nn.Linear, module.get_submodule(self.layer))
        setattr(module.get_submodule(parent), own, _Projected(layer, self.basis))
        weights, name = model.unflatten(model.theta), f"{self.layer}.weight"
        weights[name] = weights[name] @ self.basis
        return replace(
            model,
            module=module,
            theta=torch.cat([weight.flatten() for weight in weights.values()]),
            shapes=tuple(tuple(weight.shape) for weight in weights.values()),
        )

    def projected(
        self, narrowed: FunctionalModel, synset: Synset
    ) -> tuple[FunctionalModel, Synset]:
        r"""Return the narrowed network from its first layer on, and the rows :math:`V^\top x`.

        Parameters
        ----------
        narrowed : FunctionalModel
            What `narrow` returned.

        synset : Synset
            Rows of the whole network.

        Returns
        -------
        network, projected : FunctionalModel and Synset
            The same losses with less work. Where the layer is not one of a chain of layers, what
            was given: then each call of the network projects its rows.
        """
        module = narrowed.module
        parts = dict(module._modules) if type(module) is nn.Sequential else {}
        if self.layer not in parts or module._forward_pre_hooks or module._forward_hooks:
            return narrowed, synset
        X = torch.cat([self._project(narrowed, rows) for rows in synset.X.split(_N_ROWS)])
        own, rank = parts[self.layer], self.basis.shape[1]
        entry = skip_init(nn.Linear, rank, self.width)
        entry.weight, entry.bias = own.weight, own.bias
        parts[self.layer] = entry
        from_layer_on = list(parts)[list(parts).index(self.layer) :]
        chain = nn.Sequential(OrderedDict((name, parts[name]) for name in from_layer_on)).eval()
        return replace(narrowed, module=chain, input_shape=None), replace(synset, X=X)

    def _project(self, narrowed: FunctionalModel, X: torch.Tensor) -> torch.Tensor:
        """Return what the layer's weights multiply, (n, r)."""
        (call,) = layer_calls(narrowed, X, [self.layer])
        return call.given[0] @ self.basis

    def lift(self, displacement: torch.Tensor) -> torch.Tensor:
        r"""Return displacements (R, D) of the whole network: :math:`\Delta W = \Delta A V^\top`.

        Parameters
        ----------
        displacement : Tensor of shape (R, D')
            Of the narrowed network.
        """
        n_inputs, rank = self.basis.shape
        before, moved, after = displacement.tensor_split(
            [self.start, self.start + self.width * rank], dim=1
        )
        moved = moved.reshape(-1, self.width, rank) @ self.basis.T
        return torch.cat([before, moved.reshape(-1, self.width * n_inputs), after], dim=1)


class _Projected(nn.Linear):
    """A linear layer of projected inputs, under the names of the layer that it replaces."""

    basis: torch.Tensor

    def __init__(self, layer: nn.Linear, basis: torch.Tensor) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.weight = nn.Parameter(layer.weight @ basis, requires_grad=False)
        self.bias = layer.bias
        self.register_buffer("basis", basis)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(inputs @ self.basis, self.weight, self.bias)


def input_subspace(model: FunctionalModel, synset: Synset, seed: int) -> InputSubspace | None:
    """Find the leading components of what a network's first linear layer is given.

    Parameters
    ----------
    model : FunctionalModel
        The trained network.

    synset : Synset
        What it will be trained on.

    seed : int
        Of the 1,000 rows from whose second moments the components are estimated.

    Returns
    -------
    subspace : InputSubspace or None
        As many components as keep 99% of the second moments. None if these are more than half the
        inputs, or if there is no linear layer whose inputs (n, d) do not depend on trainable
        weights.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randperm(len(synset.X), generator=generator)[:_N_ROWS].to(synset.X.device)
    found = _first_layer(model, synset.X[drawn])
    if found is None:
        return None
    layer, inputs = found
    basis, moments = _leading_components(inputs)
    if len(moments) > _LARGEST_SHARE * len(basis):
        return None
    weights, first = model.unflatten(model.theta), model.names.index(f"{layer}.weight")
    start = sum(weights[each].numel() for each in model.names[:first])
    return InputSubspace(layer, basis, moments, start, len(weights[model.names[first]]))


def _first_layer(model: FunctionalModel, X: torch.Tensor) -> tuple[str, torch.Tensor] | None:
    """Find a linear layer that is used once, on inputs without trainable weights before them."""
    calls: dict[str, list[torch.Tensor]] = {}
    watched = replace(model, module=model.copied_module())
    used = [id(weight) for _, weight in watched.module.named_parameters(remove_duplicate=False)]
    for name, layer in watched.module.named_modules():
        if type(layer) is not nn.Linear or f"{name}.weight" not in model.names:
            continue
        if used.count(id(layer.weight)) == 1:
            layer.register_forward_pre_hook(
                lambda _, given, name=name: calls.setdefault(name, []).extend(given)
            )
    with torch.enable_grad():
        watched(model.theta.clone().requires_grad_(), X)
    for name, inputs in calls.items():
        if len(inputs) == 1 and inputs[0].ndim == 2 and not inputs[0].requires_grad:
            return name, inputs[0]
    return None


def _leading_components(inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return orthonormal directions (d, r) of rows (n, d), and second moments along them (r,)."""
    X = inputs.to("cpu", torch.float64)
    is_tall = len(X) >= X.shape[1]
    moments, vectors = torch.linalg.eigh((X.T @ X if is_tall else X @ X.T) / len(X))
    moments, vectors = moments.flip(0).clamp_min(0), vectors.flip(1)
    rank = n_components(moments, _KEPT)
    moments, vectors = moments[:rank], vectors[:, :rank]
    if not is_tall:
        least = torch.finfo(X.dtype).tiny  # all inputs may be 0
        vectors = X.T @ vectors / (moments * len(X)).clamp_min(least).sqrt()
    return vectors.contiguous().to(inputs), moments.to(inputs)


def n_components(moments: torch.Tensor, share: float) -> int:
    """Return how many of the first components have a share of all second moments (r,)."""
    return min(int((moments.cumsum(0) < share * moments.sum()).sum()) + 1, len(moments))
