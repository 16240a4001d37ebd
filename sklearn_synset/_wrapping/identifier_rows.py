"""Rows that hold identifiers, such as those of an embedding: integers that stay integers."""

from collections.abc import Callable

import numpy as np
import torch
from skorch import NeuralNet

from sklearn_synset._data.input_checks import are_integers
from sklearn_synset._data.row_source import Rows, at_once, row_slices
from sklearn_synset._network.checks import reshape_rows
from sklearn_synset._network.functional_model import FunctionalModel, copy_module
from sklearn_synset._runtime.torch_interop import as_tensor, keep_global_state
from sklearn_synset._wrapping.module_rows import own_ways
from sklearn_synset._wrapping.skorch_net import initialized_clone

_N_TRIED = 50
_N_DIFFERENTIATED = 200


def integer_rows(
    module: torch.nn.Module, X: np.ndarray, input_shape: tuple[int, ...] | None
) -> np.ndarray | None:
    """Return rows as 64-bit integers if the module needs them to be such.

    Parameters
    ----------
    module : Module
        Left as it is.
    X : ndarray of shape (n, d...)
        Training rows, integers or floats.
    input_shape : tuple of int or None
        Shape that flat rows are given.

    Returns
    -------
    rows : ndarray of shape (n, d...), dtype int64, or None
        None if the module does not take integers, or computes the same of floats of its dtype.

    Raises
    ------
    ValueError
        If floats hold integers that are too large for the module's dtype, and the outputs depend
        on what is lost.
    """
    parameter = next(module.parameters(), None)
    if (
        parameter is None
        or parameter.is_meta
        or parameter.is_complex()
        or not X.size
        or X.dtype.kind not in "fiu"
    ):
        return None
    own = copy_module(module).eval()

    def outputs(rows: np.ndarray, dtype: torch.dtype) -> torch.Tensor | None:
        tensor = as_tensor(reshape_rows(rows, input_shape), dtype=dtype, device=parameter.device)
        with keep_global_state(seed=0), torch.no_grad():
            try:
                found = own(tensor)
            except Exception:
                return None
        return found.double() if isinstance(found, torch.Tensor) else None

    if X.dtype.kind != "f":
        return _needed_integers(outputs, X, parameter.dtype)
    changed = _rows_changed(X, parameter.dtype)
    if not len(changed):
        return None
    some = X[changed[:_N_TRIED]]
    if are_integers(X) and outputs(some.astype(np.int64), torch.int64) is not None:
        return X.astype(np.int64)
    exact, rounded = outputs(some, torch.float64), outputs(some, parameter.dtype)
    if exact is not None and rounded is not None and not _are_close(exact, rounded):
        raise ValueError(
            f"X holds integers up to {float(np.abs(some).max()):.0f}, more than the network's "
            f"{parameter.dtype} holds exactly, and its outputs depend on what is lost. If they "
            "are identifiers, number them from 0 on, or pass X with an integer dtype."
        )
    return None


def integers_of(
    network: object, X: np.ndarray, input_shape: tuple[int, ...] | None
) -> np.ndarray | None:
    """Return rows as integers if a module, or that in a skorch net, needs them to be such.

    Parameters
    ----------
    network : Module, NeuralNet or None
        Left as it is. A net with ways of its own to read rows is given integers as they are.
    X, input_shape
        As of `integer_rows`.

    Returns
    -------
    rows : ndarray of shape (n, d...), dtype int64, or None
        As of `integer_rows`.
    """
    if isinstance(network, torch.nn.Module):
        return integer_rows(network, X, input_shape)
    if not isinstance(network, NeuralNet) or not X.size:
        return None
    if own_ways(network):
        return X.astype(np.int64) if X.dtype.kind in "iu" else None
    limit = 2**24  # all integers up to this are exact in float32
    if X.dtype.kind == "f" and (X.dtype == np.float32 or max(X.max(), -X.min()) <= limit):
        return None
    net = network if hasattr(network, "module_") else initialized_clone(network, None, seed=0)
    return integer_rows(net.module_, X, input_shape)


def as_numbers(
    network: object, X: np.ndarray, input_shape: tuple[int, ...] | None
) -> tuple[np.ndarray, bool]:
    """Return rows as floats, or as integers if the network needs such, and whether it does."""
    found = integers_of(getattr(network, "estimator", network), X, input_shape)
    if found is not None:
        return found, True
    return (X if X.dtype.kind == "f" else X.astype(np.float64)), False


def hold_identifiers(model: FunctionalModel, X: Rows) -> bool:
    """Tell whether a network reads some columns of rows (n, d...) as identifiers.

    Parameters
    ----------
    model : FunctionalModel
        The network.
    X : Tensor, RowSource or SelectedRows of shape (n, d...)
        Training rows.

    Returns
    -------
    hold_identifiers : bool
        True for integer rows, and if some column of whole numbers varies but outputs have no slope
        along it on any of up to 200 rows. Averages of such rows are no rows.
    """
    size = min(_N_DIFFERENTIATED, at_once(X), len(X))
    chosen = torch.linspace(0, len(X) - 1, size).long().to(X.device)
    rows = X[chosen]
    if not rows.is_floating_point():
        return True
    whole = (rows == rows.floor()).all(0) & (rows != rows[:1]).any(0)
    if not whole.any():
        return False
    rows = rows.clone().requires_grad_()
    with keep_global_state(seed=0), torch.enable_grad():
        outputs = model(model.theta, rows)
        # Random weights keep outputs from cancelling each other.
        generator = torch.Generator().manual_seed(0)
        weight = torch.rand(outputs.shape, generator=generator, dtype=outputs.dtype)
        total = (outputs * weight.to(outputs.device)).sum()
        slope = None
        if total.requires_grad:
            (slope,) = torch.autograd.grad(total, rows, allow_unused=True)
    return slope is None or bool((whole & (slope == 0).all(0)).any())


def _needed_integers(outputs: Callable, X: np.ndarray, dtype: torch.dtype) -> np.ndarray | None:
    """Return integer rows if the module takes them, and not floats or others of those."""
    some = X[:_N_TRIED]
    found = outputs(some.astype(np.int64), torch.int64)
    if found is None:
        return None
    if not len(_rows_changed(X, dtype)):
        by_floats = outputs(some, dtype)
        if by_floats is not None and _are_close(found, by_floats):
            return None
    return X.astype(np.int64)


def _are_close(first: torch.Tensor, second: torch.Tensor) -> bool:
    is_same = first.shape == second.shape
    return is_same and torch.allclose(first, second, rtol=1e-3, atol=1e-3)


def _rows_changed(X: np.ndarray, dtype: torch.dtype) -> np.ndarray:
    """Return the indices of rows with whole numbers that a dtype does not hold exactly."""
    wanted = torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype
    narrow = torch.empty(0, dtype=wanted).numpy().dtype
    if X.dtype == narrow:
        return np.empty(0, dtype=int)
    found = []
    for rows in row_slices(len(X), at_once(X)):
        part = X[rows].reshape(rows.stop - rows.start, -1)
        with np.errstate(over="ignore", invalid="ignore"):
            is_changed = part.astype(narrow).astype(np.longdouble) != part
        is_whole = part == np.floor(part)
        found.append(rows.start + np.flatnonzero((is_changed & is_whole).any(1)))
    return np.concatenate(found)
