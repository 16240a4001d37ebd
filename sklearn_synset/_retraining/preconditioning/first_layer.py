"""Gradients of many networks side by side, of which the first layer is a product of its own."""

import math
from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import nn
from torch.func import grad, vmap

from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._retraining.preconditioning.input_subspace import InputSubspace, n_components
from sklearn_synset._retraining.synset import Synset, data_loss

_FOLLOWED = 0.97  # of the second moments that the subspace keeps


@dataclass(frozen=True, eq=False)
class FirstLayer:
    """A network that is a linear layer of projected rows and a rest.

    Parameters
    ----------
    subspace : InputSubspace
        Of the rows.

    n_followed : int
        Components, of the largest second moments, along which all networks are followed.

    bias : Tensor of shape (h,) or None
        Of the layer, where there is one that is not trained.

    rest : FunctionalModel
        What the layer's outputs are given to; its weights come last.
    """

    subspace: InputSubspace
    n_followed: int
    bias: torch.Tensor | None
    rest: FunctionalModel

    def gradients(
        self, synset: Synset, theta: torch.Tensor, kept: torch.Tensor, at_once: int | None = None
    ) -> torch.Tensor:
        r"""Return the gradients of `data_loss`, near the first network's weights.

        Parameters
        ----------
        synset : Synset
            Projected rows x.

        theta : Tensor of shape (R, D')
            Weights of R networks.

        kept : Tensor of shape (R, K)
            1 for groups that a network is trained on.

        at_once : int, default=None
            Networks of which the rest is differentiated at once; all if None.

        Returns
        -------
        gradient : Tensor of shape (R, D')
            At outputs :math:`A_0 x + (A_R - A_0) P x + b_R` of the layer, with P the projection on
            the first `n_followed` components: what the others hold little of, and differ in
            little, is seen by all networks as by the first. Weights along all components have
            their gradients :math:`\sum_j g_j x_j^\top`, with :math:`g_j` that in the outputs.
        """
        width, rank = self.subspace.width, len(self.subspace.moments)
        n_own = theta.shape[1] - self.rest.n_parameters
        weight, bias, others = theta.tensor_split([width * rank, n_own], dim=1)
        outputs = self._outputs(synset.X, weight.view(-1, width, rank))
        if bias.shape[1]:
            outputs.add_(bias[:, None])
        loss = partial(_loss_of_outputs, self.rest, synset)
        of_rest = vmap(grad(loss, argnums=(0, 1)), chunk_size=at_once)
        by_others, by_outputs = of_rest(others, outputs, kept)
        by_weight = by_outputs.transpose(1, 2) @ synset.X
        by_bias = by_outputs.sum(1) if bias.shape[1] else bias
        return torch.cat([by_weight.flatten(1), by_bias, by_others], dim=1)

    def _outputs(self, X: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Return the layer's outputs (R, n, h) but for a trained bias."""
        followed = slice(self.n_followed)
        difference = weight[:, :, followed] - weight[0, :, followed]
        shared = X @ weight[0].T
        if self.bias is not None:
            shared += self.bias
        return (X[:, followed] @ difference.transpose(1, 2)).add_(shared)


def _loss_of_outputs(
    rest: FunctionalModel,
    synset: Synset,
    theta: torch.Tensor,
    outputs: torch.Tensor,
    kept: torch.Tensor,
) -> torch.Tensor:
    return data_loss(rest, replace(synset, X=outputs), theta, kept)


def first_layer(model: FunctionalModel, subspace: InputSubspace | None) -> FirstLayer | None:
    """Return a network's first layer, if it is one of projected rows, see `projected`.

    Parameters
    ----------
    model : FunctionalModel
        The network.

    subspace : InputSubspace or None
        In which rows may be.

    Returns
    -------
    layer : FirstLayer or None
        None if the network projects its rows itself.
    """
    if subspace is None or type(model.module) is not nn.Sequential:
        return None
    (name, layer), *others = model.module._modules.items()
    if name != subspace.layer or type(layer) is not nn.Linear or not others:
        return None
    n_own = sum(each.rpartition(".")[0] == name for each in model.names)
    rest = replace(
        model,
        module=nn.Sequential(OrderedDict(others)).eval(),
        theta=model.theta[sum(math.prod(shape) for shape in model.shapes[:n_own]) :],
        names=model.names[n_own:],
        shapes=model.shapes[n_own:],
    )
    is_trained = f"{name}.bias" in model.names
    n_followed = n_components(subspace.moments, _FOLLOWED)
    return FirstLayer(subspace, n_followed, None if is_trained else layer.bias, rest)
