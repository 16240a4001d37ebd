"""Anchors: weights along the paths of leave-out retraining, with the real gradients there."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from sklearn_synset._curvature.group_gradient import training_gradients
from sklearn_synset._data.training_data import TrainingRows
from sklearn_synset._distillation.distance import Distance
from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._retraining.checkpoints import checkpoints
from sklearn_synset._retraining.removal import Retraining
from sklearn_synset._retraining.rewinding import rewound
from sklearn_synset._retraining.synset import Synset

# Paths without a single group are too close to that of all of them to determine curvature.
_SHARE_REMOVED = 0.2
_FARTHEST = 10.0  # norm of an anchor's weights, over that of the trained ones


@dataclass(frozen=True)
class Norm:
    """How gradients are compared.

    Parameters
    ----------
    whiten : callable
        Linear map of gradients (K, D) to what is compared.
    distance : callable
        Maps the synset's and the real whitened gradients to what is to be made small.
    """

    whiten: Callable[[torch.Tensor], torch.Tensor]
    distance: Distance


@dataclass(frozen=True, eq=False)
class Anchor:
    """A point at which the synset has to act as the training rows do.

    Parameters
    ----------
    model : FunctionalModel
        The network.
    theta : Tensor of shape (D,)
        Weights.
    gradients : Tensor of shape (K, D)
        Gradient of each group's training rows there, whitened.
    norm : Norm
        In which gradients are compared.
    """

    model: FunctionalModel
    theta: torch.Tensor
    gradients: torch.Tensor
    norm: Norm

    def distance(self, gradients: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
        """Return how far the gradients (g, D) of some groups (g,) are from their rows'."""
        return self.norm.distance(self.norm.whiten(gradients), self.gradients[groups])


def draw_anchors(
    model: FunctionalModel,
    synset: Synset,
    rows: TrainingRows,
    retraining: Retraining,
    norm: Norm,
    n_anchors: int,
    generator: torch.Generator,
) -> list[Anchor]:
    """Draw anchors from the paths that the current synset leads along.

    Parameters
    ----------
    model : FunctionalModel
        The trained network.
    synset : Synset
        The synset as it is now.
    rows : TrainingRows
        The real rows; each anchor costs one pass over them.
    retraining : Retraining
        What the paths are.
    norm : Norm
        How gradients are compared.
    n_anchors : int
        Anchors to draw. The first two are the rewound and the trained weights; every other one
        of the rest is on the path with all groups, the others each on a path without a random
        fifth of the groups.
    generator : torch.Generator
        On the CPU.

    Returns
    -------
    anchors : list of Anchor
        Of length `n_anchors`, but for those on paths that diverge.
    """
    n_drawn = max(0, n_anchors - 2)
    kept = synset.group_size.new_ones(n_drawn, synset.n_groups)
    n_removed = max(1, round(_SHARE_REMOVED * synset.n_groups))
    for path in range(1, n_drawn, 2):
        kept[path, torch.randperm(synset.n_groups, generator=generator)[:n_removed]] = 0
    # Weights move fast at first: times are spread evenly in their logarithm.
    spread = (torch.arange(n_drawn) + torch.rand(n_drawn, generator=generator)) / max(1, n_drawn)
    times = (float(retraining.n_steps) ** spread).round().long()
    points = [rewound(model, retraining.rewind), model.theta][:n_anchors]
    if n_drawn:
        passed = checkpoints(model, synset, kept, retraining, set(times.tolist()))
        for step in sorted(passed):
            points.extend(passed[step][path].clone() for path in (times == step).nonzero()[:, 0])
    # A path without a group may diverge where that with all groups does not.
    farthest = _FARTHEST * (1 + model.theta.norm())
    points = [point for point in points if point.norm() <= farthest]
    return [
        Anchor(model, point, norm.whiten(training_gradients(model, point, rows)), norm)
        for point in points
    ]
