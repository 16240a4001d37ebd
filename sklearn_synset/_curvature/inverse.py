"""Inverse curvature: how far a gradient moves weights that are retrained to the end."""

from dataclasses import dataclass

import torch

from sklearn_synset._curvature.eigenvectors import leading_curvature
from sklearn_synset._curvature.gauss_newton import gauss_newton_products_in_batches
from sklearn_synset._network.functional_model import FunctionalModel

_RANK = 256
_OVERSAMPLING = 16
_EXACT_UP_TO = 1024


@dataclass(frozen=True, eq=False)
class InverseCurvature:
    r"""Inverse of a low-rank Gauss-Newton matrix plus damping.

    Parameters
    ----------
    directions : Tensor of shape (D, r)
        Orthonormal eigenvectors.
    curvature : Tensor of shape (r,)
        Their eigenvalues, in loss per squared weight.
    rest : float
        Curvature of all other directions.
    """

    directions: torch.Tensor
    curvature: torch.Tensor
    rest: float

    def solve(self, gradients: torch.Tensor, damping: float) -> torch.Tensor:
        r"""Multiply gradients (q, D) by :math:`(H + \lambda)^{-1}` with a damping of at least 0."""
        least = float(torch.finfo(gradients.dtype).eps) ** 0.5 * float(self.curvature.max())
        damping = max(damping, least, float(torch.finfo(gradients.dtype).tiny))
        inverse = 1 / (self.curvature + damping)
        outside = 1 / (self.rest + damping)
        parts = (gradients @ self.directions) * (inverse - outside)
        return torch.addmm(gradients, parts, self.directions.T, beta=outside)


def inverse_curvature(
    model: FunctionalModel,
    X: torch.Tensor,
    weight: torch.Tensor,
    generator: torch.Generator,
    rank: int = _RANK,
) -> InverseCurvature:
    r"""Find the leading curvature of a weighted loss at the trained weights.

    Parameters
    ----------
    model : FunctionalModel
        The trained network.
    X : Tensor of shape (s, d...)
        Rows.
    weight : Tensor of shape (s,)
        Their weights; the loss is :math:`\sum_j w_j \ell_j / \sum_j w_j`.
    generator : torch.Generator
        On the CPU.
    rank : int, default=256
        Of the curvature that is found.

    Returns
    -------
    inverse : InverseCurvature
        Exact for networks of up to 1,024 weights, else of that rank by randomised subspace
        iteration [1]_, with the smallest curvature that was found standing for the rest.

    References
    ----------
    .. [1] Halko, Martinsson, Tropp, "Finding structure with randomness", SIAM Review 53(2), 2011,
       algorithms 4.4 and 5.3.
    """
    D = model.n_parameters

    def multiply(columns):
        products = gauss_newton_products_in_batches(model, model.theta, X, columns.T, weight)
        return (products / weight.sum()).T

    if D <= _EXACT_UP_TO:
        matrix = multiply(torch.eye(D, dtype=model.dtype, device=model.device))
        eigenvalues, directions = torch.linalg.eigh((matrix + matrix.T) / 2)
        return InverseCurvature(directions, eigenvalues.clamp(min=0), 0.0)
    shape = (D, rank + _OVERSAMPLING)
    probes = torch.randn(shape, generator=generator, dtype=model.dtype).to(model.device)
    sketch = multiply(torch.linalg.qr(multiply(probes))[0])
    curvature, directions = leading_curvature(multiply, sketch, rank)
    return InverseCurvature(directions, curvature, float(curvature[-1]))
