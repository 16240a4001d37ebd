"""Rewinding: the weights from which a network is trained again, with and without groups."""

import math

import torch

from sklearn_synset._functional_model import FunctionalModel

_NORMS = (
    torch.nn.modules.batchnorm._BatchNorm,
    torch.nn.LayerNorm,
    torch.nn.GroupNorm,
)


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
    first = _first_shrunk(model)
    n_layers = max(1, sum(len(shape) > 1 for shape in model.shapes[first:]))
    scale = torch.full_like(model.theta, (1.0 - rewind) ** (1 / n_layers))
    scale[: sum(sizes[:first])] = 1.0
    return model.theta * scale


def _first_shrunk(model: FunctionalModel) -> int:
    """Index of the first parameter behind the last normalisation layer."""
    norms = [name for name, part in model.module.named_modules() if isinstance(part, _NORMS)]
    inside = [any(name.startswith(f"{norm}.") for norm in norms) for name in model.names]
    return len(inside) - inside[::-1].index(True) if True in inside else 0
