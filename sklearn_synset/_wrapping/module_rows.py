"""What the module inside a skorch net receives for a user's rows, and what the net returns."""

import copy
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from skorch.dataset import Dataset, unpack_data
from torch.utils.data import DataLoader, default_collate

from sklearn_synset._data.row_source import row_dtype
from sklearn_synset._network.checks import first_of, reshape_rows
from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._runtime.torch_interop import as_array, as_tensor, keep_global_state
from sklearn_synset._wrapping.default_network import WholeBatches, keep_batch
from sklearn_synset._wrapping.rows_for_net import RowsOnDemand

_N_COMPARED = 50
_ROW_METHODS = (
    "evaluation_step",
    "forward",
    "forward_iter",
    "get_dataset",
    "get_iterator",
    "infer",
)
_SAYS_HOW = "Move what it does into the module's forward, or into the net's dataset or collate_fn."


class _ReceivedError(Exception):
    """Carries what a module was called with."""


class _Receiver(torch.nn.Module):
    """Stands in for a module, and raises what it is called with."""

    def forward(self, *args: Any, **kwargs: Any) -> None:
        raise _ReceivedError(args, kwargs)


def own_ways(net: NeuralNet) -> list[str]:
    """Name what a net does to rows on their way to the module, beyond what skorch does.

    Returns
    -------
    names : list of str
        Empty if the module receives the rows as they are given.
    """
    names = []
    if net.dataset not in (Dataset, WholeBatches):
        names.append(f"dataset={_name(net.dataset)}")
    if net.iterator_valid is not DataLoader:
        names.append(f"iterator_valid={_name(net.iterator_valid)}")
    collate = net.get_params_for("iterator_valid").get("collate_fn")
    if collate not in (None, default_collate, keep_batch):
        names.append(f"iterator_valid__collate_fn={_name(collate)}")
    return names + overridden(net, _ROW_METHODS)


def overridden(net: NeuralNet, methods: tuple[str, ...]) -> list[str]:
    """Return those of a net's methods that are not skorch's own, as "Class.method"."""
    return [
        f"{type(net).__name__}.{name}"
        for name in methods
        if not str(getattr(type(net), name).__module__).startswith("skorch.")
    ]


