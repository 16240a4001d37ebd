"""Checks of a module before any work is spent on it."""

import math
from typing import Any

import numpy as np
import torch
from torch.nn.parameter import is_lazy

from sklearn_synset._data.row_source import row_dtype
from sklearn_synset._runtime.torch_interop import as_tensor, keep_global_state


def probe(
    module: torch.nn.Module,
    X: np.ndarray,
    *,
    input_shape: tuple[int, ...] | None,
    dtype: torch.dtype,
    device: torch.device,
) -> torch.Tensor:
    """Run a module in evaluation mode on the first and the last row, and check what comes.

    Parameters
    ----------
    module : Module
        In evaluation mode.
    X : ndarray of shape (n, d...)
        Training rows.
    input_shape : tuple of int or None
        Shape that flat rows are given.
    dtype, device
        Of the module's weights.

    Returns
    -------
    output : Tensor of shape (2,) or (2, width)
        What the module returned; of a tuple, its first part.
    """
    largest = max(abs(float(X.max())), abs(float(X.min())))
    dtype = row_dtype(X, dtype)
    if dtype.is_floating_point and largest > torch.finfo(dtype).max:
        raise ValueError(
            f"X holds values up to {largest:.2g}, more than the network's {dtype} can hold."
        )
    shaped = reshape_rows(X[[0, -1]], input_shape)
    rows = as_tensor(shaped, dtype=dtype, device=device)
    given = rows.clone()
    with keep_global_state(seed=0), torch.no_grad():
        try:
            output, repeated = first_of(module(given)), first_of(module(rows[[0, 0]]))
        except Exception as error:
            raise ValueError(
                f"The module cannot take rows of shape {tuple(rows.shape)} and {dtype}, with "
                f"input_shape={input_shape}. It says: {error}"
            ) from error
    if not torch.equal(given, rows):
        raise ValueError("The module changes its input in place; let it work on a copy.")
    _check_tensor(output)
    first, tolerance = output[0], torch.finfo(output.dtype).eps ** 0.5
    # NaN belongs to another check.
    if not torch.allclose(first, repeated[0], rtol=tolerance, atol=tolerance, equal_nan=True):
        raise ValueError(
            "The module's output for a row changes with the other rows of its batch, or at random, "
            "in evaluation mode; it cannot be evaluated row by row."
        )
    return output


def first_of(output: Any) -> Any:
    """Return what a module returned, the first part of it if that is a tuple."""
    return output[0] if isinstance(output, tuple) and output else output


def reshape_rows(X: np.ndarray, input_shape: tuple[int, ...] | None) -> np.ndarray:
    r"""Give flat rows the shape that the module takes.

    Parameters
    ----------
    X : ndarray of shape (n, d) or (n, d...)
        Rows; those with more than one dimension stay as they are.
    input_shape : tuple of int or None
        Shape of a row; None keeps rows flat.

    Returns
    -------
    rows : ndarray of shape (n, \*input_shape)
        A view where possible.

    Raises
    ------
    ValueError
        If `input_shape` does not hold the number of features.
    """
    if input_shape is None or X.ndim > 2:
        return X
    if not all(isinstance(size, (int, np.integer)) and size > 0 for size in input_shape):
        raise ValueError(f"input_shape must hold positive integers, got {tuple(input_shape)}.")
    if math.prod(input_shape) != X.shape[1]:
        raise ValueError(
            f"input_shape={tuple(input_shape)} holds {math.prod(input_shape)} values, but a row "
            f"has {X.shape[1]} features."
        )
    return X.reshape(len(X), *input_shape)


