"""Gradients of every group's share of the training loss, of real and of synthetic rows."""

import torch
from torch.func import grad, vmap

from sklearn_synset._functional_model import FunctionalModel
from sklearn_synset._row_source import Rows
from sklearn_synset._synset import Synset, row_loss


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


def padded_layout(synset: Synset) -> tuple[torch.Tensor, torch.Tensor]:
    """Lay the synset's rows out as a rectangle with one line a group.

    Parameters
    ----------
    synset : Synset
        Of s rows in K groups of at most m rows.

    Returns
    -------
    position : Tensor of shape (K, m)
        Index of the row; 0 where the group has fewer than m.

    is_row : Tensor of shape (K, m)
        1 where there is a row, 0 where there is padding.
    """
    counts = torch.bincount(synset.group, minlength=synset.n_groups)
    slots = torch.arange(int(counts.max()), device=counts.device)
    is_row = slots[None, :] < counts[:, None]
    position = torch.zeros_like(is_row, dtype=torch.long)
    position[is_row] = torch.argsort(synset.group, stable=True)
    return position, is_row.to(synset.weight.dtype)


def synset_gradients(
    model: FunctionalModel,
    theta: torch.Tensor,
    X: torch.Tensor,
    targets: torch.Tensor,
    weight: torch.Tensor,
) -> torch.Tensor:
    r"""Return the gradient of every group's synset rows; differentiable in the rows.

    Parameters
    ----------
    model : FunctionalModel
        The network.

    theta : Tensor of shape (D,)
        Weights at which to differentiate.

    X : Tensor of shape (K, m, d...)
        Synset rows of K groups.

    targets : Tensor of shape (K, m, C)
        Their targets.

    weight : Tensor of shape (K, m)
        Share :math:`w_j / n` of the training rows that each stands for; 0 for padding.

    Returns
    -------
    gradients : Tensor of shape (K, D)
        :math:`\frac{1}{n} \sum_{j \in S_k} w_j \nabla \ell(f_\theta(x_j), y_j)`.
    """

    def group_loss(point, rows, row_targets, row_weight):
        return (row_weight * row_loss(model, model(point, rows), row_targets)).sum()

    return vmap(grad(group_loss), (None, 0, 0, 0))(theta, X, targets, weight)
