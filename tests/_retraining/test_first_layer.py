from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn
from torch.func import grad, vmap

from sklearn_synset._retraining.preconditioning import first_layer as module
from sklearn_synset._retraining.preconditioning.first_layer import first_layer
from sklearn_synset._retraining.preconditioning.input_subspace import input_subspace
from sklearn_synset._retraining.synset import data_loss
from tests._retraining.test_input_subspace import RANK, Reads, layers, problem

KEPT = torch.tensor([[1.0, 1.0], [0.0, 1.0], [1.0, 0.0]]).double()


def frozen_bias():
    first, *others = layers()
    first.bias.requires_grad_(False)
    return nn.Sequential(first, *others)


def chain(build=None):
    """Return a network of projected rows, these, its subspace, and three weight vectors."""
    model, synset = problem(build)
    subspace = input_subspace(model, synset, seed=0)
    network, projected = subspace.projected(subspace.narrow(model), synset)
    generator = torch.Generator().manual_seed(2)
    noise = torch.randn(3, network.n_parameters, generator=generator, dtype=torch.float64)
    return network, projected, subspace, network.theta + 0.1 * noise


BUILDS = [
    None,
    frozen_bias,
    lambda: nn.Sequential(*layers(bias=False)),
    lambda: nn.Sequential(nn.Flatten(), *layers()),
]


@pytest.mark.parametrize("build", BUILDS)
def test_with_all_components_gradients_are_those_of_the_loss(build, monkeypatch):
    monkeypatch.setattr(module, "_FOLLOWED", 1.0)
    network, synset, subspace, theta = chain(build)
    layer = first_layer(network, subspace)
    assert layer.n_followed == RANK
    expected = vmap(grad(partial(data_loss, network, synset)))(theta, KEPT)
    torch.testing.assert_close(layer.gradients(synset, theta, KEPT), expected)


@pytest.mark.parametrize("build", BUILDS)
def test_along_the_other_components_outputs_are_those_of_the_first_network(build, monkeypatch):
    monkeypatch.setattr(module, "_FOLLOWED", 0.5)
    network, synset, subspace, theta = chain(build)
    layer, size = first_layer(network, subspace), 5 * RANK
    assert layer.n_followed < RANK

    def seen_by_all(theta):
        weight = theta[:, :size].reshape(-1, 5, RANK).clone()
        weight[:, :, layer.n_followed :] = weight[:1, :, layer.n_followed :]
        return torch.cat([weight.flatten(1), theta[:, size:]], dim=1)

    expected = vmap(grad(partial(data_loss, network, synset)))(seen_by_all(theta), KEPT)
    found = layer.gradients(synset, theta, KEPT)
    torch.testing.assert_close(found, expected)
    exact = vmap(grad(partial(data_loss, network, synset)))(theta, KEPT)
    torch.testing.assert_close(found[0], exact[0])
    assert not torch.allclose(found[1], exact[1], rtol=1e-3)


def test_a_network_that_projects_its_rows_itself_has_none():
    model, synset = problem()
    subspace = input_subspace(model, synset, seed=0)
    narrowed = subspace.narrow(model)
    assert first_layer(narrowed, subspace) is None
    assert first_layer(narrowed, None) is None
    model, synset = problem(Reads)
    subspace = input_subspace(model, synset, seed=0)
    assert first_layer(subspace.narrow(model), subspace) is None


def test_components_are_followed_by_their_moments():
    network, _, subspace, _ = chain()
    for moments, expected in (((90, 6, 4), 3), ((90, 8, 2), 2), ((98, 1, 1), 1)):
        other = replace(subspace, moments=torch.tensor(moments).double())
        assert first_layer(network, other).n_followed == expected


def test_a_few_networks_at_once_have_the_same_gradients():
    network, synset, subspace, theta = chain()
    layer = first_layer(network, subspace)
    torch.testing.assert_close(
        layer.gradients(synset, theta, KEPT, at_once=2), layer.gradients(synset, theta, KEPT)
    )
