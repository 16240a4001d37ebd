"""What layers of a network are given and return."""

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch

from sklearn_synset._network.functional_model import FunctionalModel


class LayerCall(NamedTuple):
    """A call of a layer, by its name: its positional arguments and what it returned."""

    name: str
    given: tuple
    output: Any


def layer_calls(model: FunctionalModel, X: torch.Tensor, names: list[str]) -> list[LayerCall]:
    """Evaluate a network on a few rows (n, d...); return some layers' calls in their order."""
    calls: list[LayerCall] = []

    def keep(name: str, layer: torch.nn.Module, given: tuple, output: Any) -> None:
        calls.append(LayerCall(name, given, output))

    watched = replace(model, module=model.copied_module())
    for name in names:
        watched.module.get_submodule(name).register_forward_hook(partial(keep, name))
    with torch.no_grad():
        watched(model.theta, X)
    return calls
