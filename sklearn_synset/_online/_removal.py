"""Leave-out retraining on the synset, for many sets of groups at once."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice

import torch
from torch.func import grad, vmap

from sklearn_synset._functional_model import FunctionalModel
from sklearn_synset._online._curvature import largest_curvature
from sklearn_synset._online._minibatches import minibatches, n_minibatches
from sklearn_synset._online._path_remainder import PathRemainder
from sklearn_synset._online._rewinding import on_the_way, rewound
from sklearn_synset._synset import Synset, row_loss

MOMENTUM = 0.9
# Nesterov descent with this momentum is stable up to 1.36 over the largest curvature.
_STEP_OVER_CURVATURE = 0.7
_REMAINDER_STEP = 0.5  # together they stay below the limit
_N_HALVINGS = 40
_SMALLEST_CURVATURE = 1e-6  # where every row is fitted, there is none to speak of
_ROUNDING_UNITS = 10
_ROUNDING = 1e-6  # of the loss of a network that fits exactly


@dataclass(frozen=True)
class Retraining:
    """How the network is trained again from its rewound weights.

    Parameters
    ----------
    rewind : float
        Share of the weights that is taken away first, see `rewound`.

    n_steps : int
        Steps of gradient descent with Nesterov momentum 0.9.

    step_size : float
        Length of a step, in squared weights per loss.

    damping : float
        Strength of the pull towards the trained weights, in loss per squared weight.

    seed : int, default=0
        Of the order in which a large synset's rows are seen, the same for all networks.

    remainder : PathRemainder, default=None
        What the training rows' gradients have on the path and the synset's have not.
    """

    rewind: float
    n_steps: int
    step_size: float
    damping: float = 0.0
    seed: int = 0
    remainder: PathRemainder | None = field(default=None, compare=False)

    def as_long_as(self, other: "Retraining", max_steps: int) -> "Retraining":
        """Return the plan with as many steps as take the other's time, up to a limit."""
        n_steps = round(other.n_steps * other.step_size / self.step_size)
        return replace(self, n_steps=min(max(n_steps, 1), max_steps))

    def with_remainder(self, remainder: PathRemainder | None) -> "Retraining":
        """Return the plan with a remainder, in shorter steps if its curvature asks for them."""
        if remainder is None:
            return self
        factor = max(1.0, self.step_size * remainder.largest_curvature / _REMAINDER_STEP)
        return replace(
            self,
            n_steps=math.ceil(self.n_steps * factor),
            step_size=self.step_size / factor,
            remainder=remainder.slower(factor),
        )

    def regrouped(self, shares: torch.Tensor) -> "Retraining":
        """Return the plan for other groups, made of shares (G, K) of these."""
        if self.remainder is None:
            return self
        return replace(self, remainder=self.remainder.regrouped(shares))


def mean_loss(
    model: FunctionalModel,
    synset: Synset,
    damping: float,
    theta: torch.Tensor,
    kept: torch.Tensor,
) -> torch.Tensor:
    r"""Return the training objective on the groups that are kept.

    Parameters
    ----------
    model : FunctionalModel
        The network.

    synset : Synset
        What it is trained on.

    damping : float
        Strength :math:`\mu` of the pull towards the trained weights.

    theta : Tensor of shape (D,)
        Weights.

    kept : Tensor of shape (K,)
        1 for a group that is kept, 0 for one that is left out.

    Returns
    -------
    objective : Tensor of shape ()
        :math:`\frac{1}{n_R} \sum_{k \in R} \sum_{j \in S_k} w_j \ell(f_\theta(x_j), y_j)
        + \frac{\lambda}{2} \lVert \theta \rVert^2
        + \frac{\mu}{2} \lVert \theta - \theta_T \rVert^2` with :math:`n_R` the number of training
        rows in the kept groups R.
    """
    weight = synset.weight * kept[synset.group]
    data = (weight * row_loss(model, model(theta, synset.X), synset.y)).sum()
    penalty = model.weight_decay * theta.square().sum()
    if damping:
        penalty = penalty + damping * (theta - model.theta).square().sum()
    return data / (synset.group_size * kept).sum() + 0.5 * penalty


def removal_path(
    model: FunctionalModel, synset: Synset, kept: torch.Tensor, retraining: Retraining
) -> Iterator[torch.Tensor]:
    """Train again without some groups, for several choices of them side by side.

    Parameters
    ----------
    model : FunctionalModel
        The trained network.

    synset : Synset
        What it is trained on.

    kept : Tensor of shape (R, K)
        For each of R networks, 1 for the groups that it is trained on. If there is a remainder,
        the first has all groups: around its path the others' gradients are corrected.

    retraining : Retraining
        From where, how long and how fast.

    Yields
    ------
    theta : Tensor of shape (R, D)
        The weights after each step, the last time after `n_steps`.
    """

    def gradient(rows, points):
        def objective(point, kept_groups):
            return mean_loss(model, rows, retraining.damping, point, kept_groups)

        return vmap(grad(objective), (0, 0))(points, kept)

    theta = rewound(model, retraining.rewind).expand(len(kept), -1).clone()
    velocity = torch.zeros_like(theta)
    remainder = None
    if retraining.remainder is not None:
        remainder = retraining.remainder.of_networks(kept, synset.group_size)
    for step, rows in enumerate(islice(minibatches(synset, retraining.seed), retraining.n_steps)):
        ahead = theta + MOMENTUM * velocity
        downhill = gradient(rows, ahead)
        if remainder is not None:
            downhill = downhill + remainder.at(step, ahead - ahead[:1])
        velocity = MOMENTUM * velocity - retraining.step_size * downhill
        theta = theta + velocity
        yield theta


