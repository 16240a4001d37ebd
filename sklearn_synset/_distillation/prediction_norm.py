"""The prediction norm: gradients measured by the changes of the outputs that they cause."""

import torch

from sklearn_synset._curvature.eigenvectors import leading_curvature
from sklearn_synset._curvature.gauss_newton import gauss_newton_products
from sklearn_synset._data.row_source import Rows
from sklearn_synset._network.functional_model import FunctionalModel

_RANK = 64
_OVERSAMPLING = 8
_N_CURVATURE_ROWS = 512


class PredictionNorm:
    r"""Map from gradient errors to the changes of predictions that they cause.

    Parameters
    ----------
    directions : Tensor of shape (r, D)
        Orthonormal eigenvectors of the curvature H.
    curvature : Tensor of shape (r,)
        Its largest eigenvalues.
    rest : float
        Mean of its other eigenvalues.
    damping : float
        :math:`\lambda > 0`.

    Notes
    -----
    To first order, retraining answers a gradient error e by the displacement
    :math:`\delta = (H + \lambda)^{-1} e` of the weights. The squared norm of e is, up to a factor,
    :math:`\delta^\top H \delta`: what the displacement does to the outputs on the training rows,
    weighted by the loss Hessian. Errors in directions of large curvature matter little,
    as retraining soon forgets them; so do those in flat ones, which no prediction shows.
    """

    def __init__(
        self, directions: torch.Tensor, curvature: torch.Tensor, rest: float, damping: float
    ) -> None:
        gain = curvature.sqrt() / (curvature + damping)
        largest = float(gain.max())
        self._directions = directions
        if largest > 0:
            self._rest_gain = rest**0.5 / (rest + damping) / largest
            self._extra_gain = gain / largest - self._rest_gain
        else:  # no curvature: nothing to weight errors by
            self._rest_gain, self._extra_gain = 1.0, torch.zeros_like(gain)

    def whiten(self, gradients: torch.Tensor) -> torch.Tensor:
        """Return gradients (K, D) in the coordinates in which the norm is the plain one."""
        parts = gradients @ self._directions.T
        return gradients * self._rest_gain + (parts * self._extra_gain) @ self._directions


def prediction_norm(
    model: FunctionalModel,
    thetas: list[torch.Tensor],
    X: Rows,
    damping: float,
    generator: torch.Generator,
) -> PredictionNorm:
    """Find the leading curvature at some weights by randomised subspace iteration.

    Parameters
    ----------
    model : FunctionalModel
        The network.
    thetas : list of Tensor of shape (D,)
        Weights over which the curvature is averaged.
    X : Tensor or RowSource of shape (n, d...)
        Training rows, of which at most 512 random ones are used.
    damping : float
        Damping, positive.
    generator : torch.Generator
        On the CPU.

    Returns
    -------
    norm : PredictionNorm
        Of rank at most 64 [1]_.

    References
    ----------
    .. [1] Halko, Martinsson, Tropp, "Finding structure with randomness", SIAM Review 53(2), 2011,
       algorithm 5.3.
    """
    rows = X[torch.randperm(len(X), generator=generator)[:_N_CURVATURE_ROWS].to(X.device)]
    n_probes = min(_RANK + _OVERSAMPLING, model.n_parameters)
    shape = (model.n_parameters, n_probes)
    probes = torch.randn(shape, generator=generator, dtype=model.dtype).to(model.device)

    def multiply(columns):
        products = [gauss_newton_products(model, theta, rows, columns.T) for theta in thetas]
        return (sum(products) / len(thetas)).T  # type: ignore[union-attr]

    sketch = multiply(probes)
    trace = float((probes * sketch).sum()) / n_probes  # Hutchinson's estimate
    curvature, directions = leading_curvature(multiply, sketch, _RANK)
    rest = max(0.0, trace - float(curvature.sum())) / max(1, model.n_parameters - len(curvature))
    return PredictionNorm(directions.T, curvature, rest, damping)
