"""Gradients of many networks near one, by the Jacobian of that one's outputs."""

import math

import torch
from torch import nn
from torch.func import grad

from sklearn_synset._curvature.layer_jacobian import is_known
from sklearn_synset._curvature.output_jacobian import ROWS_OF_STATISTICS, Linearisation
from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._network.layer_calls import layer_calls
from sklearn_synset._network.norm_of_the_batch import Moments, NormOfTheBatch
from sklearn_synset._network.operation_count import flops_of_gradient
from sklearn_synset._network.training_loss import row_loss
from sklearn_synset._retraining.minibatches import minibatches
from sklearn_synset._retraining.synset import Synset

_LARGEST_MATRIX = 2**26  # numbers
_ROUNDING_UNITS = 1e4  # that two ways to a gradient may differ by


def linearised_gradient(
    linearisation: Linearisation,
    synset: Synset,
    theta: torch.Tensor,
    kept: torch.Tensor,
    first: torch.Tensor,
) -> torch.Tensor:
    r"""Return the gradients of `data_loss`, with outputs to first order around a network.

    Parameters
    ----------
    linearisation : Linearisation
        Of the network.
    synset : Synset
        Rows.
    theta : Tensor of shape (R, D)
        Weights of R networks, of which the first is expanded around.
    kept : Tensor of shape (R, K)
        1 for groups that a network is trained on; all of them for the first.
    first : Tensor of shape (D,)
        Gradient of the first network.

    Returns
    -------
    gradient : Tensor of shape (R, D)
        :math:`g_0 + J^\top (r_R - r_0)`. J is the Jacobian of the first network's outputs in the
        weights, with what these do to the statistics of normalisations, and :math:`r_R` the
        derivative of the loss at the outputs :math:`f_0 + J \delta_R + J_p \Delta p_R`, which also
        have what leaving rows out, a change of their shares p, does to these statistics.
    """
    model = linearisation.model
    weight = synset.weight * kept[:, synset.group]
    share = weight / weight.sum(1, keepdim=True)
    jacobian = linearisation.at(theta[0], synset.X, weight[0])
    outputs = jacobian.outputs_at(theta - theta[:1], share - share[:1])

    def loss(outputs: torch.Tensor) -> torch.Tensor:
        losses = (weight * row_loss(model, outputs, synset.y)).sum(1)
        return (losses / (synset.group_size * kept).sum(1)).sum()

    slope = grad(loss)(outputs)
    return first + jacobian.transposed(slope - slope[:1], model.n_parameters)


def moments_near(
    network: FunctionalModel,
    theta: torch.Tensor,
    X: torch.Tensor,
    row_weight: torch.Tensor,
    layers: tuple[str, ...],
) -> dict[str, Moments]:
    """Return what `moments` does, to first order around the first network."""
    share = row_weight / row_weight.sum(1, keepdim=True)
    return Linearisation(network, list(layers)).moments_near(
        theta[0], X, row_weight[0], theta - theta[:1], share - share[:1]
    )


def linearised_layers(
    model: FunctionalModel, synset: Synset, theta: torch.Tensor, seed: int
) -> tuple[str, ...]:
    """Return the layers of a network that it pays to linearise.

    Parameters
    ----------
    model : FunctionalModel
        The network, maybe as `in_training` returns it.
    synset : Synset
        What it is trained on, in several minibatches.
    theta : Tensor of shape (D,)
        Weights at which the layers' Jacobian is checked.
    seed : int
        Of the minibatches.

    Returns
    -------
    layers : tuple of str
        Names of all layers with trained weights in the order of their use. Empty if one of them is
        not a known one, or is used more than once; if there is no convolution, without which
        each network's own gradient is as fast; if the Jacobian takes more than half the operations
        of all networks' gradients, or much memory; or if it does not give the gradient.
    """
    some_rows = next(minibatches(synset, seed))
    layers = _layers_in_use(model, some_rows.X[:2])
    if not layers:
        return ()
    linearisation = Linearisation(model, layers)
    if not _pays(linearisation, model, some_rows, synset.n_groups):
        return ()
    few = slice(ROWS_OF_STATISTICS)  # the matrix is the Jacobian only where all tell statistics
    X, row_weight = some_rows.X[few], some_rows.weight[few]
    return tuple(layers) if _is_gradient(linearisation, model, X, row_weight, theta) else ()


def _layers_in_use(model: FunctionalModel, X: torch.Tensor) -> list[str]:
    """Return the layers with trained weights in their order; none if they are not as needed."""
    names = list(dict.fromkeys(name.rpartition(".")[0] for name in model.names))
    layers = {name: model.module.get_submodule(name) for name in names}
    if not any(isinstance(each, (nn.Conv1d, nn.Conv2d)) for each in layers.values()):
        return []
    calls = layer_calls(model, X, names)
    are_known = all(call.given and is_known(layers[call.name], call.given[0]) for call in calls)
    order = [call.name for call in calls]
    return order if are_known and sorted(order) == sorted(names) else []


def _pays(
    linearisation: Linearisation, model: FunctionalModel, some_rows: Synset, n_networks: int
) -> bool:
    """Tell whether a Jacobian is cheaper than the networks' gradients, and small enough."""
    n_rows, width = len(some_rows.weight), model.n_outputs
    in_matrix = len(linearisation.places_in_matrix)
    if n_rows * width * in_matrix > _LARGEST_MATRIX:
        return False
    n_moments = sum(
        2 * layer.num_features
        for layer in linearisation.layers.values()
        if isinstance(layer, NormOfTheBatch)
    )
    own = flops_of_gradient(model, some_rows.X)
    shared = own * (width + n_moments * min(1.0, ROWS_OF_STATISTICS / n_rows))
    of_each = 4 * (width * in_matrix + model.n_parameters - in_matrix)
    return shared / n_networks + of_each < own / 2


def _is_gradient(
    linearisation: Linearisation,
    model: FunctionalModel,
    X: torch.Tensor,
    row_weight: torch.Tensor,
    theta: torch.Tensor,
) -> bool:
    """Tell whether the Jacobian gives the gradient of the sum of all outputs' squares."""
    jacobian = linearisation.at(theta, X, row_weight)
    found = jacobian.transposed(jacobian.outputs[None], model.n_parameters)[0]
    true = grad(lambda theta: model(theta, X, row_weight).square().sum() / 2)(theta)
    bound = _ROUNDING_UNITS * torch.finfo(model.dtype).eps * true.norm()
    return bool((found - true).norm() <= bound) and math.isfinite(float(bound))
