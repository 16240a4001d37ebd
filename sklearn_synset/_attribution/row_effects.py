"""What single training rows do to queries, to first order, along the retraining path."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch.func import grad, vmap

from sklearn_synset._curvature.inverse import InverseCurvature, inverse_curvature
from sklearn_synset._data.row_source import Rows
from sklearn_synset._data.training_data import TrainingRows
from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._objective.objective import Objective
from sklearn_synset._retraining.gradient_path import GradientPath, retraining_path
from sklearn_synset._retraining.removal import Retraining
from sklearn_synset._retraining.synset import Synset

_STATIONARY = 0.1  # of what leaving out one row does to the gradient
_MAX_CURVATURE_ROWS = 2000
_NUMBERS_AT_ONCE = 2**22


@dataclass(frozen=True, eq=False)
class RowEffects:
    r"""First-order effects of leaving out single training rows of one network.

    Parameters
    ----------
    model : FunctionalModel
        The trained network.
    rows : TrainingRows
        The training rows.
    synset : Synset
        What the network is trained on again.
    retraining : Retraining
        How.
    seed : int
        Seed of the curvature's random directions.

    Notes
    -----
    Leaving out row i, of weight :math:`s_i`, moves the trained weights by about
    :math:`\frac{s_i}{n} (H + \lambda)^{-1} (\bar g_i - \bar g)`, an influence function [1]_
    but for its gradient: :math:`\bar g_i` is the mean gradient of the row's loss along the path
    on which the network is retrained from rewound weights, and :math:`\bar g` its mean over
    rows. At the trained weights alone, rows that were learnt long ago have no gradient left. H is
    the Gauss-Newton matrix at the trained weights, of the training rows if there are up to 2,000
    and of the synset otherwise, :math:`\lambda` the weight decay and damping plus twice the
    reciprocal of the path's length: directions of less curvature do not settle on it.

    Where the trained weights are a minimum of the training objective (its gradient is less than a
    tenth of what leaving out a row makes it), how they were found does not matter: gradients are
    taken there alone, and :math:`\lambda` is only the weight decay and damping.

    References
    ----------
    .. [1] Koh, Liang, "Understanding black-box predictions via influence functions", ICML 2017,
       section 2.
    """

    model: FunctionalModel
    rows: TrainingRows
    synset: Synset
    retraining: Retraining
    seed: int

    @cached_property
    def path(self) -> GradientPath:
        """Where gradients are taken."""
        here = GradientPath([self.model.theta], torch.ones(1), 0.0)
        total, squares = torch.zeros_like(self.model.theta), 0.0
        for rows, gradients in self._batches(here):
            gradients *= self.rows.weight[rows, None]
            total += gradients.sum(0)
            squares += float(gradients.square().sum())
        slope = total / self.n_rows + self.model.weight_decay * self.model.theta
        of_one_row = (squares / self.n_rows) ** 0.5 / self.n_rows
        if float(slope.norm()) <= _STATIONARY * of_one_row:
            return here
        return retraining_path(self.model, self.synset, self.retraining)

    @cached_property
    def mean_gradient(self) -> torch.Tensor:
        """Mean (D,) of all rows' gradients along the path."""
        everything = [torch.arange(self.n_rows, device=self.model.device)]
        rows = replace(self.rows, rows_by_group=everything)
        return self.path.group_gradients(self.model, rows)[0]

    @cached_property
    def inverse_curvature(self) -> InverseCurvature:
        """The inverse of the curvature at the trained weights."""
        generator = torch.Generator().manual_seed(self.seed)
        if self.n_rows <= _MAX_CURVATURE_ROWS:
            return inverse_curvature(
                self.model, self.rows.X[:], self.rows.positive_weight, generator
            )
        return inverse_curvature(self.model, self.synset.X, self.synset.weight, generator)

    def query_directions(self, X: Rows, y: torch.Tensor, objective: Objective) -> torch.Tensor:
        """Return what each query (q, d...) asks of the rows' gradients, (q, D)."""

        def weighted_output(theta, x, weight):
            return (self.model(theta, x[None])[0] * weight).sum()

        gradient = vmap(grad(weighted_output), (None, 0, 0))
        slopes = self.model.theta.new_empty(len(X), self.model.n_parameters)
        for rows in torch.arange(len(X)).split(self._rows_at_once):
            queries = X[rows]
            outputs = self.model(self.model.theta, queries)
            # Objectives are evaluated on whole batches: they need not be fit for vmap over labels.
            weights = grad(lambda f, rows=rows: objective(f, y[rows]).sum())(outputs)
            slopes[rows] = gradient(self.model.theta, queries, weights)
        damping = self.model.weight_decay + self.retraining.damping + self.path.damping
        return self.inverse_curvature.solve(slopes, damping)

    def effects(self, X: Rows, y: torch.Tensor, objective: Objective) -> torch.Tensor:
        """Return the first-order effect of each training row on each query.

        Parameters
        ----------
        X : Tensor or RowSource of shape (q, d...)
            Queries.
        y : Tensor of shape (q,) or (q, C)
            Their labels or values.
        objective : callable
            Maps outputs (q, C) and `y` to values (q,).

        Returns
        -------
        effects : Tensor of shape (q, n)
            Objective with all rows minus objective without the row; positive when it helps. In the
            objective's unit where the trained weights are a minimum, else up to a common factor.
        """
        directions = self.query_directions(X, y, objective)
        effects = self.model.theta.new_empty(len(X), self.n_rows)
        for rows, gradients in self._batches(self.path):
            torch.mm(directions, gradients.sub_(self.mean_gradient).T, out=effects[:, rows])
        return effects.mul_(self.rows.weight).div_(-self.n_rows)

    @property
    def n_rows(self) -> int:
        """Number of training rows n."""
        return len(self.rows.X)

    @property
    def _rows_at_once(self) -> int:
        return max(1, min(self.rows.batch_size, _NUMBERS_AT_ONCE // self.model.n_parameters))

    def _batches(self, path: GradientPath) -> Iterator[tuple[slice, torch.Tensor]]:
        """Yield a few rows' gradients (b, D) at a time."""
        for start in range(0, self.n_rows, self._rows_at_once):
            rows = slice(start, start + self._rows_at_once)
            yield rows, path.gradients(self.model, self.rows.X[rows], self.rows.targets[rows])
