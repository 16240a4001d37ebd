"""How much work a gradient is, and what it holds."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from sklearn_synset._data.row_source import Rows
from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._network.layer_calls import layer_calls
from sklearn_synset._runtime.torch_interop import one_thread_if_small

_GRADIENT_OVER_FORWARD = 3
_CONVOLUTION = 8  # operations of a product that take as long as one of networks' convolutions
_CONVOLUTIONS = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)
_MOST_OUTPUTS = 2_000_000


def flops_of_gradient(model: FunctionalModel, X: Rows) -> int:
    """Return the floating-point operations of the gradient of one row's loss.

    Parameters
    ----------
    model : FunctionalModel
        The network.
    X : Tensor, RowSource or SelectedRows of shape (n, d...)
        Rows, of which one is tried.

    Returns
    -------
    flops : int
        Three times those of a forward pass, in the operations that torch can count; at least 1.
    """
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(model.theta, X[:1])
    return max(1, counter.get_total_flops()) * _GRADIENT_OVER_FORWARD


def convolves(model: FunctionalModel) -> bool:
    """Tell whether a network has convolutions."""
    return any(isinstance(part, _CONVOLUTIONS) for part in model.module.modules())


def cost_of_gradient(model: FunctionalModel, X: Rows, flops: int | None = None) -> int:
    """Return the operations of products that take as long as the gradient of one row's loss.

    Parameters
    ----------
    model, X
        As of `flops_of_gradient`.

    flops : int, default=None
        Of the gradient; counted if None.
    """
    flops = flops_of_gradient(model, X) if flops is None else flops
    return flops * (_CONVOLUTION if convolves(model) else 1)


def multiplications(model: FunctionalModel, X: Rows) -> int:
    """Return what a row's way through a network costs, as many as weights at least."""
    return max(model.n_parameters, cost_of_gradient(model, X) // (2 * _GRADIENT_OVER_FORWARD))


def use_one_thread_if_small(model: FunctionalModel, X: Rows, n_networks: int) -> None:
    """Keep torch to one thread where so many networks take little work for up to 500 rows of X."""
    one_thread_if_small(n_networks * multiplications(model, X) * min(len(X), 500))


def widest_output(model: FunctionalModel, X: Rows) -> int:
    """Return the most numbers that a layer makes of a row of X (n, d...), of which one is tried."""
    names = [name for name, _ in model.module.named_modules()]
    outputs = [call.output for call in layer_calls(model, X[:1], names)]
    return max(each.numel() for each in outputs if isinstance(each, torch.Tensor))


def networks_at_once(model: FunctionalModel, X: Rows) -> int | None:
    """Return for how many networks to take gradients on some rows at once; None for any number.

    Convolutions make many outputs. Those of a layer, over all networks, are kept to some 8 MB: the
    allocator gives larger pieces back after each step.
    """
    if not convolves(model):
        return None
    return max(1, _MOST_OUTPUTS // (len(X) * widest_output(model, X)))


def flops_of_product(matrix: torch.Tensor) -> int:
    """Return what multiplying by a matrix (d, r) adds to the operations of a row's gradient."""
    return 2 * matrix.numel() * _GRADIENT_OVER_FORWARD