def module_rows(network: object, X: np.ndarray, input_shape: tuple[int, ...] | None) -> np.ndarray:
    r"""Return the rows that the module inside a network receives.

    Parameters
    ----------
    network : Module or NeuralNet
        A net is initialised.
    X : ndarray of shape (n, d...)
        Rows as the user has them.
    input_shape : tuple of int or None
        Shape that flat rows are given.

    Returns
    -------
    rows : ndarray of shape (n, d...) or (n, e...)
        `X` itself for a module, and for a net that does nothing of its own to rows. Otherwise what
        the net's `dataset`, `collate_fn` and `infer` make of them, at least in the precision of
        `X`.

    Raises
    ------
    TypeError
        If the module receives something else than one tensor.
    ValueError
        If rows are changed at random, or depend on the other rows of their batch.
    """
    if not isinstance(network, NeuralNet) or not own_ways(network):
        return X
    given = rows_of_net(network, X, input_shape)
    with keep_global_state(seed=0), torch.no_grad():
        rows = _received(network, given)
        n_few = min(_N_COMPARED, (len(X) + 1) // 2)
        few = _received(network, given[:n_few])
    ways = ", ".join(own_ways(network))
    if len(rows) != len(X) or not np.array_equal(rows[:n_few], few, equal_nan=True):
        raise ValueError(
            f"The module receives other values for a row when other rows, or other random numbers, "
            f"are around: {ways}. Each row has to become one row, in the same way each time; take "
            "statistics of the data (and random changes) out of it."
        )
    return rows if rows.dtype.kind != "f" else rows.astype(np.promote_types(rows.dtype, X.dtype))


def rows_of_net(net: NeuralNet, X: np.ndarray, input_shape: tuple[int, ...] | None) -> Any:
    """Return a copy of rows (n, d...) in the shape and dtype that a net is called with."""
    given = reshape_rows(X, input_shape)
    parameter = next(net.module_.parameters(), None)
    if given.dtype.kind != "f" or parameter is None:
        return given.copy()
    tensor = as_tensor(given, dtype=parameter.dtype)
    return tensor if tensor.dtype is torch.bfloat16 else as_array(tensor)


def check_training_rows(net: NeuralNet, X: np.ndarray | RowsOnDemand, y: np.ndarray) -> None:
    """Raise a ValueError if batches are put together otherwise in training than in prediction."""
    train, valid = (net.get_params_for(f"iterator_{part}") for part in ("train", "valid"))
    collates = [params.get("collate_fn") or default_collate for params in (train, valid)]
    if collates[0] is collates[1]:
        return
    dataset = net.get_dataset(X, y)
    items = [dataset[row] for row in range(min(_N_COMPARED, len(dataset)))]
    with keep_global_state(seed=0):
        batches = [unpack_data(collate(items))[0] for collate in collates]
    tensors = [isinstance(batch, torch.Tensor) for batch in batches]
    if all(tensors) and not torch.equal(*batches):
        raise ValueError(
            f"The net is trained on other rows than it predicts: iterator_train__collate_fn="
            f"{_name(collates[0])}, but iterator_valid__collate_fn={_name(collates[1])}. Give both "
            "the same."
        )


def check_same_function(
    net: NeuralNet,
    model: FunctionalModel,
    X: np.ndarray,
    rows: np.ndarray,
    input_shape: tuple[int, ...] | None,
) -> None:
    """Raise a ValueError unless the explained function is what the net computes.

    Parameters
    ----------
    net : NeuralNet
        Initialised; put into evaluation mode.
    model : FunctionalModel
        What is explained.
    X : ndarray of shape (n, d...)
        Training rows as the user has them; the first fifty are compared.
    rows : ndarray of shape (n, e...)
        The same rows as the module receives them.
    input_shape : tuple of int or None
        Shape that flat rows of `X` are given.
    """
    with keep_global_state(seed=0), torch.no_grad():
        theirs = first_of(net.forward(rows_of_net(net, X[:_N_COMPARED], input_shape)))
        received = as_tensor(
            rows[:_N_COMPARED], dtype=row_dtype(rows, model.dtype), device=model.device
        )
        ours = model.module_outputs(model.theta, received)
    if not isinstance(theirs, torch.Tensor) or theirs.numel() != ours.numel():
        shown = tuple(theirs.shape) if isinstance(theirs, torch.Tensor) else type(theirs).__name__
        raise ValueError(
            f"{type(net).__name__}.forward returns {shown} for rows for which its module returns "
            f"an output of shape {tuple(ours.shape)}{_because(net)}."
        )
    precision = max(torch.finfo(each.dtype).eps for each in (theirs, ours))
    theirs, ours = theirs.double().cpu().reshape(len(ours), -1), ours.double().cpu()
    tolerance = precision**0.5 * max(1.0, float(theirs.abs().max()))
    wrong = ((theirs - ours).abs() > tolerance).any(1)
    if wrong.any():
        row = int(wrong.nonzero()[0, 0])
        raise ValueError(
            f"{type(net).__name__}.forward computes another function than its module: for training "
            f"row {row} it returns {_shown(theirs[row])}, and the module "
            f"{_shown(ours[row])}{_because(net)}."
        )


def _received(net: NeuralNet, X: np.ndarray) -> np.ndarray:
    """Return what the module is called with for some rows."""
    twin = copy.copy(net)
    vars(twin)["module_"] = _Receiver()
    batches = []
    for batch in twin.get_iterator(twin.get_dataset(X), training=False):
        try:
            twin.evaluation_step(batch, training=False)
        except _ReceivedError as received:
            batches.append(_one_tensor(net, *received.args))
        else:
            raise ValueError(f"The net does not call its module{_because(net)}.")
    return as_array(torch.cat(batches))


def _one_tensor(net: NeuralNet, args: tuple, kwargs: dict) -> torch.Tensor:
    """Return the only input of a module."""
    if len(args) == 1 and not kwargs and isinstance(args[0], torch.Tensor):
        return args[0]
    parts = [type(each).__name__ for each in args] + [f"{name}=" for name in kwargs]
    raise TypeError(
        f"The module must take one tensor, but the net calls it with ({', '.join(parts)})"
        f"{_because(net)}. Wrap it in a module that takes one tensor and cuts it into its inputs."
    )


def _because(net: NeuralNet) -> str:
    ways = own_ways(net)
    return f", because of {', '.join(ways)}. {_SAYS_HOW}"[:-1] if ways else ""


def _shown(values: torch.Tensor) -> str:
    return "[" + ", ".join(f"{value:.4g}" for value in values[:5].tolist()) + "]"


def _name(value: object) -> str:
    return getattr(value, "__name__", None) or type(value).__name__
