"""What a fitted attributor writes to a file, and how a file becomes a fitted attributor again."""

import os
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.preprocessing import StandardScaler
from sklearn.utils import Bunch
from skorch import NeuralNet

from sklearn_synset._attribution.choose_plan import Plan
from sklearn_synset._attribution.choose_probes import ProbePlan
from sklearn_synset._attribution.leave_out_networks import LeaveOutNetworks
from sklearn_synset._data.group_assignment import GroupCentres
from sklearn_synset._data.row_source import RowSource
from sklearn_synset._data.training_data import TrainingRows
from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._network.recipe import Recipe
from sklearn_synset._objective.network_set import NetworkSet
from sklearn_synset._persistence.saved_network import (
    check_kind,
    kind_of,
    network_from_state,
    network_state,
)
from sklearn_synset._persistence.saved_recipe import recipe_from_state, recipe_state
from sklearn_synset._persistence.state_file import read_state, write_state
from sklearn_synset._probes.probes import Probes
from sklearn_synset._replay.leave_out import ReplayPlan
from sklearn_synset._replay.rows import ReplayedRows
from sklearn_synset._retraining.leave_out import LeaveOut
from sklearn_synset._retraining.path_remainder import PathRemainder
from sklearn_synset._retraining.preconditioning.input_subspace import InputSubspace
from sklearn_synset._retraining.preconditioning.preconditioner import Preconditioner
from sklearn_synset._retraining.removal import Retraining
from sklearn_synset._retraining.synset import Synset
from sklearn_synset._runtime.torch_interop import keep_global_state

# The dataclasses that fitted state is made of; another one has to be entered here.
_STATE_CLASSES: dict[str, type] = {
    each.__name__: each
    for each in (
        *(GroupCentres, InputSubspace, LeaveOut, LeaveOutNetworks, NetworkSet),
        *(PathRemainder, Plan, Preconditioner, ProbePlan, Probes, ReplayedRows, ReplayPlan),
        *(Retraining, Synset, TrainingRows),
    )
}
_SCALER_ATTRIBUTES = ("mean_", "var_", "scale_", "n_samples_seen_", "n_features_in_")
_NOT_IN_STATE = ("estimator", "estimator_", "estimators_", "_metadata_request")


def save_attributor(attributor: BaseEstimator, path: str | os.PathLike) -> None:
    """Write a fitted attributor to a file; parameters and errors as of `SynsetAttributor.save`."""
    params = attributor.get_params(deep=False)
    estimator = params.pop("estimator")
    models = attributor._online.models
    attributes = {
        name: value
        for name, value in vars(attributor).items()
        if name not in params and name not in _NOT_IN_STATE
    }
    state = {
        "kind": kind_of(estimator),
        "params": params,
        "networks": [
            network_state(network, model)
            for network, model in zip(attributor.estimators_, models, strict=True)
        ],
        "outputs": [_outputs(model, attributor._online.synset.X) for model in models],
        "attributes": attributes,
    }
    write_state(path, state, _encoder(params, models, attributor._online.plans))


def load_attributor(
    cls: type, path: str | os.PathLike, estimator: object, given: dict[str, Any]
) -> BaseEstimator:
    """Read a fitted attributor; parameters and errors as of `SynsetAttributor.load`."""
    unknown = sorted(set(given) - set(cls._get_param_names()))  # type: ignore[attr-defined]
    if unknown:
        raise TypeError(f"{cls.__name__} has no parameters {unknown}.")
    state = read_state(path)
    check_kind(estimator, state.value("kind", {}))
    decoders: dict[str, Callable[[Any], object]] = {
        "callable": _given_callable(given),
        "device": torch.device,
    }
    attributor = cls(estimator, **state.value("params", decoders) | given)
    with keep_global_state():
        saved = state.value("networks", {})
        pairs = [network_from_state(estimator, part, attributor.device) for part in saved]
        networks, models = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        decoders |= _state_decoders(networks, models)
        attributes = state.value("attributes", decoders)
        for model, expected in zip(models, state.value("outputs", {}), strict=True):
            _check_outputs(_outputs(model, attributes["_online"].synset.X), expected)
    if any(hasattr(cls, name) for name in attributes):
        raise ValueError(f"{path} holds attributes that would hide methods.")
    attributes |= {"estimators_": networks, "estimator_": networks[0]}
    vars(attributor).update(attributes)
    return attributor