def trainable_parameters(module: torch.nn.Module) -> list[tuple[str, torch.nn.Parameter]]:
    """List the parameters that require a gradient, once the module is fit for use.

    Raises
    ------
    ValueError
        If a layer needs the statistics of the batch, a parameter is not initialised or not
        finite, or none requires a gradient.
    TypeError
        If it is TorchScript, which `torch.func` cannot call.
    """
    if isinstance(module, torch.jit.ScriptModule):
        raise TypeError("The module is TorchScript; pass the torch.nn.Module that it was made of.")
    batch_norms = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.BatchNorm3d)
    for name, part in module.named_modules():
        if isinstance(part, batch_norms) and part.running_mean is None:
            raise ValueError(
                f"The module's {name or type(part).__name__} has track_running_stats=False and "
                "uses the statistics of the batch; it cannot be evaluated row by row."
            )
    for name, parameter in module.named_parameters():
        if is_lazy(parameter):
            raise ValueError(f"The module's {name} is not initialised; run the module once.")
        if parameter.is_meta:
            raise ValueError(f"The module's {name} is on the meta device, which holds no weights.")
        if parameter.is_complex():
            raise ValueError(f"The module's {name} is complex; real weights are expected.")
        if not parameter.isfinite().all():
            raise ValueError(f"The module's {name} holds NaN or infinity.")
    trainable = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    if not trainable:
        raise ValueError("The module has no trainable parameter (none has requires_grad=True).")
    return trainable


def _check_tensor(output: object) -> None:
    if not isinstance(output, torch.Tensor):
        raise TypeError(
            "The module must return a tensor, or a tuple whose first part is one; got "
            f"{type(output).__name__}. Wrap it in a module that picks what is to be explained."
        )
    if not output.is_floating_point():
        raise TypeError(f"The module must return a floating tensor, got {output.dtype}.")
    if output.ndim not in (1, 2) or len(output) != 2:
        raise ValueError(
            "The module must return an output of shape (n,) or (n, n_outputs), got "
            f"{tuple(output.shape)} for n=2 rows."
        )


def check_output(output: torch.Tensor, n_outputs: int, loss: str, link: str) -> None:
    """Compare the module's output on two rows with what the loss asks for.

    Parameters
    ----------
    output : Tensor of shape (2,) or (2, width)
        What the module returned.
    n_outputs : int
        Number of classes, or of targets.
    loss, link : str
        As of :class:`~sklearn_synset._network.functional_model.FunctionalModel`.

    Raises
    ------
    ValueError
        If the width is another, or the values are not finite or not what the link takes.
    """
    what = "classes" if loss == "cross_entropy" else "targets"
    is_single = link in ("single_logit", "sigmoid")
    if is_single and n_outputs != 2:
        raise ValueError(f"A model of a single logit expects 2 classes, got {n_outputs}.")
    expected = 1 if is_single else n_outputs
    if output_width(output) != expected:
        raise ValueError(
            f"The module's output width must be {expected} for {n_outputs} {what}, got "
            f"{output_width(output)}.{_width_advice(output_width(output), expected, loss)}"
        )
    if not output.isfinite().all():
        raise ValueError("The module's output on training rows holds NaN or infinity.")
    is_distribution = (output >= 0).all() and ((output.sum(-1) - 1).abs() < 1e-2).all()
    if link == "probability" and not is_distribution:
        raise ValueError(
            "skorch's NeuralNetClassifier with torch.nn.NLLLoss expects a module that returns "
            "probabilities; got rows that are negative or do not sum to 1. For logits use "
            "criterion=torch.nn.CrossEntropyLoss."
        )


def _width_advice(width: int, expected: int, loss: str) -> str:
    """Return what to do about another width than y asks for."""
    if loss != "cross_entropy":
        return ""
    if width == 1:
        return " If y holds values, pass task='regression'."
    is_more = width > expected
    return " If a class has no rows, pass all of them as classes=[...]." if is_more else ""


def output_width(output: torch.Tensor) -> int:
    """Return the number of values per row.

    Parameters
    ----------
    output : Tensor of shape (n,) or (n, width)
        What a module returned.

    Returns
    -------
    width : int
        1 for an output without a second dimension.
    """
    return 1 if output.ndim == 1 else output.shape[1]
