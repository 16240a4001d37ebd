"""Products with the Gauss-Newton matrix, without the matrix."""

import torch
from torch.func import vjp, vmap

from sklearn_synset._network.functional_model import FunctionalModel

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
    value, push_forward, pull_back = _linearised_outputs(model, theta, X)
    shares = value.new_full((len(X), 1), 1 / len(X)) if share is None else share[:, None]

    def product(direction):
        bent = _loss_curvature(model, value, push_forward(direction))
        return pull_back(shares * bent)[0]

    return vmap(product, chunk_size=8)(directions)


def gauss_newton_blocks(
    model: FunctionalModel,
    theta: torch.Tensor,
    X: torch.Tensor,
    directions: torch.Tensor,
    share: torch.Tensor,
    group: torch.Tensor,
    n_groups: int,
) -> torch.Tensor:
    r"""Return the Gauss-Newton matrix of each group of rows, seen in some directions.

    Parameters
    ----------
    model, theta, X, directions, share
        As of `gauss_newton_products`; rows are taken a few at a time.
    group : Tensor of shape (n,)
        Group of each row, in [0, K).
    n_groups : int
        K.

    Returns
    -------
    blocks : Tensor of shape (K, r, r)
        :math:`Q \left(\sum_{i \in k} a_i J_i^\top B_i J_i\right) Q^\top` with the directions as
        lines of Q.
    """
    blocks = directions.new_zeros(n_groups, len(directions), len(directions))
    for rows in torch.arange(len(X), device=X.device).split(_ROWS_AT_ONCE):
        value, push_forward, _ = _linearised_outputs(model, theta, X[rows])
        tangents = vmap(push_forward, chunk_size=8)(directions)
        bent = share[rows, None] * _loss_curvature(model, value, tangents)
        for k in group[rows].unique().tolist():
            own = group[rows] == k
            blocks[k] += tangents[:, own].flatten(1) @ bent[:, own].flatten(1).T
    return blocks


def _linearised_outputs(model: FunctionalModel, theta: torch.Tensor, X: torch.Tensor):
    """Return the outputs (n, C), and the products with their Jacobian and its transpose."""
    value, pull_back = vjp(lambda point: model(point, X), theta)  # type: ignore[misc]

    def push_forward(direction):
        # The pull-back is linear: its own pull-back multiplies by the Jacobian. Forward-mode
        # derivatives would do the same, for fewer layers.
        return vjp(lambda cotangent: pull_back(cotangent)[0], value)[1](direction)[0]

    return value, push_forward, pull_back


def _loss_curvature(
    model: FunctionalModel, value: torch.Tensor, tangent: torch.Tensor
) -> torch.Tensor:
    """Multiply changes (..., n, C) of outputs (n, C) by the Hessian of each row's loss in them."""
    if model.loss == "cross_entropy":
        p = value.softmax(-1)
        return p * (tangent - (p * tangent).sum(-1, keepdim=True))
    if model.loss == "binary_cross_entropy":
        p = torch.sigmoid(value)
        return model.loss_scale * p * (1 - p) * tangent
    return model.loss_scale * tangent


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