# Plain values of what is not plain, and back


def _encoder(
    params: dict[str, object],
    models: list[FunctionalModel],
    plans: list[ReplayPlan | Retraining],
) -> Callable[[object], tuple[str, object]]:
    """Return what tells the kind and the content of state that is not plain."""

    def encode(value: object) -> tuple[str, object]:
        if isinstance(value, FunctionalModel):
            return "network", [each is value for each in models].index(True)
        if isinstance(value, Recipe):
            for own, plan in enumerate(plans):
                if isinstance(plan, ReplayPlan) and plan.recipe is value:
                    return "Recipe", (own, recipe_state(value, is_generic=plan.is_generic))
        if type(value).__name__ in _STATE_CLASSES and is_dataclass(value):
            parts = {field.name: getattr(value, field.name) for field in fields(value)}
            return type(value).__name__, parts
        if isinstance(value, RowSource):
            return "RowSource", torch.from_numpy(np.array(value.converted()))
        if type(value) is StandardScaler:
            return "StandardScaler", {name: getattr(value, name) for name in _SCALER_ATTRIBUTES}
        if isinstance(value, Bunch):
            return "Bunch", dict(value)
        if isinstance(value, torch.device):
            return "device", str(value)
        names = [name for name, param in params.items() if param is value]
        if callable(value) and names:
            return "callable", (names[0], getattr(value, "__qualname__", repr(value)))
        raise TypeError(f"{type(value).__name__} cannot be saved.")

    return encode


def _state_decoders(
    networks: list[torch.nn.Module | NeuralNet], models: list[FunctionalModel]
) -> dict[str, Callable[[Any], object]]:
    """Return what makes the fitted state of its parts, with tensors where the networks are."""
    device = models[0].device

    def on_device(part: object) -> object:
        if isinstance(part, list):
            return [on_device(each) for each in part]
        if isinstance(part, dict):
            return {name: on_device(each) for name, each in part.items()}
        return part.to(device) if isinstance(part, torch.Tensor) else part

    def maker(cls: type) -> Callable[[Any], object]:
        return lambda parts: cls(**{name: on_device(part) for name, part in parts.items()})

    def scaler(attributes: dict[str, object]) -> StandardScaler:
        made = StandardScaler()
        vars(made).update({name: attributes[name] for name in _SCALER_ATTRIBUTES})
        return made

    return {
        "network": lambda index: models[index],
        "Recipe": lambda parts: recipe_from_state(networks[parts[0]], models[parts[0]], parts[1]),
        "RowSource": lambda rows: RowSource(rows.numpy(), rows.dtype, device),
        "StandardScaler": scaler,
        "Bunch": lambda items: Bunch(**items),
        **{name: maker(cls) for name, cls in _STATE_CLASSES.items()},
    }


def _given_callable(given: dict[str, Any]) -> Callable[[Any], object]:
    """Return what finds a callable among the parameters given to `load`."""

    def find(content: tuple[str, str]) -> object:
        name, qualified_name = content
        if not callable(given.get(name)):
            raise ValueError(
                f"{name} was the callable {qualified_name}, and a file holds no code; pass it "
                f"again, as load(path, estimator, {name}=...)."
            )
        return given[name]

    return find


# The check that the network is the one that was saved


def _outputs(model: FunctionalModel, X: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(model.theta, X)


def _check_outputs(outputs: torch.Tensor, saved: torch.Tensor) -> None:
    """Raise unless a network computes what it did, up to rounding on another machine."""
    tolerance = torch.finfo(saved.dtype).eps ** 0.5
    scale = float(saved.abs().max()) if saved.numel() else 0.0
    is_same = outputs.shape == saved.shape and torch.allclose(
        outputs.cpu(), saved, rtol=tolerance, atol=tolerance * scale
    )
    if not is_same:
        raise ValueError(
            "The network that was given is not the one that was saved: with the same weights, its "
            "outputs on the synset are others."
        )
