"""Largest curvature of a loss, by power iteration."""

import math
from collections.abc import Callable, Iterable

import torch

N_ITERATIONS = 20


def largest_curvature(
    loss: Callable[[torch.Tensor], torch.Tensor],
    theta: torch.Tensor,
    generator: torch.Generator,
    n_iterations: int = N_ITERATIONS,
) -> float:
    r"""Estimate the largest absolute eigenvalue of the Hessian.

    Parameters
    ----------
    loss : callable
        Maps weights (D,) to a scalar, twice differentiable.
    theta : Tensor of shape (D,)
        Where.
    generator : torch.Generator
        Draws the starting direction; on the CPU.
    n_iterations : int, default=20
        Products with the Hessian.

    Returns
    -------
    curvature : float
        From below, usually within a few per cent by 20 products; in units of loss per squared
        weight.

    Notes
    -----
    Power iteration with Hessian-vector products by differentiating the gradient [1]_, which is
    taken once.

    References
    ----------
    .. [1] Pearlmutter, "Fast exact multiplication by the Hessian", Neural Computation 6(1), 1994.

    Examples
    --------
    >>> import torch
    >>> from sklearn_synset._curvature.power_iteration import largest_curvature
    >>> scales = torch.tensor([1.0, 10.0])
    >>> round(largest_curvature(lambda t: (scales * t**2).sum() / 2, torch.zeros(2),
    ...                         torch.Generator().manual_seed(0)), 3)
    10.0
    """
    direction = torch.randn(theta.shape, generator=generator, dtype=theta.dtype).to(theta.device)
    with torch.enable_grad():
        point = theta.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(point), point, create_graph=True)
    curvature = 0.0
    for _ in range(n_iterations if gradient.requires_grad else 0):
        direction = direction / direction.norm().clamp(min=torch.finfo(theta.dtype).tiny)
        (product,) = torch.autograd.grad(
            gradient, point, direction, retain_graph=True, materialize_grads=True
        )
        curvature = float(product.norm())
        if not 0 < curvature < float("inf"):
            break
        direction = product
    return curvature


def largest_curvature_at(
    points: Iterable[torch.Tensor],
    loss: Callable[[torch.Tensor], torch.Tensor],
    generator: torch.Generator,
    scale: torch.Tensor | float = 1.0,
    n_iterations: int = N_ITERATIONS,
) -> float:
    """Return the largest curvature at any of some weights, with steps that are scaled.

    Parameters
    ----------
    points : iterable of Tensor of shape (D,)
        Weights to look at.
    loss, generator, n_iterations
        As of `largest_curvature`.

    scale : Tensor of shape (D,) or float, default=1
        What a step is multiplied by, weight by weight.

    Returns
    -------
    curvature : float
        The largest that is finite; 0 if none is.
    """
    found = [
        largest_curvature(
            lambda step: loss(point + scale * step),  # noqa: B023
            torch.zeros_like(point),
            generator,
            n_iterations,
        )
        for point in points
    ]
    return max((each for each in found if math.isfinite(each)), default=0.0)
