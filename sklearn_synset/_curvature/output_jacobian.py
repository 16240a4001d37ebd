"""The Jacobian of a network's outputs on some rows, shared by all networks near it."""

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import torch
from torch import nn

from sklearn_synset._curvature.layer_jacobian import Layer, layer_jacobian
from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._network.norm_of_the_batch import Moments, NormOfTheBatch

ROWS_OF_STATISTICS = 32
_ROWS_OF_MOMENTS = 250
_OUTPUTS_AT_ONCE = 10  # in fewer it takes longer


@dataclass(frozen=True, eq=False)
class LinearTerm:
    """What a linear layer's weights do to the outputs, without their Jacobian being formed.

    Parameters
    ----------
    inputs : Tensor of shape (b, i)
        What the layer is given.
    slope : Tensor of shape (b, C, o)
        Derivative of each row's outputs by the layer's.
    weight, bias : Tensor of shape (o i,) and (o,), or None
        Places of the layer's weights, None for those that are not trained.
    """

    inputs: torch.Tensor
    slope: torch.Tensor
    weight: torch.Tensor | None
    bias: torch.Tensor | None

    def change(self, delta: torch.Tensor) -> torch.Tensor:
        """Return the change of the outputs (R, b, C) for weights that differ by (R, D)."""
        moved = self.slope.new_zeros(len(self.inputs), len(delta), self.slope.shape[2])
        if self.weight is not None:
            weight = delta[:, self.weight].reshape(-1, self.inputs.shape[1])
            moved += (self.inputs @ weight.T).reshape(moved.shape)
        if self.bias is not None:
            moved += delta[:, self.bias]
        return (moved @ self.slope.mT).transpose(0, 1)

    def write_transposed(self, cotangent: torch.Tensor, total: torch.Tensor) -> None:
        """Write what cotangents (R, b, C) of the outputs are in the weights into (R, D)."""
        moved = cotangent.transpose(0, 1) @ self.slope  # (b, R, o)
        if self.weight is not None:
            total[:, self.weight] = (moved.flatten(1).T @ self.inputs).reshape(len(total), -1)
        if self.bias is not None:
            total[:, self.bias] = moved.sum(0)


