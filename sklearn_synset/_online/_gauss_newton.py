"""Products with the Gauss-Newton matrix, without the matrix."""

import torch
from torch.func import vjp, vmap

from sklearn_synset._functional_model import FunctionalModel

_ROWS_AT_ONCE = 512


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


def gauss_newton_products_in_batches(
    model: FunctionalModel,
    theta: torch.Tensor,
    X: torch.Tensor,
    directions: torch.Tensor,
    share: torch.Tensor,
) -> torch.Tensor:
    """Multiply as `gauss_newton_products` does, a few rows at a time."""
    total = torch.zeros_like(directions)
    for rows, part in zip(X.split(_ROWS_AT_ONCE), share.split(_ROWS_AT_ONCE), strict=True):
        total += gauss_newton_products(model, theta, rows, directions, part)
    return total
