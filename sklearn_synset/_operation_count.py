"""How much work a gradient is, and what it holds."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from sklearn_synset._functional_model import FunctionalModel
from sklearn_synset._layer_calls import layer_calls
from sklearn_synset._row_source import Rows

_GRADIENT_OVER_FORWARD = 3


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


def widest_output(model: FunctionalModel, X: Rows) -> int:
    """Return the most numbers that a layer makes of a row of X (n, d...), of which one is tried."""
    names = [name for name, _ in model.module.named_modules()]
    outputs = [call.output for call in layer_calls(model, X[:1], names)]
    return max(each.numel() for each in outputs if isinstance(each, torch.Tensor))


def flops_of_product(matrix: torch.Tensor) -> int:
    """Return what multiplying by a matrix (d, r) adds to the operations of a row's gradient."""
    return 2 * matrix.numel() * _GRADIENT_OVER_FORWARD
