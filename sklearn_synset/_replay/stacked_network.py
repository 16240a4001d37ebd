"""Many networks of one architecture, as one stack of weights."""

import copy
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn
from torch.func import functional_call, vmap
from torch.nn.modules.batchnorm import _BatchNorm

from sklearn_synset._replay.chain import chain_of, run_chain, shared_mask

STATISTICS = ("running_mean", "running_var")


class _WeightedNorm(nn.Module):
    """Batch normalisation in which each row counts by its weight, and which reports statistics."""

    row_weight: torch.Tensor
    running_mean: torch.Tensor
    running_var: torch.Tensor

    def __init__(self, norm: _BatchNorm) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps
        self.momentum = norm.momentum
        for name in STATISTICS:
            self.register_buffer(name, getattr(norm, name))
        self.register_buffer("row_weight", torch.ones(1))
        self.seen: tuple[torch.Tensor, torch.Tensor] | None = None

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Normalise rows (b, c, ...) by their own statistics in training, stored ones otherwise."""
        values = inputs.reshape(*inputs.shape[:2], -1).transpose(1, 2)  # (b, places, c)
        affine = None if self.weight is None else (self.weight, self.bias)
        if not self.training:
            stored = (self.running_mean, self.running_var)
            normalised = _scaled(values, *stored, affine, self.eps)
        else:
            mean, variance, n_values = _moments(values, self.row_weight)
            self.seen = (mean, _unbiased(variance, n_values))
            normalised = _scaled(values, mean, variance, affine, self.eps)
        return normalised.transpose(1, 2).reshape(inputs.shape)


def _moments(
    values: torch.Tensor, row_weight: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return weighted mean and variance (..., c) of values (..., b, p, c), and their number."""
    n_places, tiny = values.shape[-2], torch.finfo(values.dtype).tiny
    share = row_weight / (row_weight.sum(-1, keepdim=True) * n_places).clamp(min=tiny)
    weight = share[..., None, None]
    mean = (weight * values).sum((-3, -2))
    variance = (weight * (values - mean[..., None, None, :]).square()).sum((-3, -2))
    return mean, variance, (row_weight > 0).sum(-1, keepdim=True) * n_places


def _unbiased(variance: torch.Tensor, n_values: torch.Tensor) -> torch.Tensor:
    return variance * n_values / (n_values - 1).clamp(min=1)


def _scaled(values, mean, variance, affine, epsilon: float) -> torch.Tensor:
    """Normalise values (..., b, p, c) by moments (..., c)."""
    scale = (variance + epsilon).rsqrt()
    if affine is None:
        return (values - mean[..., None, None, :]) * scale[..., None, None, :]
    scale = scale * affine[0]
    shift = affine[1] - mean * scale
    return values * scale[..., None, None, :] + shift[..., None, None, :]


