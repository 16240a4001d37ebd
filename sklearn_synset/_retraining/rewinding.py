"""Rewinding: the weights from which a network is trained, with and without groups."""

import torch

from sklearn_synset._network.depth import NORMS
from sklearn_synset._network.functional_model import FunctionalModel


def has_normalisation(model: FunctionalModel) -> bool:
    """Tell whether a network has normalisation layers."""
    return any(isinstance(part, NORMS) for part in model.module.modules())


def is_single_layer(model: FunctionalModel) -> bool:
    """Tell whether the outputs are linear in the weights, judged by their shapes."""
    return sum(len(shape) > 1 for shape in model.shapes) == 1


def curves_steadily(model: FunctionalModel) -> bool:
    """Tell whether the curvature of the loss changes little along a retraining."""
    return model.loss == "squared_error" or is_single_layer(model)


def rewound(model: FunctionalModel, rewind: float) -> torch.Tensor:
    r"""Return an estimate of the weights from earlier in a training.

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
        :math:`(1 - r)^{1/L} \theta_T` with L the model's `depth`. A layer right in front of a
        normalisation is left as it is; the normalisation's own scale and shift shrink instead.

    Notes
    -----
    A training from small weights makes the outputs grow from near zero. Shrinking the weights
    brings back outputs that are small and residuals that are large, which is where most of a
    row's influence on a network comes from. The scale of weights in front of a normalisation has
    no such meaning: in training it cancels, and in evaluation the stored statistics belong to it.
    As L is measured on outputs, it does not matter how the weights are spelled.
    """
    return model.shrunk((1.0 - rewind) ** (1 / model.depth))


def on_the_way(model: FunctionalModel, rewind: float) -> list[torch.Tensor]:
    """Return the rewound weights, those half-way and the trained ones; these alone if all agree."""
    start, end = rewound(model, rewind), model.theta
    return [start, (start + end) / 2, end] if rewind else [end]
