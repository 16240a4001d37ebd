"""Checkpoints of a retraining: weights that it passes through, for a network as it is evaluated."""

from collections.abc import Collection
from dataclasses import replace

import torch

from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._retraining.batch_norm import in_training, with_statistics
from sklearn_synset._retraining.removal import Retraining, removal_path
from sklearn_synset._retraining.synset import Synset


def checkpoints(
    model: FunctionalModel,
    synset: Synset,
    kept: torch.Tensor,
    retraining: Retraining,
    steps: Collection[int],
) -> dict[int, torch.Tensor]:
    """Retrain without some groups, and return the weights after some of the steps.

    Parameters
    ----------
    model : FunctionalModel
        The trained network.
    synset, kept, retraining
        As of `removal_path`, without a preconditioner; networks have their own gradients.
    steps : collection of int
        Numbers of the steps, from 1 on.

    Returns
    -------
    weights : dict of int to Tensor of shape (R, D)
        By step. With batch normalisation that has live statistics on the way, these are put into
        the weights, see `with_statistics`.
    """
    live = in_training(model, synset.X) if retraining.has_live_norms else None

    def as_evaluated(theta: torch.Tensor) -> torch.Tensor:
        if live is None:
            return theta
        moved = theta - model.theta
        return model.theta + with_statistics(live, synset, kept, moved, retraining.seed)

    own = replace(retraining, linearised=())
    path = removal_path(live or model, synset, kept, own)
    return {step: as_evaluated(theta) for step, theta in enumerate(path, 1) if step in steps}
