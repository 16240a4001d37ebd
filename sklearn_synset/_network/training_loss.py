"""The loss that a network was trained with, row by row, and the targets that it takes."""

from collections.abc import Callable

import numpy as np
import torch

from sklearn_synset._data.row_source import Rows, RowSource, in_batches, row_dtype
from sklearn_synset._data.training_data import TrainingRows
from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._runtime.memory import in_smaller_chunks
from sklearn_synset._runtime.torch_interop import as_tensor


def row_loss(model: FunctionalModel, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    r"""Return the training loss of each row, for soft targets too.

    Parameters
    ----------
    model : FunctionalModel
        Says which loss, and its scale.
    outputs : Tensor of shape (..., n, C)
        Logits or predictions.
    targets : Tensor of shape (..., n, C)
        Class probabilities or values.

    Returns
    -------
    loss : Tensor of shape (..., n)
        :math:`-\sum_c y_c \log \mathrm{softmax}(f)_c` in nats, for several labels a row
        :math:`\gamma \sum_c \log(1 + e^{f_c}) - y_c f_c`, or
        :math:`\frac{\gamma}{2} \lVert f - y \rVert^2`, with :math:`\gamma` the model's
        `loss_scale`.
    """
    if model.loss == "cross_entropy":
        # Rows last: torch is slow along a last dimension that is short.
        return -(targets.mT * outputs.mT.log_softmax(-2)).sum(-2)
    if model.loss == "binary_cross_entropy":
        return model.loss_scale * (torch.nn.functional.softplus(outputs) - targets * outputs).sum(
            -1
        )
    return 0.5 * model.loss_scale * (outputs - targets).square().sum(-1)


_ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "cross_entropy": lambda outputs: outputs.softmax(-1),
    "binary_cross_entropy": torch.sigmoid,
    "squared_error": lambda outputs: outputs,
}


def one_hot_targets(model: FunctionalModel, y: torch.Tensor) -> torch.Tensor:
    """Return the targets (n, C) of real rows with labels or values y, (n,) or (n, C)."""
    if model.loss == "cross_entropy":
        return torch.nn.functional.one_hot(y, model.n_outputs).to(model.dtype)
    return y.to(model.dtype).reshape(len(y), -1)


def encoded_labels(model: FunctionalModel, target: np.ndarray) -> torch.Tensor:
    """Return codes or values as a tensor that the model's objectives take."""
    dtype = torch.long if model.loss == "cross_entropy" else model.dtype
    return as_tensor(target, dtype=dtype, device=model.device)


def training_rows(
    model: FunctionalModel,
    X: np.ndarray,
    target: np.ndarray,
    codes: np.ndarray,
    batch_size: int,
    sample_weight: np.ndarray | None = None,
) -> TrainingRows:
    """Return the training rows as tensors, on the network's device.

    Parameters
    ----------
    model : FunctionalModel
        The network.
    X : ndarray of shape (n, d...)
        Rows as its module receives them.
    target : ndarray of shape (n,) or (n, C)
        Codes of labels, class probabilities, or values.
    codes : ndarray of shape (n,)
        Group of each row, in [0, K).
    batch_size : int
        Most rows to evaluate at once.
    sample_weight : ndarray of shape (n,), default=None
        Weight of each row's loss, with mean 1; all ones if None.
    """
    rows = RowSource.to_keep(X, row_dtype(X, model.dtype), model.device)
    order = torch.from_numpy(np.argsort(codes, kind="stable")).to(model.device)
    rows_by_group = list(order.split(np.bincount(codes).tolist()))
    if model.loss == "cross_entropy" and target.ndim == 2:
        targets = as_tensor(target, dtype=model.dtype, device=model.device)
    else:
        targets = one_hot_targets(model, encoded_labels(model, target))
    weight = None
    if sample_weight is not None:
        weight = as_tensor(sample_weight, dtype=model.dtype, device=model.device)
    return TrainingRows(rows, targets, rows_by_group, batch_size, weight)


def residual_norm(
    model: FunctionalModel, X: Rows, targets: torch.Tensor, batch_size: int
) -> torch.Tensor:
    r"""Return how badly the trained network fits each row.

    Parameters
    ----------
    model : FunctionalModel
        The network.
    X : Tensor or RowSource of shape (n, d...)
        Rows.
    targets : Tensor of shape (n, C)
        Their targets.
    batch_size : int
        Most rows to evaluate at once.

    Returns
    -------
    residual_norm : Tensor of shape (n,)
        :math:`\lVert \mathrm{softmax}(f(x_i)) - y_i \rVert`, or :math:`\lVert f(x_i) - y_i \rVert`;
        the sigmoid takes the place of the softmax for several labels a row.
    """

    def evaluate(size: int) -> torch.Tensor:
        return in_batches(lambda rows: model(model.theta, X[rows]), len(X), size)

    with torch.no_grad():
        outputs = in_smaller_chunks(evaluate, min(batch_size, len(X)), "rows")
        return (_ACTIVATIONS[model.loss](outputs) - targets).norm(dim=-1)
