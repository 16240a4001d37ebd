"""Jacobians of whole networks, beside those of automatic differentiation."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.autograd.functional import jacobian as jacobian_of
from torch.func import vjp

from sklearn_synset._curvature import output_jacobian
from sklearn_synset._curvature.output_jacobian import Linearisation
from sklearn_synset._retraining.batch_norm import in_training
from tests.problems import functional, seeded

N = 6


def two_norms():
    return nn.Sequential(
        *(nn.Conv2d(1, 2, 2), nn.BatchNorm2d(2), nn.Tanh()),
        *(nn.Conv2d(2, 4, 2, groups=2, bias=False), nn.BatchNorm2d(4), nn.Tanh()),
        *(nn.Flatten(), nn.Linear(16, 5), nn.Tanh(), nn.Linear(5, 3)),
    )


def table_norm():
    return nn.Sequential(
        nn.Flatten(), nn.Linear(16, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 3, bias=False)
    )


def norm_of_rows():
    return nn.Sequential(
        nn.BatchNorm2d(1), nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3)
    )


def no_norm():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3))


def frozen_parts():
    module = no_norm()
    module[0].weight.requires_grad_(False)
    module[3].bias.requires_grad_(False)
    return module


def linear_only():
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.Tanh(), nn.Linear(4, 3))


NETWORKS = (two_norms, table_norm, norm_of_rows, no_norm, frozen_parts, linear_only)


@pytest.fixture(params=NETWORKS, ids=lambda build: build.__name__)
def problem(request):
    """Return a network with live statistics, rows and their weights, and its linearisation."""
    rng = np.random.RandomState(0)
    X, y = rng.randn(N, 1, 4, 4), np.arange(N) % 3
    module = seeded(lambda: request.param().double())
    model = functional(module, X, y, np.arange(3))
    model = in_training(model, torch.from_numpy(X)) or model
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name in model.names))
    weight = torch.from_numpy(rng.uniform(1, 3, N))
    return model, torch.from_numpy(X), weight, Linearisation(model, layers)


def draw(*shape):
    return torch.from_numpy(np.random.RandomState(1).randn(*shape))


def test_outputs_change_as_differentiation_tells(problem):
    model, X, weight, linearisation = problem
    delta, share = draw(2, model.n_parameters), draw(2, N)
    share -= share.mean(1, keepdim=True)
    jacobian = linearisation.at(model.theta, X, weight)

    def outputs(theta, share):
        return model(theta, X, share * weight.sum())

    by_weights, by_share = jacobian_of(outputs, (model.theta, weight / weight.sum()))
    change = delta @ by_weights.flatten(0, 1).T + share @ by_share.flatten(0, 1).T
    expected = model(model.theta, X, weight) + change.reshape(2, N, 3)
    torch.testing.assert_close(jacobian.outputs_at(delta, share), expected)
    assert (expected - jacobian.outputs).abs().max() > 0.1


def test_the_transposed_jacobian_is_that_of_differentiation(problem):
    model, X, weight, linearisation = problem
    cotangent = draw(2, N, 3)
    jacobian = linearisation.at(model.theta, X, weight)
    pulled_back = vjp(lambda theta: model(theta, X, weight), model.theta)[1]
    expected = torch.stack([pulled_back(each)[0] for each in cotangent])
    torch.testing.assert_close(jacobian.transposed(cotangent, model.n_parameters), expected)


def test_the_network_is_left_as_it_is_and_no_graph_is_kept(problem):
    model, X, weight, linearisation = problem
    before = model(model.theta, X, weight)
    with torch.no_grad():
        jacobian = linearisation.at(model.theta, X, weight)
    assert not jacobian.matrix.requires_grad and not jacobian.outputs.requires_grad
    assert not any(module._forward_hooks for module in model.module.modules())
    torch.testing.assert_close(model(model.theta, X, weight), before, rtol=0, atol=0)


@pytest.mark.parametrize("build", [two_norms])
def test_statistics_are_estimated_on_some_of_the_rows(monkeypatch, build):
    rng = np.random.RandomState(0)
    X, y = rng.randn(N, 1, 4, 4), np.arange(N) % 3
    model = functional(seeded(lambda: build().double()), X, y, np.arange(3))
    model, weight = in_training(model, torch.from_numpy(X)), torch.ones(N).double()
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name in model.names))
    twice = torch.from_numpy(X).repeat_interleave(2, 0)
    found = []
    for n_rows in (N, 2 * N):
        monkeypatch.setattr(output_jacobian, "ROWS_OF_STATISTICS", n_rows)
        found.append(Linearisation(model, layers).at(model.theta, twice, weight.repeat(2)).matrix)
    torch.testing.assert_close(*found)
