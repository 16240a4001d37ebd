"""The energy norm: gradients measured by the displacement of the weights that they cause."""

import torch
from torch.func import vjp, vmap

from sklearn_synset._functional_model import FunctionalModel

_RANK = 64
_OVERSAMPLING = 8
_N_CURVATURE_ROWS = 512


def gauss_newton_products(
    model: FunctionalModel,
    theta: torch.Tensor,
    X: torch.Tensor,
    directions: torch.Tensor,
    share: torch.Tensor | None = None,
) -> torch.Tensor:
    r"""Multiply directions by the Gauss-Newton matrix of a weighted sum of losses.

    Parameters
    ----------
    model : FunctionalModel
        The network.

    theta : Tensor of shape (D,)
        Weights.

    X : Tensor of shape (n, d...)
        Rows.

    directions : Tensor of shape (r, D)
        What to multiply.

    share : Tensor of shape (n,), default=None
        Weight :math:`a_i` of each row's loss; 1 / n if None.

    Returns
    -------
    products : Tensor of shape (r, D)
        :math:`\sum_i a_i J_i^\top B_i J_i v` with :math:`J_i` the Jacobian of row i's
        outputs and :math:`B_i` the Hessian of its loss in the outputs [1]_.

    References
    ----------
    .. [1] Schraudolph, "Fast curvature matrix-vector products for second-order gradient descent",
       Neural Computation 14(7), 2002.
    """

    def outputs(point):
        return model(point, X)

    value, pull_back = vjp(outputs, theta)  # type: ignore[misc]
    shares = value.new_full((len(X), 1), 1 / len(X)) if share is None else share[:, None]

    def push_forward(direction):
        # The pull-back is linear: its own pull-back multiplies by the Jacobian. Forward-mode
        # derivatives would do the same, for fewer layers.
        return vjp(lambda cotangent: pull_back(cotangent)[0], value)[1](direction)[0]

    def product(direction):
        tangent = push_forward(direction)
        if model.loss == "cross_entropy":
            p = value.softmax(-1)
            tangent = p * (tangent - (p * tangent).sum(-1, keepdim=True))
        else:
            tangent = model.loss_scale * tangent
        return pull_back(shares * tangent)[0]

    return vmap(product, chunk_size=8)(directions)


class EnergyNorm:
    r"""Whitening by the inverse square root of a low-rank curvature plus damping.

    Parameters
    ----------
    directions : Tensor of shape (r, D)
        Orthonormal eigenvectors of the curvature H.

    curvature : Tensor of shape (r,)
        Its largest eigenvalues.

    damping : float
        :math:`\lambda > 0`, which also stands for all curvature outside the eigenvectors.

    Notes
    -----
    The squared norm of a gradient error e is :math:`\lambda e^\top (H + \lambda)^{-1} e`: to first
    order, retraining answers e by the displacement :math:`(H + \lambda)^{-1} e`, which changes the
    loss by half the energy. Errors in directions of large curvature matter little.
    """

    def __init__(self, directions: torch.Tensor, curvature: torch.Tensor, damping: float) -> None:
        self._directions = directions
        self._shrink = 1 - (damping / (curvature + damping)).sqrt()

    def whiten(self, gradients: torch.Tensor) -> torch.Tensor:
        """Return gradients (K, D) with their large-curvature parts shrunk."""
        parts = gradients @ self._directions.T
        return gradients - (parts * self._shrink) @ self._directions


def energy_norm(
    model: FunctionalModel,
    thetas: list[torch.Tensor],
    X: torch.Tensor,
    damping: float,
    generator: torch.Generator,
) -> EnergyNorm:
    """Find the leading curvature at some weights by randomised subspace iteration.

    Parameters
    ----------
    model : FunctionalModel
        The network.

    thetas : list of Tensor of shape (D,)
        Weights over which the curvature is averaged.

    X : Tensor of shape (n, d...)
        Training rows, of which at most 512 random ones are used.

    damping : float
        Damping, positive.

    generator : torch.Generator
        On the CPU.

    Returns
    -------
    norm : EnergyNorm
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

    basis = torch.linalg.qr(multiply(probes))[0]
    image = multiply(basis)
    eigenvalues, rotation = torch.linalg.eigh((basis.T @ image + image.T @ basis) / 2)
    kept = eigenvalues.argsort(descending=True)[:_RANK]
    return EnergyNorm((basis @ rotation[:, kept]).T, eigenvalues[kept].clamp(min=0), damping)
