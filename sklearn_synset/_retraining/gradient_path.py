"""Weights along the retraining path at which gradients of training rows are taken."""

from dataclasses import dataclass

import torch
from torch.func import grad, vmap

from sklearn_synset._curvature.group_gradient import training_gradients
from sklearn_synset._data.training_data import TrainingRows
from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._network.training_loss import row_loss
from sklearn_synset._retraining.checkpoints import checkpoints
from sklearn_synset._retraining.removal import MOMENTUM, Retraining
from sklearn_synset._retraining.rewinding import rewound
from sklearn_synset._retraining.synset import Synset

_N_ANCHORS = 6
_DAMPING = 2.0  # over the length of the retraining


@dataclass(frozen=True, eq=False)
class GradientPath:
    r"""Weights at which rows' gradients are taken, and how much each of them counts.

    Parameters
    ----------
    points : list of L Tensors of shape (D,)
        Weights on the retraining path.
    share : Tensor of shape (L,)
        Shares of the retraining, adding up to 1.
    damping : float
        One over the length of the path, times two; 0 at a minimum.
    """

    points: list[torch.Tensor]
    share: torch.Tensor
    damping: float

    @property
    def is_a_minimum(self) -> bool:
        """Whether the trained weights are a minimum, and gradients are taken there alone."""
        return self.damping == 0

    def gradients(
        self, model: FunctionalModel, X: torch.Tensor, targets: torch.Tensor
    ) -> torch.Tensor:
        """Return the mean gradient (n, D) of each row's loss over the path."""
        parts = zip(self.share.tolist(), self.points, strict=True)
        share, point = next(parts)
        total = row_gradients(model, point, X, targets).mul_(share)
        for share, point in parts:
            total.add_(row_gradients(model, point, X, targets), alpha=share)
        return total

    def group_gradients(self, model: FunctionalModel, rows: TrainingRows) -> torch.Tensor:
        """Return each group's part of the gradient of the mean loss, mean over the path, (K, D)."""
        total = model.theta.new_zeros(len(rows.rows_by_group), model.n_parameters)
        for share, point in zip(self.share.tolist(), self.points, strict=True):
            total.add_(training_gradients(model, point, rows), alpha=share)
        return total


def row_gradients(
    model: FunctionalModel, theta: torch.Tensor, X: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """Return the gradient (n, D) of every row's loss at some weights (D,)."""

    def loss(point, x, target):
        return row_loss(model, model(point, x[None]), target[None])[0]

    return vmap(grad(loss), (None, 0, 0))(theta, X, targets)


def retraining_path(model: FunctionalModel, synset: Synset, retraining: Retraining) -> GradientPath:
    r"""Choose anchors on the path on which the synset trains the network again.

    Returns
    -------
    path : GradientPath
        At most 6 points, denser where the weights still move fast. Gradients between them are
        interpolated, and each step counts by what it can still move,
        :math:`\eta (1 - \beta^{T - t}) / (1 - \beta)` for step size :math:`\eta` and momentum
        :math:`\beta`; the damping is twice the reciprocal of the sum of that.
    """
    n_steps = retraining.n_steps
    spread = [round(n_steps ** (part / (_N_ANCHORS - 1))) for part in range(1, _N_ANCHORS)]
    times = sorted({0, *spread})
    everything = torch.ones_like(synset.group_size)[None]
    points = {0: rewound(model, retraining.rewind)[None]}
    points |= checkpoints(model, synset, everything, retraining, times)
    steps = torch.arange(n_steps, dtype=torch.float64)
    reach = retraining.step_size * (1 - MOMENTUM ** (n_steps - steps)) / (1 - MOMENTUM)
    knots = torch.tensor(times, dtype=torch.float64)
    after = torch.bucketize(steps, knots, right=True)
    part = (steps - knots[after - 1]) / (knots[after] - knots[after - 1])
    share = torch.zeros(len(times), dtype=torch.float64)
    share.index_add_(0, after - 1, reach * (1 - part)).index_add_(0, after, reach * part)
    length = float(reach.sum())
    return GradientPath([points[time][0] for time in times], share / length, _DAMPING / length)
