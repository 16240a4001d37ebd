"""Shorter steps where the loss is curved most, so that all others can be longer."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from sklearn_synset._curvature.power_iteration import largest_curvature_at
from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._network.operation_count import flops_of_gradient, flops_of_product
from sklearn_synset._retraining.preconditioning.input_subspace import InputSubspace, input_subspace
from sklearn_synset._retraining.rewinding import on_the_way
from sklearn_synset._retraining.synset import Synset

Loss = Callable[[FunctionalModel, torch.Tensor], torch.Tensor]

_FLATTENING = 32.0
_N_ITERATIONS = 8  # of the power iteration: what a factor is need not be known to a per cent


@dataclass(frozen=True, eq=False)
class Preconditioner:
    r"""A diagonal preconditioner, in a subspace of the first layer's inputs if there is one.

    Parameters
    ----------
    scale : Tensor of shape (D',)
        Factor in (0, 1] of each weight's step, where the weights are those of `narrow`.

    subspace : InputSubspace or None
        Where the first layer's weights move.
    """

    scale: torch.Tensor
    subspace: InputSubspace | None

    def narrow(self, model: FunctionalModel) -> FunctionalModel:
        """Return the network whose steps are scaled, of D' weights."""
        return model if self.subspace is None else self.subspace.narrow(model)

    def projected(
        self, narrowed: FunctionalModel, synset: Synset
    ) -> tuple[FunctionalModel, Synset]:
        """Return what `narrow` did, and a synset, with rows that are projected once if they can be.

        See `InputSubspace.projected`.
        """
        if self.subspace is None:
            return narrowed, synset
        return self.subspace.projected(narrowed, synset)

    def lift(self, displacement: torch.Tensor) -> torch.Tensor:
        """Return displacements (R, D) of the whole network for those (R, D') of `narrow`."""
        return displacement if self.subspace is None else self.subspace.lift(displacement)

    def flops_of_gradient(self, model: FunctionalModel, X: torch.Tensor) -> int:
        """Return the operations of a row's gradient, but for projecting the row.

        All networks that are trained side by side share the projected rows.
        """
        shared = 0 if self.subspace is None else flops_of_product(self.subspace.basis)
        return flops_of_gradient(self.narrow(model), X) - shared


def preconditioner(
    model: FunctionalModel, synset: Synset, loss: Loss, rewind: float, seed: int
) -> Preconditioner:
    r"""Choose the factors of a network's steps from the curvature of its layers.

    Parameters
    ----------
    model : FunctionalModel
        The trained network.

    synset : Synset
        What it will be trained on.

    loss : callable
        Maps a network, narrowed or not, and weights to what will be minimised.

    rewind : float
        From where it will be trained.

    seed : int
        Of the power iteration and of the rows that the subspace is estimated on.

    Returns
    -------
    preconditioner : Preconditioner
        Each layer's steps are shorter by the factor that brings its largest curvature, between the
        rewound weights and the trained ones, down to 1/32 of that of all weights, if it is
        above. In a first layer in a subspace of its inputs, each component :math:`v_i` has a
        factor of its own: there the curvature is the layer's times
        :math:`\mathrm{E}(v_i^\top x)^2 / \mathrm{E}(v_1^\top x)^2`, as in a Kronecker-factored
        approximation [1]_. Its shift keeps its steps.

    Notes
    -----
    A few directions, such as the mean of the inputs and of the hidden units, bend the loss far more
    than all others, and limit the step of plain descent. Weights get to the end of their motion
    along them anyway; with shorter steps there, all others can be several times longer.

    References
    ----------
    .. [1] Martens, Grosse, "Optimizing Neural Networks with Kronecker-factored Approximate
       Curvature", ICML 2015, section 3.
    """
    subspace = input_subspace(model, synset, seed)
    narrowed = Preconditioner(model.theta, subspace).narrow(model)
    sizes = [weight.numel() for weight in narrowed.unflatten(narrowed.theta).values()]
    layers = [name.rpartition(".")[0] for name in narrowed.names]

    def largest(part: torch.Tensor) -> float:
        generator = torch.Generator().manual_seed(seed)
        points = on_the_way(narrowed, rewind)
        return largest_curvature_at(points, partial(loss, narrowed), generator, part, _N_ITERATIONS)

    scale = torch.ones_like(narrowed.theta)
    most = largest(scale) / _FLATTENING
    for layer in dict.fromkeys(layers):
        if subspace is not None and layer == subspace.layer:
            continue
        own = _weights_of(layer, layers, sizes).to(scale)
        scale = torch.where(own > 0, _factor(most, scale.new_tensor(largest(own))), scale)
    if subspace is not None:
        first = slice(subspace.start, subspace.start + subspace.width * len(subspace.moments))
        own = torch.zeros_like(scale)
        own[first] = 1
        curvature = largest(own) * subspace.moments / subspace.moments[0]
        scale[first] = _factor(most, curvature).repeat(subspace.width)
    return Preconditioner(scale, subspace)


def _weights_of(layer: str, layers: list[str], sizes: list[int]) -> torch.Tensor:
    """Return 1 for the weights (D',) of a layer and 0 for others."""
    is_own = torch.tensor([each == layer for each in layers])
    return is_own.repeat_interleave(torch.tensor(sizes))


def _factor(most: float, curvature: torch.Tensor) -> torch.Tensor:
    """Return what brings curvatures down to a bound."""
    return torch.where(curvature > most, most / curvature, 1.0)
