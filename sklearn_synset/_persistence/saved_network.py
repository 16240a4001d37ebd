"""Networks without their code: weights, buffers and modes, and how they are put back."""

from dataclasses import fields
from typing import Any

import torch
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNet
from torch.nn.parameter import is_lazy

from sklearn_synset._network.functional_model import FunctionalModel, copy_module
from sklearn_synset._network.plain.plain_layers import with_plain_layers
from sklearn_synset._runtime.torch_interop import resolve_device
from sklearn_synset._wrapping.default_network import STATISTICS, net_of_statistics
from sklearn_synset._wrapping.skorch_net import initialized_clone

_KINDS = {"none": "None", "module": "a torch.nn.Module", "net": "a skorch net"}


def kind_of(estimator: object) -> str:
    """Return which of the three kinds of estimator is wrapped: "none", "module" or "net"."""
    inner = _unfrozen(estimator)
    if inner is None:
        return "none"
    if isinstance(inner, torch.nn.Module):
        return "module"
    if isinstance(inner, NeuralNet):
        return "net"
    raise TypeError(f"estimator must be {' or '.join(_KINDS.values())}; got {estimator!r}.")


def check_kind(estimator: object, kind: str) -> None:
    """Raise a ValueError unless the estimator is of the kind that was saved."""
    if kind_of(estimator) != kind:
        raise ValueError(
            f"The attributor was saved with {_KINDS[kind]} as its estimator; got "
            f"{type(estimator).__name__}. A file holds weights, not the code of a network."
        )


def network_state(network: torch.nn.Module | NeuralNet, model: FunctionalModel) -> dict[str, Any]:
    """Return all of a network that is no code.

    Returns
    -------
    state : dict of str to object
        Plain values and tensors.
    """
    module = network.module_ if isinstance(network, NeuralNet) else network
    model_parts = {field.name: getattr(model, field.name) for field in fields(model)}
    del model_parts["module"], model_parts["recipe"]
    return {
        "parameters": dict(module.named_parameters()),
        "buffers": dict(module.named_buffers()),
        "trainable": [name for name, each in module.named_parameters() if each.requires_grad],
        "training": [name for name, each in module.named_modules() if each.training],
        "classes": getattr(network, "classes_inferred_", None),
        "max_epochs": network.max_epochs if isinstance(network, NeuralNet) else None,
        "model": model_parts,
    }


def network_from_state(
    estimator: object, state: dict[str, Any], device: str | torch.device | None
) -> tuple[torch.nn.Module | NeuralNet, FunctionalModel]:
    """Put the state of a network into a copy of one with the same architecture.

    Parameters
    ----------
    estimator : Module, NeuralNet, FrozenEstimator or None
        The architecture; left as it is.
    state : dict of str to object
        As `network_state` returned it.
    device : str or torch.device or None
        Where to compute; where the module is if None.

    Raises
    ------
    ValueError
        If names or shapes of the weights are others.
    """
    network = _blank(_unfrozen(estimator), state, device)
    module = network.module_ if isinstance(network, NeuralNet) else network
    _fill(module, state)
    own = with_plain_layers(copy_module(module)).eval().requires_grad_(False)
    theta = state["model"]["theta"].to(resolve_device(device, module))
    own.to(device=theta.device, dtype=theta.dtype)
    return network, FunctionalModel(own, **state["model"] | {"theta": theta})


def _unfrozen(estimator: object) -> object:
    return estimator.estimator if isinstance(estimator, FrozenEstimator) else estimator


def _blank(
    inner: object, state: dict[str, Any], device: str | torch.device | None
) -> torch.nn.Module | NeuralNet:
    """Return a network of the right architecture, with any weights."""
    if isinstance(inner, torch.nn.Module):
        return copy_module(inner)
    if inner is None:
        inner = net_of_statistics(
            {name: state["buffers"][name] for name in STATISTICS},
            is_classifier=state["model"]["loss"] == "cross_entropy",
            max_epochs=state["max_epochs"],
            device=resolve_device(device),
        )
    net = initialized_clone(inner, None if device is None else torch.device(device), seed=0)
    if state["classes"] is not None:
        net.classes_inferred_ = state["classes"]
    return net


def _fill(module: torch.nn.Module, state: dict[str, Any]) -> None:
    """Put saved weights and modes into a module of the same architecture."""
    own: dict[str, dict[str, torch.Tensor]] = {
        "parameters": dict(module.named_parameters()),
        "buffers": dict(module.named_buffers()),
    }
    for what, tensors in own.items():
        _check_shapes(what, tensors, state[what])
        for name, tensor in tensors.items():
            tensor.data = state[what][name].to(tensor.device)
    for name, parameter in own["parameters"].items():
        parameter.requires_grad_(name in state["trainable"])
    for name, part in module.named_modules():
        part.training = name in state["training"]


def _check_shapes(what: str, own: dict[str, torch.Tensor], saved: dict[str, torch.Tensor]) -> None:
    def shape(tensors, name):
        if name not in tensors:
            return "missing"
        return "not initialised" if is_lazy(tensors[name]) else tuple(tensors[name].shape)

    for name in [*own, *saved]:
        if shape(own, name) != shape(saved, name):
            raise ValueError(
                f"The network that was given is not the one that was saved: of its {what}, {name} "
                f"is {shape(own, name)}, and was {shape(saved, name)}."
            )
