"""Gradients of networks near one, and which networks have them."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import grad

from sklearn_synset._curvature.output_jacobian import Linearisation
from sklearn_synset._retraining.batch_norm import in_training, moments
from sklearn_synset._retraining.leave_out import LeaveOut, leave_one_out
from sklearn_synset._retraining.linearised_gradient import (
    linearised_gradient,
    linearised_layers,
    moments_near,
)
from sklearn_synset._retraining.synset import Synset, data_loss
from tests.problems import functional, seeded

N, K = 480, 80
HOW = LeaveOut(0.8, 20, batch_size=1000, seed=0, linearised=("conv", "norm", "head"))


class Convolutional(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)
        self.head = nn.Linear(4 * 36, 3)

    def forward(self, X):
        return self.head(self.norm(self.conv(X)).relu().flatten(1))


class UsedTwice(Convolutional):
    def forward(self, X):
        return super().forward(X) + super().forward(X.flip(2))


class UsedElsewhere(Convolutional):
    def forward(self, X):
        return super().forward(X) + self.head.weight.square().sum()


def no_convolution():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 3))


def group_normalised():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3)
    )


def many_channels():
    """A first layer whose Jacobian takes more operations than gradients do."""
    return nn.Sequential(nn.Conv2d(1, 64, 7), nn.ReLU(), nn.Flatten(), nn.Linear(64 * 4, 3))


def problem(build=Convolutional):
    """Return a network as it is trained, and rows of 80 groups."""
    rng = np.random.RandomState(0)
    y = np.arange(N) % 3
    X = rng.randn(N, 1, 8, 8)
    X.reshape(N, -1)[np.arange(N), y] += 2
    model = functional(seeded(lambda: build().double()), X, y, np.arange(3), weight_decay=0.01)
    rows = torch.from_numpy(X)
    group = torch.arange(N) % K
    synset = Synset(
        rows, torch.eye(3).double()[y], torch.ones(N).double(), group, group.bincount().double()
    )
    return model, synset


def layers_of(build):
    model, synset = problem(build)
    live = in_training(model, synset.X) or model
    return linearised_layers(live, synset, live.theta, seed=0)


def test_gradients_are_exact_where_outputs_are_linear_in_the_weights():
    model, synset = problem(lambda: nn.Sequential(nn.Conv2d(1, 3, 8), nn.Flatten()))
    drawn = torch.from_numpy(np.random.RandomState(1).randn(3, model.n_parameters)) / 10
    theta, kept = model.theta + drawn, torch.ones(3, K).double()
    kept[1, :5] = kept[2, 70:] = 0
    own = torch.stack(
        [grad(partial(data_loss, model, synset))(*each) for each in zip(theta, kept, strict=True)]
    )
    found = linearised_gradient(Linearisation(model, ["0"]), synset, theta, kept, own[0])
    torch.testing.assert_close(found, own)


def test_moments_are_computed_to_first_order():
    model, synset = problem()
    X = synset.X[:60]
    model = in_training(model, X)
    direction = torch.from_numpy(np.random.RandomState(1).randn(model.n_parameters))

    def errors(length):
        theta = torch.stack([model.theta, model.theta + length * direction])
        weight = torch.ones(2, len(X)).double()
        weight[1, :20] -= length
        exact = moments(model, theta, X, weight)["norm"]
        found = moments_near(model, theta, X, weight, ("conv", "norm", "head"))["norm"]
        for each, own in zip(found, exact, strict=True):
            torch.testing.assert_close(each[0], own[0])
        return [
            ((each[1] - own[1]).norm(), (own[1] - own[0]).norm())
            for each, own in zip(found, exact, strict=True)
        ]

    for (far, change), (near, _) in zip(errors(0.01), errors(0.005), strict=True):
        assert far < 0.2 * change
        assert 3.5 < float(far / near) < 4.5


def test_layers_are_named_in_the_order_of_their_use():
    assert layers_of(Convolutional) == ("conv", "norm", "head")


@pytest.mark.parametrize(
    "build", [UsedTwice, UsedElsewhere, no_convolution, group_normalised, many_channels]
)
def test_networks_that_cannot_or_need_not_be_linearised_are_not(build):
    assert layers_of(build) == ()


def test_groups_left_out_by_linearised_networks_move_outputs_as_by_their_own():
    model, synset = problem()
    plan = HOW.plan(model, synset)
    kept = leave_one_out(synset)[:10]
    found = HOW.displacements(model, synset, kept, plan)
    own = HOW.displacements(model, synset, kept, replace(plan, linearised=()))
    assert not torch.equal(found, own)
    X = synset.X[:60]
    base = model(model.theta, X)
    found, own = (
        torch.stack([model(model.theta + each, X) - base for each in moved]).flatten()
        for moved in (found, own)
    )
    assert torch.corrcoef(torch.stack([found, own]))[0, 1] > 0.95
    assert 0.8 < float(found.norm() / own.norm()) < 1.25


def test_a_large_part_is_left_out_by_each_networks_own_gradients():
    model, synset = problem()
    plan = HOW.plan(model, synset)
    kept = torch.ones(1, K).double()
    kept[0, : K // 4] = 0
    own = replace(plan, linearised=())
    for found in (
        HOW.displacements,
        lambda *args: HOW.displacements_by_network([args[0]], *args[1:3], [args[3]])[0],
    ):
        torch.testing.assert_close(
            found(model, synset, kept, plan), found(model, synset, kept, own), rtol=0, atol=0
        )
