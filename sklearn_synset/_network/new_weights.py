"""New initial weights for a net that holds a module instance instead of a class."""

from collections.abc import Callable

import torch
from skorch import NeuralNet


def starts_anew(net: NeuralNet, *, several: bool = False) -> bool:
    """Tell whether a net's module instance needs new weights before it is trained.

    Parameters
    ----------
    net : NeuralNet
        As the user gave it.
    several : bool, default=False
        Whether it is trained from several seeds.

    Returns
    -------
    starts_anew : bool
        True for an instance that was trained already, inside this net, or that several seeds
        would start from alike. A single training of another starts from the weights it has.
    """
    is_trained = bool(getattr(net, "history_", None))
    return isinstance(net.module, torch.nn.Module) and (several or is_trained)


def reset_parameters(module: torch.nn.Module) -> None:
    """Draw new weights for all layers of a module, in place, by torch's global generator.

    Raises
    ------
    ValueError
        If a layer with parameters has no `reset_parameters`.
    """
    names = layers_without_reset(module)
    if names:
        raise ValueError(
            "The net holds a module instance, and trainings from other seeds (or after a former "
            f"fit) need new initial weights, but {', '.join(names)} has no reset_parameters. Pass "
            "the module's class to the net, with module__ parameters, or add reset_parameters."
        )
    with torch.no_grad():
        for part in module.modules():
            if reset := _reset_of(part):
                reset()


def layers_without_reset(module: torch.nn.Module) -> list[str]:
    """Return the layers with parameters of their own that have no `reset_parameters`."""
    return [
        f"{name or 'itself'} ({type(part).__name__})"
        for name, part in module.named_modules()
        if _reset_of(part) is None and next(part.parameters(recurse=False), None) is not None
    ]


def _reset_of(part: torch.nn.Module) -> Callable[[], None] | None:
    """Return what draws a layer's weights; torch's attention names it in its own way."""
    reset = getattr(part, "reset_parameters", None) or getattr(part, "_reset_parameters", None)
    return reset if callable(reset) else None
