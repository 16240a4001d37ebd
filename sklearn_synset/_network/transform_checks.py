"""Whether torch can differentiate and vectorise a network in all the ways that are needed."""

from collections.abc import Callable

import torch
from torch.func import grad, vjp, vmap

from sklearn_synset._runtime.torch_interop import keep_global_state

Network = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def check_transforms(model: Network, theta: torch.Tensor, X: torch.Tensor) -> None:
    """Raise a ValueError unless a network stands all transforms that the method makes.

    Parameters
    ----------
    model : callable
        Maps weights (D,) and rows (n, d...) to outputs (n, C).
    theta : Tensor of shape (D,)
        Weights.
    X : Tensor of shape (2, d...)
        Two rows.

    Raises
    ------
    ValueError
        If a derivative is missing, or an operation cannot be vectorised over weights.
    """
    with keep_global_state(seed=0), torch.enable_grad():
        try:
            _differentiate(model, theta, X)
            _vectorise(model, theta, X)
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ValueError(
                "The network cannot be differentiated twice, and vectorised over weights, by "
                "torch.func. Recurrent layers, branches on values, .data, .detach(), backward "
                f"hooks and in-place changes of buffers are the usual reasons. It says: {reason}"
            ) from error


def _differentiate(model: Network, theta: torch.Tensor, X: torch.Tensor) -> None:
    """Take first and second derivatives with respect to weights and rows."""

    def total(point, rows):
        return model(point, rows).square().sum()

    point = theta.detach().clone().requires_grad_()
    torch.autograd.grad(total(point, X), point)
    grad(lambda point: grad(total)(point, X).sum())(theta)
    if not X.is_floating_point():
        return
    rows = X.clone().requires_grad_()
    gradients = vmap(grad(lambda point, row: total(point, row[None])), (None, 0))(theta, rows)
    if gradients.requires_grad:  # not where rows are turned into integers
        torch.autograd.grad(gradients.square().sum(), rows, allow_unused=True)


def _vectorise(model: Network, theta: torch.Tensor, X: torch.Tensor) -> None:
    """Evaluate several networks at once, and multiply by the Jacobian."""
    thetas = theta.expand(2, -1)
    with torch.no_grad():
        vmap(lambda point: model(point, X))(thetas)
    vmap(grad(lambda point: model(point, X).square().sum()))(thetas)
    outputs, pull_back = vjp(lambda point: model(point, X), theta)  # type: ignore[misc]

    def push_forward(direction):
        return vjp(lambda cotangent: pull_back(cotangent)[0], outputs)[1](direction)[0]

    vmap(push_forward)(thetas)
