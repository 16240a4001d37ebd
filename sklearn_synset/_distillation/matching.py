"""Reversed gradient matching: move the synset's rows until its gradients are the groups'."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch.func import grad, vmap

from sklearn_synset._data.column_statistics import column_statistics
from sklearn_synset._data.row_source import Rows, at_once
from sklearn_synset._distillation.anchors import Anchor
from sklearn_synset._distillation.synset_gradient import padded_layout, synset_gradients
from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._retraining.rewinding import is_single_layer
from sklearn_synset._retraining.synset import Synset

_ANCHORS_PER_STEP = 2
_ROWS_PER_STEP = 500
_FEWEST_GROUPS = 4
_ADAM_BETAS = (0.9, 0.99)
_SMALLEST_PROBABILITY = 1e-3


@dataclass(frozen=True, eq=False)
class RowBounds:
    """What synset rows may be: the box that the training rows fill, and its scales.

    Parameters
    ----------
    lower, upper : Tensor of shape (d...)
        Smallest and largest value of each feature.
    scale : Tensor of shape (d...)
        Standard deviation of each feature.
    target_scale : float
        1 for class probabilities; standard deviation of the values in regression.
    is_probability : bool
        Whether targets are class probabilities.
    """

    lower: torch.Tensor
    upper: torch.Tensor
    scale: torch.Tensor
    target_scale: float
    is_probability: bool


def row_bounds(X: Rows, targets: torch.Tensor, model: FunctionalModel) -> RowBounds:
    """Read the box and the scales off the training rows (n, d...) and targets (n, C)."""
    is_probability = model.loss == "cross_entropy"
    spread = 1.0 if is_probability else float(targets.std(correction=0)) or 1.0
    if len(X) <= at_once(X):
        X = X[:]
        return RowBounds(X.amin(0), X.amax(0), X.std(0, correction=0), spread, is_probability)
    _, scale, lower, upper = column_statistics(X)
    return RowBounds(lower, upper, scale.to(lower), spread, is_probability)


def input_unit(model: FunctionalModel, synset: Synset, bounds: RowBounds) -> torch.Tensor:
    """Return how far each input may move until the row's output has moved by one unit.

    Parameters
    ----------
    model : FunctionalModel
        The trained network.
    synset : Synset
        Of s rows.
    bounds : RowBounds
        Scales of the features and of the targets.

    Returns
    -------
    unit : Tensor of shape (s, d...)
        In proportion to the features' standard deviations; a step of this size in the direction
        in which the network is most sensitive moves its margin by one nat, or its prediction by
        one standard deviation of the targets.
    """

    def response(x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        outputs = model(model.theta, x[None])[0]
        if not bounds.is_probability:
            return outputs.sum() / bounds.target_scale
        others = outputs.masked_fill(target == target.max(), -torch.inf)
        return (target * outputs).sum() - others.logsumexp(-1)

    slope = vmap(grad(response))(synset.X, synset.y) * bounds.scale
    sensitivity = slope.abs().flatten(1).sum(1)
    sensitivity = sensitivity.clamp(min=float(sensitivity.median()) / 2)
    shape = (-1,) + (1,) * (synset.X.ndim - 1)
    return bounds.scale / sensitivity.clamp(min=1e-3).reshape(shape)


@dataclass
class Matching:
    """A distillation under way.

    Parameters
    ----------
    model : FunctionalModel
        The network in whose outputs steps are measured.
    synset : Synset
        The synset to start from.
    bounds : RowBounds
        What its rows may be.
    learning_rate : float
        Step of Adam at the start: what it may move a row's outputs by in nats, the logarithms of
        its weight and of its target's probabilities, and values by in standard deviations.
    max_iter : int
        Steps in all; the learning rate falls to 0 over them as half a cosine.
    loss_curve : list of float
        Gradient distance before each step.
    """

    model: FunctionalModel
    synset: Synset
    bounds: RowBounds
    learning_rate: float
    max_iter: int
    loss_curve: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        synset = self.synset
        self._position, self._is_row = padded_layout(synset)
        # A row that represents itself alone keeps its input and its weight: they are right, and a
        # gradient jumps where such a row crosses a kink. Without kinks it may help its group out.
        is_free = (synset.weight > 1) | is_single_layer(self.model)
        self._is_free = is_free.to(synset.weight)
        free = self._is_free.reshape((-1,) + (1,) * (synset.X.ndim - 1))
        self._unit = input_unit(self.model, synset, self.bounds) * free
        scale = self._unit.clamp(min=torch.finfo(synset.X.dtype).tiny)
        self._box = [(bound - synset.X) / scale for bound in (self.bounds.lower, self.bounds.upper)]
        self._moved = torch.zeros_like(synset.X, requires_grad=True)
        self._targets = self._encoded(synset.y).requires_grad_()
        self._log_factor = torch.zeros_like(synset.weight, requires_grad=True)
        self._adam = torch.optim.Adam(
            [
                {"params": [self._moved, self._log_factor], "unit": 1.0},
                {"params": [self._targets], "unit": self.bounds.target_scale},
            ],
            lr=self.learning_rate,
            betas=_ADAM_BETAS,
        )

    def run(
        self,
        anchors: list[Anchor],
        n_iter: int,
        generator: torch.Generator,
        report: Callable[[float], None],
    ) -> None:
        r"""Take some steps of matching at some anchors.

        Parameters
        ----------
        anchors : list of Anchor
            Two of them, drawn at random, are looked at in each step, on random groups of some 500
            rows together.
        n_iter : int
            Steps to take.
        generator : torch.Generator
            On the CPU.
        report : callable
            Called with the distance after each step.
        """
        for _ in range(n_iter):
            self._set_learning_rate()
            self._adam.zero_grad()
            drawn = torch.randperm(len(anchors), generator=generator)[:_ANCHORS_PER_STEP]
            groups = self._draw_groups(generator)
            with torch.enable_grad():
                losses = [self._distance_at(anchors[i], groups) for i in drawn]
                loss = torch.stack(losses).mean()
            loss.backward()
            self._adam.step()
            self._project()
            self.loss_curve.append(float(loss.detach()))
            report(self.loss_curve[-1])

    def _set_learning_rate(self) -> None:
        progress = min(1.0, len(self.loss_curve) / self.max_iter)
        now = self.learning_rate * (1 + math.cos(math.pi * progress)) / 2
        for group in self._adam.param_groups:
            group["lr"] = now * group["unit"]

    def _rows(self, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return some of the rows as they are now; differentiable."""
        X = self.synset.X[index] + self._unit[index] * self._moved[index]
        factor = (self._is_free[index] * self._log_factor[index]).exp()
        return X, self._decoded(self._targets[index]), self.synset.weight[index] * factor

    def _encoded(self, targets: torch.Tensor) -> torch.Tensor:
        """Class probabilities as their logarithms, so that steps are relative to their size."""
        if not self.bounds.is_probability:
            return targets.clone()
        return targets.clamp(min=_SMALLEST_PROBABILITY).log()

    def _decoded(self, encoded: torch.Tensor) -> torch.Tensor:
        return encoded.softmax(-1) if self.bounds.is_probability else encoded

    def _draw_groups(self, generator: torch.Generator) -> torch.Tensor:
        """Return the groups to look at in a step: all of a small synset, random ones of a large."""
        n_groups, size = self._position.shape
        n_drawn = max(_FEWEST_GROUPS, _ROWS_PER_STEP // size)
        if n_drawn >= n_groups:
            return torch.arange(n_groups)
        return torch.randperm(n_groups, generator=generator)[:n_drawn].sort().values

    def _distance_at(self, anchor: Anchor, groups: torch.Tensor) -> torch.Tensor:
        X, targets, weight = self._rows(self._position[groups])
        share = weight * self._is_row[groups] / self.synset.n_rows
        gradients = synset_gradients(anchor.model, anchor.theta, X, targets, share)
        return anchor.distance(gradients, groups)

    @torch.no_grad()
    def _project(self) -> None:
        """Put the rows back into the box."""
        self._moved.clamp_(*self._box)

    @property
    def result(self) -> Synset:
        """The synset as it is now."""
        everything = torch.arange(len(self.synset.weight), device=self.synset.weight.device)
        X, targets, weight = (part.detach().clone() for part in self._rows(everything))
        return self.synset.with_rows(X, targets, weight)
