"""Curvature that a synset lacks in regression, measured on the training rows and put back."""

from dataclasses import dataclass
from functools import partial

import torch

from sklearn_synset._functional_model import FunctionalModel
from sklearn_synset._online._gauss_newton import gauss_newton_products_in_batches
from sklearn_synset._online._leading_curvature import leading_curvature
from sklearn_synset._online._rewinding import on_the_way
from sklearn_synset._row_source import Rows
from sklearn_synset._synset import Synset

_RANK = 64
_OVERSAMPLING = 8
_N_ROWS = 2000
_NEGLIGIBLE = 1e-5  # of the largest curvature: rounding


@dataclass(frozen=True, eq=False)
class MissingCurvature:
    r"""A positive semi-definite matrix of low rank, :math:`\Delta = Q \Lambda Q^\top`.

    Parameters
    ----------
    directions : Tensor of shape (r, D)
        Orthonormal eigenvectors.

    curvature : Tensor of shape (r,)
        Positive eigenvalues, the largest first, in loss per squared weight.
    """

    directions: torch.Tensor
    curvature: torch.Tensor

    def times(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return the matrix times vectors, both (R, D)."""
        return (vectors @ self.directions.T * self.curvature) @ self.directions


def missing_curvature(
    model: FunctionalModel,
    synset: Synset,
    X: Rows,
    rewind: float,
    generator: torch.Generator,
) -> MissingCurvature | None:
    r"""Return what the curvature of the training rows has and that of the synset has not.

    Parameters
    ----------
    model : FunctionalModel
        The trained network.

    synset : Synset
        Its synset.

    X : Tensor or RowSource of shape (n, d...)
        Training rows, of which at most 2,000 random ones are used.

    rewind : float
        As of `on_the_way`.

    generator : torch.Generator
        On the CPU.

    Returns
    -------
    missing : MissingCurvature or None
        The positive part of the difference of the two Gauss-Newton matrices, mean over the rewound
        weights, the trained ones and those half-way, in the 64 leading directions of the training
        rows'; None for classification, and where nothing is missing.

    Notes
    -----
    The mean of a cluster of rows bends the loss less than the rows do: with outputs that are
    linear in the weights, by the scatter of the rows' gradients within the cluster. With a squared
    loss all rows count alike in the curvature, so that displacements come out too long. In
    classification the curvature is that of few, badly fitted rows, which stand for themselves, and
    it falls along the path as they are fitted; the mean over the path is no substitute there.
    """
    if model.loss == "cross_entropy":
        return None
    chosen = torch.randperm(len(X), generator=generator)[:_N_ROWS]
    rows = X[chosen.sort().values.to(X.device)]
    n_probes = min(_RANK + _OVERSAMPLING, model.n_parameters)
    shape = (model.n_parameters, n_probes)
    probes = torch.randn(shape, generator=generator, dtype=model.dtype).to(model.device)

    def multiply(X: torch.Tensor, weight: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        products = [
            gauss_newton_products_in_batches(model, theta, X, columns.T, weight)
            for theta in on_the_way(model, rewind)
        ]
        return torch.stack(products).mean(0).T

    of_rows = partial(multiply, rows, rows.new_full((len(rows),), 1 / len(rows), dtype=model.dtype))
    of_synset = partial(multiply, synset.X, synset.weight / synset.n_rows)
    largest, basis = leading_curvature(of_rows, of_rows(probes), min(_RANK, n_probes))
    difference = torch.diag(largest) - basis.T @ of_synset(basis)
    curvature, rotation = torch.linalg.eigh((difference + difference.T) / 2)
    order = curvature.argsort(descending=True)
    kept = order[curvature[order] > _NEGLIGIBLE * largest.max()]
    if not len(kept):
        return None
    return MissingCurvature((basis @ rotation[:, kept]).T.contiguous(), curvature[kept])