@dataclass(frozen=True, eq=False)
class OutputJacobian:
    r"""Outputs of some rows, and their Jacobian in the weights.

    Parameters
    ----------
    outputs : Tensor of shape (b, C)
        Of the network itself.
    matrix : Tensor of shape (b C, E)
        Their Jacobian in E of the weights.
    places : Tensor of shape (E,)
        Which weights these are.
    terms : list of LinearTerm
        The rest of the weights.
    by_share : Tensor of shape (b C, b)
        Their Jacobian in the rows' shares of the statistics of normalisations.
    """

    outputs: torch.Tensor
    matrix: torch.Tensor
    places: torch.Tensor
    terms: list[LinearTerm]
    by_share: torch.Tensor

    def outputs_at(self, delta: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
        """Return outputs (R, b, C) for weights and shares that differ by (R, D) and (R, b)."""
        change = delta[:, self.places] @ self.matrix.T + share @ self.by_share.T
        outputs = self.outputs + change.reshape(len(delta), *self.outputs.shape)
        for term in self.terms:
            outputs += term.change(delta)
        return outputs

    def transposed(self, cotangent: torch.Tensor, n_parameters: int) -> torch.Tensor:
        """Return what cotangents (R, b, C) of the outputs are in the weights, (R, D)."""
        total = cotangent.new_zeros(len(cotangent), n_parameters)
        total[:, self.places] = cotangent.flatten(1) @ self.matrix
        for term in self.terms:
            term.write_transposed(cotangent, total)
        return total


@dataclass(frozen=True, eq=False)
class _Use:
    """What a layer was given, and what values can be differentiated by.

    `zero` is added to its outputs. Rows are normalised by `moments`, a copy for each of them, in
    the place of those that its inputs have, `found`; `by_share` are derivatives of these.
    """

    inputs: torch.Tensor
    zero: torch.Tensor
    moments: tuple[torch.Tensor, ...] = ()
    found: torch.Tensor | None = None
    by_share: torch.Tensor | None = None


class Linearisation:
    """Takes Jacobians of a network, layer by layer.

    Parameters
    ----------
    model : FunctionalModel
        The network, maybe as `in_training` returns it.
    layers : list of str
        Names of all layers with trained weights in the order in which they are used, once each,
        all of them as `is_known` demands.
    """

    def __init__(self, model: FunctionalModel, layers: list[str]) -> None:
        self.model = replace(model, module=model.copied_module())
        self.layers = {name: cast(Layer, self.model.module.get_submodule(name)) for name in layers}
        place = model.unflatten(torch.arange(model.n_parameters, device=model.device))
        self._places = {
            name: {
                part: place[f"{name}.{part}"].flatten()
                for part in ("weight", "bias")
                if f"{name}.{part}" in place
            }
            for name in layers
        }
        last = max((layers.index(name) for name in model.live_norms), default=-1)
        # A linear layer after the last normalisation has a Jacobian of products.
        self._in_matrix = [
            name
            for i, name in enumerate(layers)
            if i < last or not isinstance(self.layers[name], nn.Linear)
        ]
        places = [each for name in self._in_matrix for each in self._places[name].values()]
        nowhere = torch.empty(0, dtype=torch.long, device=model.device)
        self.places_in_matrix = torch.cat([nowhere, *places])
        self._uses: dict[str, _Use] = {}
        for name, layer in self.layers.items():
            layer.register_forward_hook(partial(self._keep, name))

    def at(self, theta: torch.Tensor, X: torch.Tensor, row_weight: torch.Tensor) -> OutputJacobian:
        """Return the Jacobian at weights (D,) for rows (b, d...) with weights (b,)."""
        outputs, uses = self._trace(theta, X, row_weight)
        statistics = self._statistics_of(theta, X, row_weight, uses, ROWS_OF_STATISTICS)
        n_rows, width = outputs.shape
        matrix = outputs.new_empty(n_rows, width, len(self.places_in_matrix))
        by_share = outputs.new_zeros(n_rows, width, n_rows)
        free = [name for name in self.layers if name not in self._in_matrix]
        free_slopes: dict[str, list[torch.Tensor]] = {name: [] for name in free}
        for first in range(0, width, _OUTPUTS_AT_ONCE):
            part = slice(first, first + _OUTPUTS_AT_ONCE)
            each = torch.eye(width).to(outputs)[part, None].expand(-1, n_rows, -1)
            slopes = _slopes(outputs, each, uses)
            end = 0
            for name in self._in_matrix:
                for own in self._jacobians(name, uses[name], slopes[name][0]):
                    start, end = end, end + own.shape[2]
                    matrix[:, part, start:end] = own.transpose(0, 1)
            for name, (by_weights, by_own) in statistics.items():
                by_moments = torch.cat(slopes[name][1:], dim=2).transpose(0, 1).contiguous()
                matrix[:, part, : by_weights.shape[1]] += by_moments @ by_weights
                by_share[:, part] += by_moments @ by_own
            for name in free:
                free_slopes[name].append(slopes[name][0].transpose(0, 1))
        terms = [
            LinearTerm(
                uses[name].inputs,
                torch.cat(free_slopes[name], dim=1),
                self._places[name].get("weight"),
                self._places[name].get("bias"),
            )
            for name in free
        ]
        return OutputJacobian(
            outputs.detach(),
            matrix.flatten(0, 1),
            self.places_in_matrix,
            terms,
            by_share.flatten(0, 1),
        )

    def moments_near(
        self,
        theta: torch.Tensor,
        X: torch.Tensor,
        row_weight: torch.Tensor,
        delta: torch.Tensor,
        share: torch.Tensor,
    ) -> dict[str, Moments]:
        """Return statistics (R, c) to first order, of weights and rows' shares that differ.

        Parameters
        ----------
        theta, X, row_weight
            As of `at`.
        delta, share : Tensor of shape (R, D) and (R, n)
            By how much.
        """
        _, uses = self._trace(theta, X, row_weight)
        statistics = self._statistics_of(theta, X, row_weight, uses, _ROWS_OF_MOMENTS)
        found, moved = {}, delta[:, self.places_in_matrix]
        for name, (by_weights, by_own) in statistics.items():
            now = cast(torch.Tensor, uses[name].found).detach()
            now = now + moved[:, : by_weights.shape[1]] @ by_weights.T + share @ by_own.T
            mean, variance = now.chunk(2, dim=1)
            found[name] = Moments(mean, variance.clamp(min=0))
        return found

    def _statistics_of(
        self,
        theta: torch.Tensor,
        X: torch.Tensor,
        row_weight: torch.Tensor,
        uses: dict[str, _Use],
        max_rows: int,
    ) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Return what `_statistics` does, with some of the rows to tell what weights do."""
        if not self.model.live_norms:
            return {}
        some = slice(None, None, math.ceil(len(X) / max_rows))
        return self._statistics(self._trace(theta, X[some], row_weight[some])[1], uses)

    def _trace(
        self, theta: torch.Tensor, X: torch.Tensor, row_weight: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, _Use]]:
        """Return the outputs, and how each layer was used on the way."""
        self._uses = {}
        with torch.enable_grad():
            return self.model(theta, X, row_weight), self._uses

    def _keep(
        self, name: str, layer: nn.Module, given: tuple, output: torch.Tensor
    ) -> torch.Tensor:
        inputs, zero = given[0].detach(), torch.zeros_like(output, requires_grad=True)
        if not isinstance(layer, NormOfTheBatch):
            self._uses[name] = _Use(inputs, zero)
            return output + zero
        found = layer.moments(given[0])
        still = Moments(*(each.detach() for each in found))
        own = [each.repeat(len(inputs), 1).requires_grad_() for each in still]
        by_share = layer.moments_by_share(inputs, still.mean)
        inputs = layer.standardised(inputs, still)
        self._uses[name] = _Use(inputs, zero, tuple(own), torch.cat(found), by_share)
        return layer.normalised(given[0], Moments(*own)) + zero

    def _jacobians(
        self, name: str, use: _Use, slope: torch.Tensor, *, is_summed: bool = False
    ) -> list[torch.Tensor]:
        """Return derivatives (B, b, e) by parts of a layer's weights, or sums (B, e) of them."""
        parts = tuple(self._places[name])
        return layer_jacobian(self.layers[name], use.inputs, slope, parts, is_summed=is_summed)

    def _statistics(
        self, some: dict[str, _Use], uses: dict[str, _Use]
    ) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Return Jacobians (2c, e) and (2c, b) of each normalisation's mean and variance.

        They are in the weights of earlier layers, the first e of the matrix, and in shares. What
        they owe to weights is estimated on some of the rows.
        """
        found: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        for i, name in enumerate(self._in_matrix):
            moments, by_share = some[name].found, uses[name].by_share
            if moments is None or by_share is None:
                continue
            by_weights = moments.new_empty(len(moments), 0)
            if moments.requires_grad:
                before = {each: some[each] for each in self._in_matrix[:i]}
                slopes = _slopes(moments, torch.eye(len(moments)).to(moments), before)
                parts = [
                    part
                    for each, use in before.items()
                    for part in self._jacobians(each, use, slopes[each][0], is_summed=True)
                ]
                by_weights = torch.cat([by_weights, *parts], dim=1)
                for each, (earlier_by_weights, earlier_by_share) in found.items():
                    by_moments = torch.cat(slopes[each][1:], dim=2).sum(1)
                    by_weights[:, : earlier_by_weights.shape[1]] += by_moments @ earlier_by_weights
                    by_share = by_share + by_moments @ earlier_by_share
            found[name] = by_weights, by_share
        return found


def _slopes(
    values: torch.Tensor, each: torch.Tensor, uses: dict[str, _Use]
) -> dict[str, list[torch.Tensor]]:
    """Return derivatives (B, b, ...) by layers' outputs, and those (B, b, c) by moments."""
    by = [leaf for use in uses.values() for leaf in (use.zero, *use.moments)]
    found = torch.autograd.grad(
        values, by, each, retain_graph=True, is_grads_batched=True, materialize_grads=True
    )
    left = iter(found)
    return {name: [next(left) for _ in (use.zero, *use.moments)] for name, use in uses.items()}
