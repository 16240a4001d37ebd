"""Rewinding: the weights from which a network is trained again, with and without groups."""

import math

import torch

from sklearn_synset._functional_model import FunctionalModel

_NORMS = (
    torch.nn.modules.batchnorm._BatchNorm,
    torch.nn.LayerNorm,
    torch.nn.GroupNorm,
)


_AUTO_REWIND = 0.5
_AUTO_REWIND_LINEAR = 0.9


def auto_rewind(model: FunctionalModel) -> float:
    """Return how far to rewind a network whose training is not known.

    Parameters
    ----------
    model : FunctionalModel
        The trained network.

    Returns
    -------
    rewind : float
        0.9 for a single layer, whose training starts near zero and has no features to lose; 0.5
        for a deeper network.
    """
    return _AUTO_REWIND_LINEAR if _n_shrunk_layers(model) == 1 else _AUTO_REWIND


def rewound(model: FunctionalModel, rewind: float) -> torch.Tensor:
    r"""Return weights from earlier in a training, as far as the trained ones tell.

    Parameters
    ----------
    model : FunctionalModel
        The trained network.

    rewind : float in [0, 1]
        Share r of the outputs that is taken away: 0 stays at the trained weights, 1 goes back to
        zero.

    Returns
    -------
    theta : Tensor of shape (D,)
        :math:`(1 - r)^{1/L} \theta_T` with L the number of layers, where the weights of
        normalisation layers, and all weights in front of the last of them, are left as they are.

    Notes
    -----
    A training from small weights makes the outputs grow from near zero. Shrinking the weights
    brings back outputs that are small and residuals that are large, which is where most of a
    row's influence on a network comes from. The scale of weights in front of a normalisation has
    no such meaning: in training it cancels, and in evaluation the stored statistics belong to it.
    """
    sizes = [math.prod(shape) for shape in model.shapes]
    scale = torch.full_like(model.theta, (1.0 - rewind) ** (1 / _n_shrunk_layers(model)))
    scale[: sum(sizes[: _first_shrunk(model)])] = 1.0
    return model.theta * scale


def _first_shrunk(model: FunctionalModel) -> int:
    """Index of the first parameter behind the last normalisation layer."""
    norms = [name for name, part in model.module.named_modules() if isinstance(part, _NORMS)]
    inside = [any(name.startswith(f"{norm}.") for norm in norms) for name in model.names]
    return len(inside) - inside[::-1].index(True) if True in inside else 0


def _n_shrunk_layers(model: FunctionalModel) -> int:
    """Count the weight matrices and kernels behind the last normalisation layer, at least 1."""
    return max(1, sum(len(shape) > 1 for shape in model.shapes[_first_shrunk(model) :]))