class StackedNetwork:
    r"""K networks with weights of their own, and the same dropout masks.

    Parameters
    ----------
    starts : list of tuple
        Modules with the weights that networks start from, and how many start from each: K in all.

    X : Tensor of shape (2, d...)
        Rows to try `vmap` on. Where it fails, networks run one after the other.

    Attributes
    ----------
    parameters : dict of str to Tensor
        Trainable weights of shape (K, ...), which require gradients.

    statistics : dict of str to Tensor
        Running means and variances (K, c) of batch normalisations.

    is_loop : bool
        Whether the networks run one after the other.
    """

    def __init__(self, starts: list[tuple[nn.Module, int]], X: torch.Tensor) -> None:
        parts = [(_with_weighted_norms(copy.deepcopy(module)), n) for module, n in starts]
        self.module = parts[0][0].train()
        self.parameters = {
            name: torch.cat([_repeated(part.get_parameter(name), n) for part, n in parts])
            for name, parameter in self.module.named_parameters()
            if parameter.requires_grad
        }
        for parameter in self.parameters.values():
            parameter.requires_grad_()
        self.chain = chain_of(self.module, _WeightedNorm)
        self.module.requires_grad_(False)
        self.norms = [
            name for name, part in self.module.named_modules() if isinstance(part, _WeightedNorm)
        ]
        self.statistics = {
            f"{name}.{each}": torch.cat(
                [_repeated(part.get_buffer(f"{name}.{each}"), n) for part, n in parts]
            )
            for name in self.norms
            for each in STATISTICS
        }
        if self.chain is not None and not self._can_run(X):
            self.chain = None
        self._n_updates = 0
        self.is_loop = False
        self.is_loop = self.chain is None and not self._can_run(X)

    @property
    def n_networks(self) -> int:
        """K, the number of networks."""
        return len(next(iter(self.parameters.values())))

    def training_outputs(
        self,
        X: torch.Tensor,
        row_weight: torch.Tensor,
        draw_mask: Callable[[nn.Dropout, torch.Tensor], torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Return the outputs (K, b, c) in training mode, and update the running statistics.

        Parameters
        ----------
        X : Tensor of shape (b, d...), or (K, b, d...)
            A minibatch.

        row_weight : Tensor of shape (K, b)
            Weight of each row for each network, in the statistics of batch normalisations.

        draw_mask : callable, default=None
            For chains, where each network has a minibatch of its own: maps a dropout and the
            values (K, b, c) that it is given to its mask for them.

        Returns
        -------
        outputs : Tensor of shape (K, b, c)
            Differentiable by `parameters`.
        """
        outputs, seen = self._pass(X, row_weight, draw_mask)
        self._update(seen)
        return outputs

    def _pass(self, X: torch.Tensor, row_weight: torch.Tensor, draw_mask: Callable | None = None):
        """Return the outputs (K, b, c) in training mode, and the statistics of each norm."""
        if self.chain is None:
            return self._run(self._training_pass(X), (self.parameters, row_weight))
        seen = []

        def normalise(name, values):
            norm = cast(_WeightedNorm, self.module.get_submodule(name))
            mean, variance, n_values = _moments(values[..., None, :], row_weight)
            seen.append((mean, _unbiased(variance, n_values)))
            affine = self._affine(name)
            return _scaled(values[..., None, :], mean, variance, affine, norm.eps)[..., 0, :]

        outputs = run_chain(
            self.chain,
            self.parameters,
            X,
            normalise,
            draw_mask or shared_mask,
            is_stacked=draw_mask is not None,
        )
        return outputs, seen

    def _affine(self, name: str) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Return scale and shift (K, c) of a norm, None if it has none."""
        if f"{name}.weight" not in self.parameters:
            return None
        return self.parameters[f"{name}.weight"], self.parameters[f"{name}.bias"]

    @torch.no_grad()
    def outputs(self, X: torch.Tensor) -> torch.Tensor:
        """Return the outputs (K, n, c) of rows (n, d...) in evaluation mode."""
        if self.chain is not None:

            def normalise(name, values):
                norm = cast(_WeightedNorm, self.module.get_submodule(name))
                mean, variance = (self.statistics[f"{name}.{each}"] for each in STATISTICS)
                affine = self._affine(name)
                return _scaled(values[..., None, :], mean, variance, affine, norm.eps)[..., 0, :]

            return run_chain(self.chain, self.parameters, X, normalise)

        def one(parameters, statistics):
            return _flat(functional_call(self.module, parameters | statistics, (X,)))

        self.module.eval()
        try:
            return self._run(one, (self.parameters, self.statistics))
        finally:
            self.module.train()

    def skip_layer(self, name: str) -> None:
        """Let a layer without weights return what it is given."""
        parent, _, own = name.rpartition(".")
        setattr(self.module.get_submodule(parent), own, nn.Identity())
        if self.chain is not None:
            self.chain = [(each, layer) for each, layer in self.chain if each != name]

    def state(self) -> dict[str, torch.Tensor]:
        """Return weights and statistics (K, ...), detached."""
        return {name: t.detach() for name, t in (self.parameters | self.statistics).items()}

    def load(self, state: dict[str, torch.Tensor]) -> None:
        """Take over weights and statistics as `state` returns them, of any number of networks."""
        self.parameters = {name: state[name].clone().requires_grad_() for name in self.parameters}
        self.statistics = {name: state[name].clone() for name in self.statistics}

    def _training_pass(self, X: torch.Tensor) -> Callable:
        norms = [self.module.get_submodule(name) for name in self.norms]

        def one(parameters, weight):
            weights = {f"{name}.row_weight": weight for name in self.norms}
            output = functional_call(self.module, parameters | weights, (X,))
            return _flat(output), [norm.seen for norm in norms]

        return one

    @torch.no_grad()
    def _update(self, seen: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        self._n_updates += 1
        for name, moments in zip(self.norms, seen, strict=True):
            momentum = cast(_WeightedNorm, self.module.get_submodule(name)).momentum
            share = 1 / self._n_updates if momentum is None else momentum
            for each, moment in zip(STATISTICS, moments, strict=True):
                self.statistics[f"{name}.{each}"].lerp_(moment.detach(), share)

    def _run(self, one: Callable, arguments: tuple):
        if not self.is_loop:
            return vmap(one, randomness="same")(*arguments)
        state, found = torch.get_rng_state(), []
        for k in range(self.n_networks):
            torch.set_rng_state(state)
            own = [_taken(argument, k) for argument in arguments]
            found.append(one(*own))
        return _joined(found)

    def _can_run(self, X: torch.Tensor) -> bool:
        """Tell whether outputs of two rows, and their gradients, can be had."""
        state = torch.get_rng_state()
        weight = next(iter(self.parameters.values())).new_ones(self.n_networks, len(X))
        try:
            outputs, _ = self._pass(X, weight)
            torch.autograd.grad(outputs.sum(), list(self.parameters.values()), allow_unused=True)
        except (RuntimeError, NotImplementedError, ValueError):
            return False
        finally:
            torch.set_rng_state(state)
        return True


def _with_weighted_norms(module: nn.Module) -> nn.Module:
    """Put weighted batch normalisations in the place of those that keep statistics."""
    for name, part in module.named_children():
        if isinstance(part, _BatchNorm) and part.running_mean is not None:
            setattr(module, name, _WeightedNorm(part))
        else:
            _with_weighted_norms(part)
    return module


def _repeated(tensor: torch.Tensor, n: int) -> torch.Tensor:
    return tensor.detach().expand(n, *tensor.shape).clone()


def _flat(output: Any) -> torch.Tensor:
    """Return the outputs (n, c) of a module, the first of several."""
    first = output[0] if isinstance(output, tuple) else output
    return first.reshape(len(first), -1)


def _taken(argument: object, k: int):
    """Return network k's part of a tensor, or of a dict of tensors."""
    if isinstance(argument, dict):
        return {name: value[k] for name, value in argument.items()}
    return argument[k]  # type: ignore[index]


def _joined(found: list):
    """Stack what a function returned for each network: tensors, in tuples or lists."""
    if isinstance(found[0], torch.Tensor):
        return torch.stack(found)
    return type(found[0])(_joined([each[i] for each in found]) for i in range(len(found[0])))