def displacements(
    model: FunctionalModel, synset: Synset, kept: torch.Tensor, retraining: Retraining
) -> torch.Tensor:
    r"""Return how leaving groups out moves the trained weights.

    Parameters
    ----------
    model, synset, kept, retraining
        As of `removal_path`.

    Returns
    -------
    displacement : Tensor of shape (R, D)
        :math:`\delta_R = \frac{1}{2} (\delta^{(T)} + c \bar\delta)` with :math:`\delta^{(t)} =
        \theta_R^{(t)} - \theta_\mathrm{all}^{(t)}`: how far training without the groups is from
        training with all of them after t steps. :math:`\bar\delta` is the mean over all steps,
        and c makes it as long as :math:`\delta^{(T)}`, which alone is taken if nothing is rewound.
        With minibatches, the mean over the last pass takes the place of :math:`\delta^{(T)}`.
        Exactly 0 for a network that nothing is left out for.

    Notes
    -----
    Early in a training the effects of groups are small and add up; at its end they have their size,
    but depend on each other. The mean of both foretells sums of effects better, and loses little
    for single ones.
    """
    everything = torch.ones_like(kept[:1])
    n_last = min(n_minibatches(synset), retraining.n_steps)
    end = total = torch.zeros(())
    path = removal_path(model, synset, torch.cat([everything, kept]), retraining)
    for step, theta in enumerate(path):
        now = theta[1:] - theta[:1]
        total = total + now
        if step >= retraining.n_steps - n_last:
            end = end + now / n_last
    displacement = (end + _as_long_as(end, total)) / 2 if retraining.rewind else end
    displacement[kept.bool().all(1)] = 0
    return displacement


def _as_long_as(length_of: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
    """Stretch each row of one matrix (R, D) to the length of the other's row."""
    length = direction.norm(dim=1, keepdim=True)
    return direction * (length_of.norm(dim=1, keepdim=True) / torch.where(length > 0, length, 1))


def plan_retraining(
    model: FunctionalModel,
    synset: Synset,
    *,
    rewind: float,
    n_steps: int,
    step_size: float | str,
    damping: float,
    generator: torch.Generator,
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

    Returns
    -------
    retraining : Retraining
        Its `n_steps` is where the loss on all groups, and the training objective, come back to
        what they are at the trained weights, if that is before the limit; looked at after every
        pass over the synset. At a minimum of the objective they never do, and all steps are taken.

    Raises
    ------
    FloatingPointError
        If the descent diverges whatever the step size.
    """
    everything = synset.group_size.new_ones(1, synset.n_groups)
    seed = generator.initial_seed()
    some_rows = next(minibatches(synset, seed))

    def loss(theta):
        return mean_loss(model, synset, damping, theta, everything[0])

    def loss_on_some_rows(theta):
        return mean_loss(model, some_rows, damping, theta, everything[0])

    if step_size != "auto":
        size, n_tries = float(step_size), 1
    else:
        size = _STEP_OVER_CURVATURE / _curvature_on_the_way(
            model, loss_on_some_rows, rewind, generator
        )
        n_tries = _N_HALVINGS
    for _ in range(n_tries):
        retraining = Retraining(rewind, n_steps, size, damping, seed)
        n_needed = _steps_until_fitted(model, synset, everything, retraining, loss)
        if n_needed is not None:
            return replace(retraining, n_steps=n_needed)
        size /= 2
    if step_size != "auto":
        raise FloatingPointError(
            f"Retraining on the synset diverges at step_size={size * 2:.3g}; lower step_size."
        )
    raise FloatingPointError(
        f"Retraining on the synset diverges whatever the step, down to {size * 2:.3g}: the loss is "
        "too badly conditioned. Scale the features (and the target), or raise damping or "
        "weight_decay; step_size sets a step of your own."
    )


def _curvature_on_the_way(
    model: FunctionalModel,
    loss: Callable[[torch.Tensor], torch.Tensor],
    rewind: float,
    generator: torch.Generator,
) -> float:
    """Largest curvature at the rewound weights, at the trained ones, and half-way."""
    found = [largest_curvature(loss, point, generator) for point in on_the_way(model, rewind)]
    return max(
        [_SMALLEST_CURVATURE] + [curvature for curvature in found if math.isfinite(curvature)]
    )


def _steps_until_fitted(
    model: FunctionalModel,
    synset: Synset,
    everything: torch.Tensor,
    retraining: Retraining,
    loss: Callable[[torch.Tensor], torch.Tensor],
) -> int | None:
    """Count the steps until the data are fitted as by the trained weights; None if it diverges."""

    def data_loss(theta):
        return (synset.weight * row_loss(model, model(theta, synset.X), synset.y)).sum()

    with torch.no_grad():
        goal, data_goal = float(loss(model.theta)), float(data_loss(model.theta))
        # At a minimum, rounding alone would decide at which step the objective is back.
        goal_beyond_rounding = goal - _ROUNDING_UNITS * torch.finfo(model.dtype).eps * abs(goal)
        ceiling = 2 * max(float(loss(rewound(model, retraining.rewind))), goal) + _ROUNDING
        for step, theta in enumerate(removal_path(model, synset, everything, retraining), 1):
            if step % n_minibatches(synset):
                continue
            now = float(loss(theta[0]))
            if not now <= ceiling:
                return None
            # A path that overshoots fits the data early, but not the data and the penalty.
            is_fitted = now <= goal_beyond_rounding and float(data_loss(theta[0])) <= data_goal
            if retraining.rewind and is_fitted:
                return step
    return retraining.n_steps
