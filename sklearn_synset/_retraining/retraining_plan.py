"""How long, and in what steps, a network is trained on a synset from rewound weights."""

from dataclasses import replace
from functools import partial

import torch

from sklearn_synset._curvature.power_iteration import N_ITERATIONS, largest_curvature_at
from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._retraining.minibatches import minibatches, n_minibatches
from sklearn_synset._retraining.removal import Retraining, mean_loss, removal_path
from sklearn_synset._retraining.rewinding import on_the_way, rewound
from sklearn_synset._retraining.synset import Synset, data_loss

# Nesterov descent with this momentum is stable up to 1.36 over the largest curvature.
_STEP_OVER_CURVATURE = 0.7
_N_ITERATIONS_ON_MINIBATCH = 10  # another minibatch differs by more than further iterations change
_N_HALVINGS = 40
_INTERVAL = 5
_ROWS_LOOKED_AT = 2000  # about, whether they are fitted
_SMALLEST_CURVATURE = 1e-6  # a floor, for networks that fit every row
_ROUNDING_UNITS = 10
_ROUNDING = 1e-6  # of the loss of a network that fits exactly


def plan_retraining(
    model: FunctionalModel,
    synset: Synset,
    *,
    rewind: float,
    n_steps: int,
    generator: torch.Generator,
) -> Retraining:
    """Choose the step size and the number of steps on the whole synset.

    Parameters
    ----------
    model : FunctionalModel
        The trained network.
    synset : Synset
        What it will be trained on.
    rewind : float
        As of `Retraining`.
    n_steps : int
        The most steps to take.
    generator : torch.Generator
        On the CPU; what it was seeded with orders the rows of minibatches.

    Returns
    -------
    retraining : Retraining
        Its `step_size` is 0.7 over the largest curvature (on a minibatch) at the rewound weights,
        at the trained ones and half-way, halved until the descent does not diverge. Its `n_steps`
        is where the loss on all groups, and the training objective, come back to what they are at
        the trained weights, if that is before the limit; looked at after every pass over the
        synset, or every five steps with live statistics of batch normalisation, which take few
        steps. At a minimum of the objective they never do, and all steps are taken.

    Raises
    ------
    FloatingPointError
        If the descent diverges whatever the step size.
    """
    everything = synset.group_size.new_ones(1, synset.n_groups)
    seed = generator.initial_seed()
    loss = partial(_mean_loss_of, model, next(minibatches(synset, seed)), everything[0])
    n_iterations = _N_ITERATIONS_ON_MINIBATCH if n_minibatches(synset) > 1 else N_ITERATIONS
    curvature = largest_curvature_at(on_the_way(model, rewind), loss, generator, n_iterations)
    size = _STEP_OVER_CURVATURE / max(_SMALLEST_CURVATURE, curvature)
    for _ in range(_N_HALVINGS):
        retraining = Retraining(rewind, n_steps, size, seed)
        n_needed = _steps_until_fitted(model, synset, everything, retraining)
        if n_needed is not None:
            return replace(retraining, n_steps=n_needed)
        size /= 2
    raise FloatingPointError(
        f"Retraining on the synset diverges whatever the step, down to {size * 2:.3g}: the loss is "
        "too badly conditioned. Scale the features (and the target), or raise weight_decay."
    )


def _mean_loss_of(
    model: FunctionalModel, rows: Synset, kept: torch.Tensor, theta: torch.Tensor
) -> torch.Tensor:
    return mean_loss(model, rows, theta, kept)


def _steps_until_fitted(
    model: FunctionalModel, synset: Synset, everything: torch.Tensor, retraining: Retraining
) -> int | None:
    """Count the steps until the data are fitted as by the trained weights; None if it diverges."""
    looked_at = next(minibatches(synset, retraining.seed, _ROWS_LOOKED_AT))

    def loss(theta):
        return float(mean_loss(model, looked_at, theta, everything[0]))

    def loss_of_data(theta):
        return float(data_loss(model, looked_at, theta, everything[0]))

    interval = n_minibatches(synset)
    if model.live_norms:
        interval = min(interval, _INTERVAL)
    with torch.no_grad():
        goal, data_goal = loss(model.theta), loss_of_data(model.theta)
        # At a minimum, rounding alone would decide at which step the objective is back.
        goal_beyond_rounding = goal - _ROUNDING_UNITS * torch.finfo(model.dtype).eps * abs(goal)
        ceiling = 2 * max(loss(rewound(model, retraining.rewind)), goal) + _ROUNDING
        for step, theta in enumerate(removal_path(model, synset, everything, retraining), 1):
            if step % interval:
                continue
            now = loss(theta[0])
            if not now <= ceiling:
                return None
            # A path that overshoots fits the data early, but not the data and the penalty.
            is_fitted = now <= goal_beyond_rounding and loss_of_data(theta[0]) <= data_goal
            if retraining.rewind and is_fitted:
                return step
    return retraining.n_steps
