"""The synset: a few synthetic rows for every group of the training data."""

from dataclasses import dataclass, replace

import torch

from sklearn_synset._column_statistics import column_statistics
from sklearn_synset._functional_model import FunctionalModel
from sklearn_synset._memory import in_smaller_chunks
from sklearn_synset._row_source import Rows, at_once, in_batches


@dataclass(frozen=True, eq=False)
class Synset:
    r"""Synthetic rows that stand for what each group of training rows does to a network.

    Parameters
    ----------
    X : Tensor of shape (s, d...)
        Inputs.

    y : Tensor of shape (s, C)
        Targets: class probabilities, or regression values.

    weight : Tensor of shape (s,)
        Training rows that each synset row stands for, positive.

    group : Tensor of shape (s,)
        Group of each row, in [0, K).

    group_size : Tensor of shape (K,)
        Training rows in each group; their sum is n.

    Notes
    -----
    Group k's part of the mean loss, :math:`\frac{1}{n} \sum_{i \in k} \ell_i(\theta)`, is stood
    for by :math:`\frac{1}{n} \sum_{j \in S_k} w_j \ell(f_\theta(x_j), y_j)`.
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
        """Number of training rows n that the synset stands for."""
        return float(self.group_size.sum())

    def with_rows(self, X: torch.Tensor, y: torch.Tensor, weight: torch.Tensor) -> "Synset":
        """Replace the rows, group by group; the groups stay as they are."""
        return replace(self, X=X, y=y, weight=weight)


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
        :math:`-\sum_c y_c \log \mathrm{softmax}(f)_c` in nats, or
        :math:`\frac{\gamma}{2} \lVert f - y \rVert^2` with :math:`\gamma` the model's
        `loss_scale`.
    """
    if model.loss == "cross_entropy":
        # Rows last: torch is slow along a last dimension that is short.
        return -(targets.mT * outputs.mT.log_softmax(-2)).sum(-2)
    return 0.5 * model.loss_scale * (outputs - targets).square().sum(-1)


def data_loss(
    model: FunctionalModel, synset: Synset, theta: torch.Tensor, kept: torch.Tensor
) -> torch.Tensor:
    r"""Return the mean loss of the training rows that the synset rows of some groups stand for.

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


def one_hot_targets(model: FunctionalModel, y: torch.Tensor) -> torch.Tensor:
    """Return the targets (n, C) of real rows with labels or values y, (n,) or (n, C)."""
    if model.loss == "cross_entropy":
        return torch.nn.functional.one_hot(y, model.n_outputs).to(model.dtype)
    return y.to(model.dtype).reshape(len(y), -1)


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
        :math:`\lVert \mathrm{softmax}(f(x_i)) - y_i \rVert`, or :math:`\lVert f(x_i) - y_i \rVert`.
    """

    def evaluate(size: int) -> torch.Tensor:
        return in_batches(lambda rows: model(model.theta, X[rows]), len(X), size)

    with torch.no_grad():
        outputs = in_smaller_chunks(evaluate, min(batch_size, len(X)), "rows")
        fitted = outputs.softmax(-1) if model.loss == "cross_entropy" else outputs
        return (fitted - targets).norm(dim=-1)


def target_scale(rows: Rows, targets: torch.Tensor) -> torch.Tensor:
    """Return the factor by which targets (n, C) spread as far as rows (n, d...), 0 if equal."""
    spread, target_spread = spread_of(rows), spread_of(targets)
    return torch.where(target_spread > 0, spread / target_spread, 0.0)


def spread_of(rows: Rows) -> torch.Tensor:
    """Return the root mean squared distance of rows (n, d...) from their mean."""
    if len(rows) <= at_once(rows):
        rows = rows[:].flatten(1)
        return (rows - rows.mean(0)).square().sum(1).mean().sqrt()
    return column_statistics(rows).scale.square().sum().sqrt().to(rows[:1])
