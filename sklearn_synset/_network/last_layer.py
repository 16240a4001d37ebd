"""What a module's outputs are: logits, or what a last softmax, log-softmax or sigmoid makes."""

import warnings
from typing import NamedTuple

import numpy as np
import torch

from sklearn_synset._data.row_source import row_dtype
from sklearn_synset._network.checks import first_of, output_width, reshape_rows
from sklearn_synset._runtime.torch_interop import as_tensor, keep_global_state

_N_ROWS = 50
_LAYERS = (torch.nn.Softmax, torch.nn.LogSoftmax, torch.nn.Sigmoid)
# Operations that change the shape of an output and none of its values.
_SHAPES = ("View", "ReshapeAlias", "UnsafeView", "Squeeze", "Unsqueeze", "Alias", "Clone", "ToCopy")
_LOGITS = "Let the module return logits, without an activation at its end."


class LastLayer(NamedTuple):
    """How logits come from a module.

    Parameters
    ----------
    link : {"identity", "single_logit", "softmax", "sigmoid"}
        As of :class:`~sklearn_synset._network.functional_model.FunctionalModel`.
    activation : str or None
        Name of a last layer to leave out first.
    """

    link: str
    activation: str | None = None


class _Outputs(NamedTuple):
    """Outputs (n, c) on some rows, the last operation, and the layer that made it if one did."""

    values: torch.Tensor
    operation: str
    layer: str | None


def read_last_layer(
    module: torch.nn.Module,
    X: np.ndarray,
    *,
    n_outputs: int,
    input_shape: tuple[int, ...] | None,
    dtype: torch.dtype,
    device: torch.device,
) -> LastLayer:
    """Find out how a trained classifier's outputs become logits, from outputs on training rows.

    Parameters
    ----------
    module : Module
        In evaluation mode; that it takes the rows is known.
    X : ndarray of shape (n, d...)
        Training rows, of which the first fifty are tried.
    n_outputs : int
        Number of classes.
    input_shape, dtype, device
        Shape that flat rows are given, and what the module takes.

    Returns
    -------
    last_layer : LastLayer
        The identity for an output of another width, which is for another check.

    Raises
    ------
    ValueError
        If outputs may be logits as well as probabilities, or are probabilities one by one.
    """
    outputs = _outputs(module, X, input_shape, dtype, device)
    width = outputs.values.shape[1]
    if width == 1 and n_outputs == 2:
        return _of_one_output(outputs)
    if width != n_outputs or n_outputs == 1:
        return LastLayer("identity")
    if is_distribution(outputs.values):
        return LastLayer("identity" if outputs.layer else "softmax", outputs.layer)
    if outputs.operation == "LogSoftmax":
        return LastLayer("identity", outputs.layer)
    if outputs.operation in ("Sigmoid", "LogSigmoid"):
        raise ValueError(
            f"The module ends in {outputs.operation} with {width} outputs, which are no "
            f"probabilities of {n_outputs} classes: they do not sum to 1. {_LOGITS}"
        )
    return LastLayer("identity")


def check_last_layer(
    module: torch.nn.Module,
    X: np.ndarray,
    criterion: torch.nn.Module,
    *,
    link: str,
    input_shape: tuple[int, ...] | None,
    dtype: torch.dtype,
    device: torch.device,
) -> None:
    """Compare the outputs of the module in a net with what its criterion takes.

    Parameters
    ----------
    module, X, input_shape, dtype, device
        As of `read_last_layer`.
    criterion : Module
        The net's; it compares with labels.
    link : str
        What makes logits, as read off the criterion.

    Raises
    ------
    ValueError
        If the criterion takes log-probabilities, and these are none.

    Warns
    -----
    UserWarning
        If the criterion takes logits, and these are probabilities: the training is then one with
        two activations.
    """
    outputs = _outputs(module, X, input_shape, dtype, device)
    name = type(criterion).__name__
    if isinstance(criterion, torch.nn.NLLLoss):
        mass = outputs.values.double().logsumexp(1).abs().max()
        if link == "identity" and mass > 1e-2:
            raise ValueError(
                "NLLLoss expects log-probabilities, but the exponentials of the module's outputs "
                f"sum to {float(mass.exp()):.3g}, not 1. End the module in LogSoftmax, or use "
                "criterion=torch.nn.CrossEntropyLoss."
            )
        return
    width = outputs.values.shape[1]
    if outputs.operation in ("Softmax", "Sigmoid") or (width > 1 and is_distribution(outputs[0])):
        warnings.warn(
            f"The module's outputs are probabilities, but {name} takes logits, so that the net was "
            f"trained with an activation too many. It is explained as it was trained. {_LOGITS}",
            UserWarning,
            stacklevel=2,
        )


def check_several_logits(output: torch.Tensor) -> None:
    """Raise a ValueError if outputs (n, L) for several labels a row may be probabilities."""
    if ((output >= 0) & (output <= 1)).all():
        raise ValueError(
            "The module's outputs lie between 0 and 1: several labels a row need logits, whose "
            f"sigmoids are probabilities. {_LOGITS}"
        )


def is_distribution(values: torch.Tensor) -> bool:
    """Tell whether all rows (n, c) are probabilities that sum to 1."""
    sums = values.double().sum(1)
    return bool(((values >= 0).all() & ((sums - 1).abs() < 1e-3).all()).item())


def _of_one_output(outputs: _Outputs) -> LastLayer:
    """Read a single output for two classes."""
    if outputs.operation == "Sigmoid":
        return LastLayer("single_logit" if outputs.layer else "sigmoid", outputs.layer)
    values = outputs.values
    if outputs.operation == "LogSigmoid" or ((values >= 0) & (values <= 1)).all():
        raise ValueError(
            "The module's single output may be a probability or a logit: on training rows it lies "
            f"between {float(values.min()):.3g} and {float(values.max()):.3g}, and no sigmoid is "
            "its last operation. Let the module return the logit of the second class, or end it "
            "in torch.nn.Sigmoid."
        )
    return LastLayer("single_logit")


def _outputs(
    module: torch.nn.Module,
    X: np.ndarray,
    input_shape: tuple[int, ...] | None,
    dtype: torch.dtype,
    device: torch.device,
) -> _Outputs:
    """Run a module on a few rows and look at how its outputs were made."""
    shaped = reshape_rows(X[:_N_ROWS], input_shape)
    rows = as_tensor(shaped, dtype=row_dtype(X, dtype), device=device)
    calls: list[tuple[str, int]] = []
    hooks = [
        part.register_forward_hook(
            lambda part, args, output, name=name: calls.append((name, output.data_ptr()))
        )
        for name, part in module.named_modules()
        if name and isinstance(part, _LAYERS)
    ]
    required = {name: each.requires_grad for name, each in module.named_parameters()}
    try:
        module.requires_grad_(True)
        with keep_global_state(seed=0), torch.enable_grad():
            output = first_of(module(rows))
    finally:
        for hook in hooks:
            hook.remove()
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(required[name])
    operation = _last_operation(output)
    made = [name for name, place in calls if place == output.data_ptr()]
    is_own = len(made) == 1 and sum(name == made[0] for name, _ in calls) == 1
    layer = made[0] if is_own else None
    return _Outputs(output.detach().reshape(len(rows), output_width(output)), operation, layer)


def _last_operation(output: torch.Tensor) -> str:
    """Return the name of the last operation that changed values, without "Backward0"."""
    node = output.grad_fn
    while node is not None:
        name = node.name().partition("Backward")[0]
        if name not in _SHAPES:
            return name
        node = node.next_functions[0][0]
    return ""
