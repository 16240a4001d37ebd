"""Many networks of one architecture, as one stack of weights."""

import copy
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn
from torch.func import functional_call, vmap
from torch.nn.modules.batchnorm import _BatchNorm

from sklearn_synset._replay.network_graph import graphs_of
from sklearn_synset._replay.operation_rules import STATISTICS, Pass, shares, unbiased


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
            self.seen = (mean, unbiased(variance, n_values))
            normalised = _scaled(values, mean, variance, affine, self.eps)
        return normalised.transpose(1, 2).reshape(inputs.shape)


def _moments(
    values: torch.Tensor, row_weight: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return weighted mean and variance (c) of values (b, p, c), and their number."""
    share, n_values = shares(row_weight[None], values.shape[1])
    weight = share.reshape(*values.shape[1::-1], 1).transpose(0, 1)
    mean = (weight * values).sum((0, 1))
    return mean, (weight * (values - mean).square()).sum((0, 1)), n_values[0]


def _scaled(values, mean, variance, affine, epsilon: float) -> torch.Tensor:
    """Normalise values (b, p, c) by moments (c)."""
    normalised = (values - mean) * (variance + epsilon).rsqrt()
    return normalised if affine is None else normalised * affine[0] + affine[1]


class StackedNetwork:
    r"""K networks with weights of their own, and the same dropout masks.

    Parameters
    ----------
    starts : list of tuple
        Modules with the weights that networks start from, and how many start from each: K in all.

    X : Tensor of shape (2, d...)
        Rows to try ways of running the networks on.

    Attributes
    ----------
    parameters : dict of str to Tensor
        Trainable weights of shape (K, ...), which require gradients.

    statistics : dict of str to Tensor
        Running means and variances (K, c) of batch normalisations.

    is_graph : bool
        Whether there is a rule for each operation of the networks; they run by `vmap` otherwise.

    is_loop : bool
        Whether the networks run one after the other, as `vmap` cannot run them.
    """

    def __init__(self, starts: list[tuple[nn.Module, int]], X: torch.Tensor) -> None:
        modules = [(copy.deepcopy(module), n) for module, n in starts]
        first = modules[0][0]
        self.parameters = {
            name: torch.cat([_repeated(part.get_parameter(name), n) for part, n in modules])
            for name, parameter in first.named_parameters()
            if parameter.requires_grad
        }
        for parameter in self.parameters.values():
            parameter.requires_grad_()
        self._graphs = graphs_of(first, set(self.parameters), X)
        self._skipped: str | None = None
        modules = [(_with_weighted_norms(module), n) for module, n in modules]
        self.module = first.train().requires_grad_(False)
        self.norms = [
            name for name, part in first.named_modules() if isinstance(part, _WeightedNorm)
        ]
        self.statistics = {
            f"{name}.{each}": torch.cat(
                [_repeated(part.get_buffer(f"{name}.{each}"), n) for part, n in modules]
            )
            for name in self.norms
            for each in STATISTICS
        }
        self._n_updates = 0
        self.is_loop = False
        self.is_loop = not self.is_graph and not self._can_run(X)

    @property
    def n_networks(self) -> int:
        """K, the number of networks."""
        return len(next(iter(self.parameters.values())))

    @property
    def is_graph(self) -> bool:
        """Whether there is a rule for each operation."""
        return self._graphs is not None

    def training_outputs(
        self,
        X: torch.Tensor,
        row_weight: torch.Tensor,
        sizes: list[int] | None = None,
        draw: Callable | None = None,
    ) -> torch.Tensor:
        """Return the outputs (K, b, c) in training mode, and update the running statistics.

        Parameters
        ----------
        X : Tensor of shape (S, b, d...)
            A minibatch for each block of networks; S is 1 unless `is_graph`.

        row_weight : Tensor of shape (K, b)
            Weight of each row for each network, in the statistics of batch normalisations.

        sizes : list of int, default=None
            Networks in each block; None for a single one.

        draw : callable, default=None
            As of `Pass`; by default from torch's generator, for a single block.

        Returns
        -------
        outputs : Tensor of shape (K, b, c)
            Differentiable by `parameters`.
        """
        if self._graphs is None:
            outputs, found = self._run(self._training_pass(X[0]), (self.parameters, row_weight))
            seen = dict(zip(self.norms, found, strict=True))
        else:
            sizes = sizes or [self.n_networks]
            run = Pass(self.parameters, sizes, draw or _drawn_once, row_weight)
            outputs, seen = self._graphs[0](run, X), run.seen
        self._update(seen)
        return outputs

    @torch.no_grad()
    def outputs(self, X: torch.Tensor) -> torch.Tensor:
        """Return the outputs (K, n, c) of rows (n, d...) in evaluation mode."""
        if self._graphs is not None:
            run = Pass(self.parameters, [self.n_networks], statistics=self.statistics)
            return self._graphs[1](run, X[None], self._skipped)

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
        self._skipped = name

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
    def _update(self, seen: dict[str, tuple[torch.Tensor, torch.Tensor]]) -> None:
        self._n_updates += 1
        for name, moments in seen.items():
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
            outputs, _ = self._run(self._training_pass(X), (self.parameters, weight))
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


def _drawn_once(make: Callable[[], torch.Tensor]) -> torch.Tensor:
    return make()[None]


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
