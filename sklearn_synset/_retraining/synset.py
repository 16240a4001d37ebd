"""The synset: a few synthetic rows for every group of the training data."""

from dataclasses import dataclass, replace

import torch

from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._network.training_loss import row_loss


@dataclass(frozen=True, eq=False)
class Synset:
    r"""Synthetic rows that represent what each group of training rows does to a network.

    Parameters
    ----------
    X : Tensor of shape (s, d...)
        Inputs.
    y : Tensor of shape (s, C)
        Targets: class probabilities, or regression values.
    weight : Tensor of shape (s,)
        Training rows that each synset row represents, positive; the sum of their sample weights
        where they have such.
    group : Tensor of shape (s,)
        Group of each row, in [0, K).
    group_size : Tensor of shape (K,)
        Sum of the weights of each group's training rows; all together n.

    Notes
    -----
    Group k's part of the mean loss, :math:`\frac{1}{n} \sum_{i \in k} \ell_i(\theta)`, is
    approximated by :math:`\frac{1}{n} \sum_{j \in S_k} w_j \ell(f_\theta(x_j), y_j)`.
    """

    X: torch.Tensor
    y: torch.Tensor
    weight: torch.Tensor
    group: torch.Tensor
    group_size: torch.Tensor

    @property
    def n_groups(self) -> int:
        """K, the number of groups."""
        return len(self.group_size)

    @property
    def n_rows(self) -> float:
        """Number of training rows n that the synset represents."""
        return float(self.group_size.sum())

    def with_rows(self, X: torch.Tensor, y: torch.Tensor, weight: torch.Tensor) -> "Synset":
        """Replace the rows, group by group; the groups stay as they are."""
        return replace(self, X=X, y=y, weight=weight)


def data_loss(
    model: FunctionalModel, synset: Synset, theta: torch.Tensor, kept: torch.Tensor
) -> torch.Tensor:
    r"""Return the mean loss of the training rows that the synset rows of some groups represent.

    Parameters
    ----------
    model : FunctionalModel
        The network.
    synset : Synset
        Rows.
    theta : Tensor of shape (D,)
        Weights.
    kept : Tensor of shape (K,)
        1 for a group that is kept, 0 for one that is left out.

    Returns
    -------
    loss : Tensor of shape ()
        :math:`\frac{1}{n_R} \sum_{k \in R} \sum_{j \in S_k} w_j \ell(f_\theta(x_j), y_j)` with
        :math:`n_R` the number of training rows in the kept groups R.
    """
    weight = synset.weight * kept[synset.group]
    losses = row_loss(model, model(theta, synset.X, weight), synset.y)
    return (weight * losses).sum() / (synset.group_size * kept).sum()
