"""How long, and in what steps, a network is trained on a synset from rewound weights."""

import math
from dataclasses import replace
from functools import partial

import torch

from sklearn_synset._curvature.power_iteration import N_ITERATIONS, largest_curvature_at
from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._retraining.minibatches import minibatches, n_minibatches
from sklearn_synset._retraining.preconditioning.preconditioner import preconditioner
from sklearn_synset._retraining.removal import Retraining, mean_loss, removal_path
from sklearn_synset._retraining.rewinding import on_the_way, rewound
from sklearn_synset._retraining.synset import Synset, data_loss

# Nesterov descent with this momentum is stable up to 1.36 over the largest curvature.
_STEP_OVER_CURVATURE = 0.7
_N_ITERATIONS_ON_MINIBATCH = 10  # another minibatch differs by more than further iterations change
_N_HALVINGS = 40
_LONGER = 1.5  # than it takes to fit all groups, with a preconditioner
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
    step_size: float | str,
    damping: float,
    generator: torch.Generator,
    is_preconditioned: bool = False,
) -> Retraining:
    """Choose the step size and the number of steps on the whole synset.

    Parameters
    ----------
    model : FunctionalModel
        The trained network.
    synset : Synset
        What it will be trained on.
    rewind, damping : float
        As of `Retraining`.
    n_steps : int
        The most steps to take.
    step_size : float or "auto"
        Length of a step; "auto" is 0.7 over the largest curvature (on a minibatch) at the rewound
        weights, at the trained ones and half-way, halved until the descent does not diverge.
    generator : torch.Generator
        On the CPU; what it was seeded with orders the rows of minibatches.

    is_preconditioned : bool, default=False
        Scale the steps as `preconditioner` does, and train half as long again as follows; for a
        `step_size` of "auto".

    Returns
    -------
    retraining : Retraining
        Its `n_steps` is where the loss on all groups, and the training objective, come back to
        what they are at the trained weights, if that is before the limit; looked at after every
        pass over the synset, or every five steps of a preconditioned one and with live
        statistics of batch normalisation, which take few steps. At a minimum of the
        objective they never do, and all steps are taken.

    Raises
    ------
    FloatingPointError
        If the descent diverges whatever the step size.
    """
    everything = synset.group_size.new_ones(1, synset.n_groups)
    seed, scaled = generator.initial_seed(), None
    some_rows = next(minibatches(synset, seed))

    def loss_on_some_rows(network, theta):
        return mean_loss(network, some_rows, damping, theta, everything[0])

    if is_preconditioned:
        scaled = preconditioner(model, synset, loss_on_some_rows, rewind, seed)
        model = scaled.narrow(model)
    if step_size != "auto":
        size, n_tries = float(step_size), 1
    else:
        root = 1.0 if scaled is None else scaled.scale.sqrt()
        points, loss = on_the_way(model, rewind), partial(loss_on_some_rows, model)
        is_rough = scaled is None and n_minibatches(synset) > 1
        n_iterations = _N_ITERATIONS_ON_MINIBATCH if is_rough else N_ITERATIONS
        curvature = largest_curvature_at(points, loss, generator, root, n_iterations)
        size = _STEP_OVER_CURVATURE / max(_SMALLEST_CURVATURE, curvature)
        n_tries = _N_HALVINGS
    for _ in range(n_tries):
        retraining = Retraining(rewind, n_steps, size, damping, seed, preconditioner=scaled)
        n_needed = _steps_until_fitted(model, synset, everything, retraining)
        if n_needed is not None:
            if scaled is None:
                return replace(retraining, n_steps=n_needed)
            longer = min(math.ceil(_LONGER * n_needed), n_steps)
            return replace(retraining, n_steps=longer, n_fitted=n_needed)
        size /= 2
    if step_size != "auto":
        raise FloatingPointError(
            f"Retraining on the synset diverges at step_size={size * 2:.3g}; lower step_size."
        )
    raise FloatingPointError(
        f"Retraining on the synset diverges whatever the step, down to {size * 2:.3g}: the loss is "
        "too badly conditioned. Scale the features (and the target), or raise weight_decay."
    )


def _steps_until_fitted(
    model: FunctionalModel, synset: Synset, everything: torch.Tensor, retraining: Retraining
) -> int | None:
    """Count the steps until the data are fitted as by the trained weights; None if it diverges."""
    looked_at = next(minibatches(synset, retraining.seed, _ROWS_LOOKED_AT))

    def loss(theta):
        return float(mean_loss(model, looked_at, retraining.damping, theta, everything[0]))

    def loss_of_data(theta):
        return float(data_loss(model, looked_at, theta, everything[0]))

    interval = n_minibatches(synset)
    if retraining.preconditioner is not None or model.live_norms:
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
