"""A network as a list of operations, each of which runs for many networks at once.

`torch.fx` writes down what `forward` does. If there is a rule for every operation, the list takes
the place of `vmap`.
"""

import copy
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from sklearn_synset._replay.operation_rules import (
    BATCH_NORMS,
    RULES_OF_FUNCTIONS,
    RULES_OF_LAYERS,
    RULES_OF_METHODS,
    STATISTICS,
    Pass,
    UnknownOperationError,
    Values,
)

_TOLERANCE = 1e-3
_TRACING = threading.Lock()


class _Tracer(fx.Tracer):
    """Leaves networks alone that other threads call meanwhile: tracing patches all modules."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()

    def call_module(self, m, forward, args, kwargs):
        if threading.get_ident() != self._thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr, attr_val, parameter_proxy_cache):
        if threading.get_ident() != self._thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)


@dataclass(frozen=True, eq=False)
class _Step:
    """One operation: a rule, its arguments, and where the arguments are no longer needed."""

    node: fx.Node
    rule: Callable
    layer: nn.Module | None
    last_used: list[fx.Node]


class NetworkGraph:
    """The operations of a network, in the order in which they run.

    Parameters
    ----------
    module : Module
        In training mode or in evaluation mode, which the operations are then of.

    names : set of str
        Trainable weights.

    Raises
    ------
    UnknownOperationError
        If there is no rule for an operation, a layer has hooks or frozen weights, or what
        `forward` does depends on more than its rows.
    """

    def __init__(self, module: nn.Module, names: set[str]) -> None:
        graph = _traced(module)
        used: set[fx.Node] = set()
        self._input: fx.Node | None = None
        steps: list[_Step] = []
        for node in reversed(graph.nodes):
            last_used = [each for each in node.all_input_nodes if each not in used]
            used.update(last_used)
            if node.op == "placeholder" and node in used:
                if node.args or self._input is not None:
                    raise UnknownOperationError("several inputs")
                self._input = node
            elif node.op == "output":
                found = node.args[0]
                self._output = found[0] if isinstance(found, tuple) else found
            elif node.op != "placeholder":
                rule, layer = _rule_of(node, module, names)
                steps.append(_Step(node, rule, layer, last_used))
        self._steps = steps[::-1]
        norms = [s.node.target for s in steps if isinstance(s.layer, BATCH_NORMS)]
        if len(set(norms)) < len(norms) or not isinstance(self._output, fx.Node):
            raise UnknownOperationError("a batch normalisation is used twice")

    def __call__(self, run: Pass, X: torch.Tensor, skipped: str | None = None) -> torch.Tensor:
        """Return the outputs (K, b, c) for rows (S, b, ...).

        Parameters
        ----------
        run : Pass
            Weights, and how it is run.

        X : Tensor of shape (S, b, d...)
            The rows of each block of networks.

        skipped : str, default=None
            A layer that returns what it is given.
        """
        known: dict[fx.Node, Any] = {}
        if self._input is not None:
            known[self._input] = Values(X, is_of_blocks=True)
        for step in self._steps:
            args = [_looked_up(each, known) for each in step.node.args]
            if step.layer is None:
                kwargs = {k: _looked_up(v, known) for k, v in step.node.kwargs.items()}
                known[step.node] = step.rule(run, *args, **kwargs)
            elif step.node.target == skipped:
                known[step.node] = args[0]
            else:
                known[step.node] = step.rule(run, step.node.target, step.layer, *args)
            for each in step.last_used:
                known.pop(each, None)
        outputs = known[self._output].of_networks(run)
        return outputs.movedim(-1, 1).flatten(2)


def _looked_up(argument: Any, known: dict[fx.Node, Any]) -> Any:
    if isinstance(argument, fx.Node):
        return known[argument]
    if isinstance(argument, (list, tuple)):
        return [_looked_up(each, known) for each in argument]
    return argument


def _rule_of(node: fx.Node, module: nn.Module, names: set[str]) -> tuple[Callable, Any]:
    """Return the rule for an operation, and the layer that it calls."""
    if node.op == "call_module":
        layer = module.get_submodule(str(node.target))
        rule = RULES_OF_LAYERS.get(type(layer))
        own = {f"{node.target}.{name}" for name, _ in layer.named_parameters()}
        if isinstance(layer, BATCH_NORMS) and layer.running_mean is None:
            rule = None
        if rule is None or not own <= names or len(node.args) != 1 or node.kwargs:
            raise UnknownOperationError(f"{type(layer).__name__} ({node.target})")
        return rule, layer
    tables: dict[str, dict[Any, Callable]]
    tables = {"call_function": RULES_OF_FUNCTIONS, "call_method": RULES_OF_METHODS}
    found = tables.get(node.op, {}).get(node.target)
    if found is None:
        raise UnknownOperationError(f"{node.op} {node.target}")
    return found, None


def _traced(module: nn.Module) -> fx.Graph:
    """Write down what a module does; refuse what may do another thing the next time."""
    parts = list(module.modules())
    if any(part._forward_hooks or part._forward_pre_hooks for part in parts):
        raise UnknownOperationError("hooks")
    is_leaf = _Tracer().is_leaf_module
    for part in parts:
        # Said beforehand: tracing is felt by all threads of the process.
        if is_leaf(part, "") and type(part) not in RULES_OF_LAYERS:
            raise UnknownOperationError(type(part).__name__)
    before = _state(parts)
    try:
        with _TRACING:
            graph = _Tracer().trace(module)
    except Exception as error:
        raise UnknownOperationError("forward cannot be written down") from error
    if _state(parts) != before:
        raise UnknownOperationError("forward draws random numbers or keeps a state")
    return graph


def _state(parts: list[nn.Module]) -> tuple:
    """Return what `forward` may depend on and change, to compare before and after."""
    own = [
        {name: id(value) for name, value in vars(part).items() if name[:1] != "_"} for part in parts
    ]
    drawn = (repr(np.random.get_state()), random.getstate(), bytes(torch.get_rng_state().numpy()))
    return own, drawn


def graphs_of(
    module: nn.Module, names: set[str], X: torch.Tensor
) -> tuple[NetworkGraph, NetworkGraph] | None:
    """Return the operations of a network in training mode and in evaluation mode.

    Parameters
    ----------
    module : Module
        The network.

    names : set of str
        Its trainable weights.

    X : Tensor of shape (2, d...)
        Rows on which the operations are compared with the network itself.

    Returns
    -------
    graphs : tuple of NetworkGraph or None
        None if there is no rule for an operation, or outputs are not the same.
    """
    module = copy.deepcopy(module)
    parameters = {name: module.get_parameter(name).detach()[None] for name in names}
    graphs = []
    for is_training in (True, False):
        module.train(is_training)
        statistics = {
            name: value.detach().clone()[None]
            for name, value in module.named_buffers()
            if name.endswith(STATISTICS)
        }
        run = Pass(parameters, [1], statistics=statistics)
        if is_training:
            run.draw, run.row_weight = (lambda make: make()[None]), X.new_ones(1, len(X))
        state = torch.get_rng_state()
        try:
            graph = NetworkGraph(module, names)
            found = graph(run, X[None])[0].detach()
            torch.set_rng_state(state)
            with torch.no_grad():
                expected = module(X)
        except (UnknownOperationError, RuntimeError, ValueError, TypeError, LookupError):
            return None
        finally:
            torch.set_rng_state(state)
        first = expected[0] if isinstance(expected, tuple) else expected
        first = first.reshape(len(X), -1)
        limit = _TOLERANCE * float(first.abs().max())
        if found.shape != first.shape or not float((found - first).abs().max()) <= limit:
            return None
        graphs.append(graph)
    module.train()  # dropouts are called to draw their masks
    return graphs[0], graphs[1]
