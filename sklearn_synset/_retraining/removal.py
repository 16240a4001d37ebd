"""Leave-out retraining on the synset, for many sets of groups at once."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice

import torch
from torch.func import grad, vmap

from sklearn_synset._curvature.output_jacobian import Linearisation
from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._network.operation_count import networks_at_once
from sklearn_synset._retraining.linearised_gradient import linearised_gradient
from sklearn_synset._retraining.minibatches import minibatches, n_minibatches
from sklearn_synset._retraining.path_remainder import PathRemainder
from sklearn_synset._retraining.preconditioning.first_layer import first_layer
from sklearn_synset._retraining.preconditioning.preconditioner import Preconditioner
from sklearn_synset._retraining.rewinding import rewound
from sklearn_synset._retraining.synset import Synset, data_loss

MOMENTUM = 0.9
_REMAINDER_STEP = 0.5  # together they stay below the limit


@dataclass(frozen=True)
class Retraining:
    """How the network is trained from its rewound weights.

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
    preconditioner : Preconditioner, default=None
        Scales the steps; then it is the network that it narrows that is trained.
    n_fitted : int, default=None
        The step at which displacements have the length that they are given; the last if None.
    has_live_norms : bool, default=False
        Whether it is the network that `in_training` returns that is trained.
    linearised : tuple of str, default=()
        As of `linearised_layers`: then networks without a small part of the data are trained by
        `linearised_gradient` around the path of all groups.
    """

    rewind: float
    n_steps: int
    step_size: float
    damping: float = 0.0
    seed: int = 0
    remainder: PathRemainder | None = field(default=None, compare=False)
    preconditioner: Preconditioner | None = field(default=None, compare=False)
    n_fitted: int | None = None
    has_live_norms: bool = False
    linearised: tuple[str, ...] = ()

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
    model, synset, theta, kept
        As of `data_loss`.
    damping : float
        Strength :math:`\mu` of the pull towards the trained weights.

    Returns
    -------
    objective : Tensor of shape ()
        :math:`\frac{1}{n_R} \sum_{k \in R} \sum_{j \in S_k} w_j \ell(f_\theta(x_j), y_j)
        + \frac{\lambda}{2} \lVert \theta \rVert^2
        + \frac{\mu}{2} \lVert \theta - \theta_T \rVert^2` with :math:`n_R` the number of training
        rows in the kept groups R.
    """
    penalty = model.weight_decay * theta.square().sum()
    if damping:
        penalty = penalty + damping * (theta - model.theta).square().sum()
    return data_loss(model, synset, theta, kept) + 0.5 * penalty


def removal_path(
    model: FunctionalModel, synset: Synset, kept: torch.Tensor, retraining: Retraining
) -> Iterator[torch.Tensor]:
    """Retrain without some groups, for several choices of them side by side.

    Parameters
    ----------
    model : FunctionalModel
        The trained network.
    synset : Synset
        What it is trained on.
    kept : Tensor of shape (R, K)
        For each of R networks, 1 for the groups that it is trained on. If there is a remainder,
        the network is linearised, or it has a `FirstLayer`, the first has all groups: the others'
        gradients are corrected, or approximated, around its path.
    retraining : Retraining
        From where, how long and how fast.

    Yields
    ------
    theta : Tensor of shape (R, D)
        The weights after each step, the last time after `n_steps`.
    """
    decay, pull = model.weight_decay, retraining.damping
    at_once = networks_at_once(model, next(minibatches(synset, retraining.seed)).X)
    scaled = retraining.preconditioner
    layer = None if scaled is None else first_layer(model, scaled.subspace)
    linearisation = None
    if retraining.linearised and len(kept) > 1:
        linearisation = Linearisation(model, list(retraining.linearised))

    def gradient_of_data(rows, points):
        if layer is not None:
            return layer.gradients(rows, points, kept, at_once)
        own = vmap(grad(partial(data_loss, model, rows)), chunk_size=at_once)
        if linearisation is None:
            return own(points, kept)
        return linearised_gradient(linearisation, rows, points, kept, own(points[:1], kept[:1]))

    def gradient(rows, points):
        downhill = gradient_of_data(rows, points)
        downhill.add_(points, alpha=decay)
        return downhill.add_(points - model.theta, alpha=pull) if pull else downhill

    theta = rewound(model, retraining.rewind).expand(len(kept), -1).clone()
    velocity, ahead = torch.zeros_like(theta), torch.empty_like(theta)
    remainder = None
    if retraining.remainder is not None:
        remainder = retraining.remainder.of_networks(kept, synset.group_size)
    for step, rows in enumerate(islice(minibatches(synset, retraining.seed), retraining.n_steps)):
        torch.add(theta, velocity, alpha=MOMENTUM, out=ahead)
        downhill = gradient(rows, ahead)
        if remainder is not None:
            downhill.add_(remainder.at(step, ahead - ahead[:1]))
        velocity.mul_(MOMENTUM)
        if scaled is None:
            velocity.sub_(downhill, alpha=retraining.step_size)
        else:
            velocity.addcmul_(downhill, scaled.scale, value=-retraining.step_size)
        theta = theta + velocity
        yield theta


