"""Gradients of every group's synset rows, differentiable in the rows."""

import torch
from torch.func import grad, vmap

from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._network.training_loss import row_loss
from sklearn_synset._retraining.synset import Synset


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
        Share :math:`w_j / n` of the training rows that each represents; 0 for padding.

    Returns
    -------
    gradients : Tensor of shape (K, D)
        :math:`\frac{1}{n} \sum_{j \in S_k} w_j \nabla \ell(f_\theta(x_j), y_j)`.
    """

    def group_loss(point, rows, row_targets, row_weight):
        return (row_weight * row_loss(model, model(point, rows), row_targets)).sum()

    return vmap(grad(group_loss), (None, 0, 0, 0))(theta, X, targets, weight)
