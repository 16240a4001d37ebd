"""Gradients of every group's share of the training loss."""

import torch

from sklearn_synset._data.row_source import Rows
from sklearn_synset._data.training_data import TrainingRows
from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._network.training_loss import row_loss
from sklearn_synset._runtime.memory import in_smaller_chunks


def group_gradients(
    model: FunctionalModel,
    theta: torch.Tensor,
    X: Rows,
    targets: torch.Tensor,
    rows_by_group: list[torch.Tensor],
    batch_size: int,
    share: torch.Tensor | None = None,
) -> torch.Tensor:
    r"""Return each group's part of the gradient of the mean training loss.

    Parameters
    ----------
    model : FunctionalModel
        The network.
    theta : Tensor of shape (D,)
        Weights at which to differentiate.
    X : Tensor or RowSource of shape (n, d...)
        Training rows.
    targets : Tensor of shape (n, C)
        Their targets.
    rows_by_group : list of K Tensors
        Row indices of each group.
    batch_size : int
        Most rows to evaluate at once; bounds the memory, not the result.
    share : Tensor of shape (n,), default=None
        Weight of each row's loss; 1 / n if None.

    Returns
    -------
    gradients : Tensor of shape (K, D)
        :math:`g_k(\theta) = \frac{1}{n} \sum_{i \in k} \nabla \ell_i(\theta)`; they add up to the
        gradient of the mean loss. In units of loss per weight.
    """
    gradients = theta.new_zeros(len(rows_by_group), len(theta))
    point = theta.detach().requires_grad_()
    for k, rows in enumerate(rows_by_group):
        for batch in rows.split(batch_size):
            with torch.enable_grad():
                loss = row_loss(model, model(point, X[batch]), targets[batch])
                loss = loss.sum() if share is None else (share[batch] * loss).sum()
            gradients[k] += torch.autograd.grad(loss, point)[0]
    return gradients.div_(len(X)) if share is None else gradients


def training_gradients(
    model: FunctionalModel, theta: torch.Tensor, rows: TrainingRows
) -> torch.Tensor:
    """Return each group's part of the gradient of the mean training loss, (K, D).

    Parameters
    ----------
    model : FunctionalModel
        The network.
    theta : Tensor of shape (D,)
        Weights at which to differentiate.
    rows : TrainingRows
        The training rows, of which fewer are taken at once where memory runs out.

    Returns
    -------
    gradients : Tensor of shape (K, D)
        As of `group_gradients`.
    """

    def gradients(size: int) -> torch.Tensor:
        share = rows.weight / len(rows.weight)
        return group_gradients(model, theta, rows.X, rows.targets, rows.rows_by_group, size, share)

    return in_smaller_chunks(gradients, rows.batch_size, "rows")