def displacements(
    model: FunctionalModel, synset: Synset, kept: torch.Tensor, retraining: Retraining
) -> torch.Tensor:
    r"""Return how leaving groups out moves the trained weights.

    Returns
    -------
    displacement : Tensor of shape (R, D)
        :math:`\delta_R = \frac{1}{2} (\delta^{(T)} + c \bar\delta)` with :math:`\delta^{(t)} =
        \theta_R^{(t)} - \theta_\mathrm{all}^{(t)}`: how far training without the groups is from
        training with all of them after t steps. :math:`\bar\delta` is the mean over all steps,
        and c makes it as long as :math:`\delta^{(T)}`, which alone is taken if nothing is rewound.
        With minibatches, the mean over the last pass takes the place of :math:`\delta^{(T)}`. If
        the retraining goes on after all groups are fitted, the whole is multiplied by what makes
        :math:`\delta^{(T)}` as long as it was then. Exactly 0 for a network that nothing is left
        out for.

    Notes
    -----
    Early in a training the effects of groups are small and add up; at its end they have their size,
    but depend on each other. The mean of both predicts sums of effects better, and loses little
    for single ones.
    """
    everything = torch.ones_like(kept[:1])
    n_last, n_steps = min(n_minibatches(synset), retraining.n_steps), retraining.n_steps
    n_fitted = n_steps if retraining.n_fitted is None else retraining.n_fitted
    end, fitted, total, now = torch.zeros((4, len(kept), model.n_parameters)).to(model.theta)
    path = removal_path(model, synset, torch.cat([everything, kept]), retraining)
    for step, theta in enumerate(path, 1):
        torch.sub(theta[1:], theta[:1], out=now)
        total += now
        if n_fitted - n_last < step <= n_fitted:
            fitted.add_(now, alpha=1 / n_last)
        if n_steps - n_last < step:
            end.add_(now, alpha=1 / n_last)
    displacement = (end + _as_long_as(end, total)) / 2 if retraining.rewind else end
    if n_fitted < n_steps:
        displacement *= _lengths(fitted) / _positive(_lengths(end))
    displacement[kept.bool().all(1)] = 0
    return displacement


def _as_long_as(length_of: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
    """Stretch each row of one matrix (R, D) to the length of the other's row."""
    return direction * (_lengths(length_of) / _positive(_lengths(direction)))


def _lengths(vectors: torch.Tensor) -> torch.Tensor:
    """Return the length (R, 1) of each row."""
    return vectors.norm(dim=1, keepdim=True)


def _positive(lengths: torch.Tensor) -> torch.Tensor:
    """Return lengths to divide by, 1 in the place of 0."""
    return torch.where(lengths > 0, lengths, 1)
