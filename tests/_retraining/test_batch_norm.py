"""Batch normalisation by the statistics of the rows that remain."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call

from sklearn_synset._retraining.batch_norm import absorbed, in_training, moments, with_statistics
from sklearn_synset._retraining.checkpoints import checkpoints
from sklearn_synset._retraining.leave_out import LeaveOut, leave_one_out
from sklearn_synset._retraining.removal import Retraining, removal_path
from sklearn_synset._retraining.rewinding import rewound
from sklearn_synset._retraining.synset import Synset
from tests.problems import functional, mlp, seeded, small_conv, train
from tests.reference import nesterov_by_loop

N = 24
GROUP = torch.arange(N) % 4
HOW = LeaveOut(0.8, 60, batch_size=100, seed=0)


def table_module():
    return seeded(
        lambda: nn.Sequential(
            *(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh()),
            *(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3)),
        ).double()
    )


@pytest.fixture(params=["table", "images"])
def problem(request):
    """Return a network that was trained in training mode, and its rows in four groups."""
    rng = np.random.RandomState(0)
    y = np.arange(N) % 3
    X = rng.randn(N, *((4,) if request.param == "table" else (1, 4, 4)))
    X.reshape(N, -1)[np.arange(N), y] += 2
    module = table_module() if request.param == "table" else small_conv()
    module = train(module.train(), X, y, nn.CrossEntropyLoss(), n_steps=60)
    model = functional(module, X, y, np.arange(3), weight_decay=0.01)
    targets = torch.eye(3, dtype=torch.float64)[torch.from_numpy(y)]
    weight = torch.from_numpy(rng.uniform(1, 3, N))
    size = weight.new_zeros(4).index_add(0, GROUP, weight)
    return model, Synset(torch.from_numpy(X), targets, weight, GROUP, size)


def trained_mode(model, theta, X):
    """Return the outputs of a copy of the module whose normalisations are in training mode."""
    module = copy.deepcopy(model.module)
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.train()
    return functional_call(module, model.unflatten(theta), (X,))


def norms(model):
    return {
        name: part
        for name, part in model.module.named_modules()
        if isinstance(part, nn.modules.batchnorm._BatchNorm)
    }


def test_rows_are_normalised_as_in_training_by_those_that_have_weight(problem):
    model, synset = problem
    network = in_training(model, synset.X)
    theta = model.theta + 0.1
    torch.testing.assert_close(network(theta, synset.X), trained_mode(model, theta, synset.X))
    kept = (GROUP != 2).double()
    expected = trained_mode(model, theta, synset.X[GROUP != 2])
    torch.testing.assert_close(network(theta, synset.X, kept)[GROUP != 2], expected)
    # A weight of two is the row twice.
    twice = torch.cat([synset.X, synset.X[:3]])
    weight = torch.ones(N).double()
    weight[:3] = 2
    expected = trained_mode(model, theta, twice)[:N]
    torch.testing.assert_close(network(theta, synset.X, weight), expected)


def test_the_explained_network_stays_as_it_is(problem):
    model, synset = problem
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    outputs = model(model.theta, synset.X)
    network = in_training(model, synset.X)
    network(network.theta, synset.X, synset.weight)
    moments(network, model.theta[None], synset.X, synset.weight[None])
    assert torch.equal(model(model.theta, synset.X), outputs)
    assert torch.equal(model(model.theta, synset.X, synset.weight), outputs)
    for name, value in model.module.state_dict().items():
        assert torch.equal(value, before[name])
    # Nothing is left hanging at the modules.
    assert not any(part._forward_pre_hooks for part in network.module.modules())


class Repeated(nn.Module):
    """A network with a normalisation in a place of its own."""

    def __init__(self, apply):
        super().__init__()
        self.norm, self.last, self.apply_norm = nn.BatchNorm1d(4), nn.Linear(4, 3), apply

    def forward(self, X):
        return self.last(self.apply_norm(self.norm, X))


class OfMyOwn(nn.BatchNorm1d):
    """A normalisation that does something else."""

    def forward(self, inputs):
        return super().forward(inputs).abs()


class Known(nn.Module):
    """A normalisation under two names, used by the second."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.layers = nn.Sequential(self.norm, nn.Linear(4, 3))

    def forward(self, X):
        return self.layers(X)


def unaffine():
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5, affine=False), nn.Linear(5, 3))


def frozen_scale():
    module = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))
    module[1].weight.requires_grad_(False)
    return module


@pytest.mark.parametrize(
    "build",
    [
        mlp,
        lambda: nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.Linear(5, 3)),
        unaffine,
        frozen_scale,
        lambda: Repeated(lambda norm, X: norm(norm(X))),
        # Two halves of each row, one after the other: no statistics of rows.
        lambda: Repeated(lambda norm, X: norm(X.repeat(2, 1))[: len(X)]),
        lambda: Repeated(lambda norm, X: X),
        lambda: nn.Sequential(nn.Linear(4, 5), OfMyOwn(5), nn.Linear(5, 3)),
        Known,
    ],
    ids=["none", "layer", "fixed", "frozen", "twice", "not rows", "unused", "own", "two names"],
)
def test_other_networks_have_no_statistics_of_rows(build):
    X = np.random.RandomState(0).randn(6, 4)
    model = functional(seeded(build).double(), X, np.arange(6) % 3, np.arange(3))
    assert in_training(model, torch.from_numpy(X)) is None


def test_moments_are_weighted_means_and_variances(problem):
    model, synset = problem
    network = in_training(model, synset.X)
    theta = torch.stack([model.theta, model.theta + 0.1])
    weight = torch.stack([synset.weight, synset.weight * (GROUP != 1)])
    found = moments(network, theta, synset.X, weight)
    assert list(found) == list(norms(model))
    first = next(iter(found))
    for network_index in range(2):
        captured = {}
        watched = norms(network)[first].register_forward_pre_hook(
            lambda _, given, captured=captured: captured.update(inputs=given[0])
        )
        network(theta[network_index], synset.X, weight[network_index])
        watched.remove()
        values = captured["inputs"].reshape(N, captured["inputs"].shape[1], -1)
        share = weight[network_index] / weight[network_index].sum()
        mean = (share[:, None] * values.mean(2)).sum(0)
        variance = (share[:, None] * (values - mean[:, None]).square().mean(2)).sum(0)
        torch.testing.assert_close(found[first].mean[network_index], mean)
        torch.testing.assert_close(found[first].variance[network_index], variance)


def test_moments_are_the_same_few_networks_at_a_time(problem):
    model, synset = problem
    network = in_training(model, synset.X)
    theta = model.theta + 0.001 * torch.arange(400.0).double()[:, None]
    found = moments(network, theta, synset.X, synset.weight.expand(400, -1))
    for k in (0, 170, 399):
        expected = moments(network, theta[[k]], synset.X, synset.weight[None])
        for name in expected:
            torch.testing.assert_close(found[name].mean[k], expected[name].mean[0])
            torch.testing.assert_close(found[name].variance[k], expected[name].variance[0])


def test_absorbed_statistics_give_the_outputs_that_they_gave(problem):
    model, synset = problem
    network = in_training(model, synset.X)
    theta = torch.stack([model.theta + 0.1, model.theta - 0.05])
    weight = torch.stack([synset.weight * (GROUP != 0), synset.weight])
    found = absorbed(network, theta, moments(network, theta, synset.X, weight))
    for own, trained, counts in zip(found, theta, weight, strict=True):
        expected = network(trained, synset.X, counts)
        torch.testing.assert_close(model(own, synset.X), expected)


def test_the_change_of_statistics_is_taken_over_to_the_stored_ones(problem):
    model, synset = problem
    network = in_training(model, synset.X)
    theta, kept = model.theta[None] + 0.1, (GROUP != 0).double()
    before = moments(network, model.theta[None], synset.X, synset.weight[None])
    now = moments(network, theta, synset.X, (synset.weight * kept)[None])
    found = absorbed(network, theta, now, before)[0]
    module = copy.deepcopy(model.module)
    for name, norm in norms(replace(model, module=module)).items():
        stored, variance = norm.running_mean.clone(), norm.running_var.clone()
        start, end = before[name], now[name]
        spread = ((variance + norm.eps) / (start.variance[0] + norm.eps)).sqrt()
        norm.running_mean.copy_(stored + (end.mean - start.mean)[0] * spread)
        ratio = (end.variance[0] + norm.eps) / (start.variance[0] + norm.eps)
        norm.running_var.copy_((variance + norm.eps) * ratio - norm.eps)
    expected = functional_call(module, model.unflatten(theta[0]), (synset.X,))
    torch.testing.assert_close(model(found, synset.X), expected)


def test_nothing_left_out_moves_nothing(problem):
    model, synset = problem
    network = in_training(model, synset.X)
    kept, still = torch.ones(2, 4).double(), torch.zeros(2, model.n_parameters).double()
    kept[1, 0] = 0
    found = with_statistics(network, synset, kept, still, seed=0)
    torch.testing.assert_close(found[0], still[0])
    # Statistics alone change without a group.
    assert found[1].abs().max() > 1e-3


def test_leaving_out_equals_a_loop_over_networks_in_training_mode(problem):
    model, synset = problem
    plan = Retraining(0.5, 6, 0.05, has_live_norms=True)
    kept = leave_one_out(synset)
    network = in_training(model, synset.X)

    def gradient_without(counts):
        def gradient(theta):
            point = theta.clone().requires_grad_()
            outputs = network(point, synset.X, counts)
            loss = -(synset.y * outputs.log_softmax(1)).sum(1)
            total = (counts * loss).sum() / counts.sum() + 0.005 * point.square().sum()
            return torch.autograd.grad(total, point)[0]

        return gradient

    start = rewound(model, 0.5)
    moved = []
    for without in kept:
        own, everything = (
            gradient_without(synset.weight * without[GROUP]),
            gradient_without(synset.weight),
        )
        ways = [
            [nesterov_by_loop(each, start, n, 0.05) for n in range(1, 7)]
            for each in (own, everything)
        ]
        path = torch.stack(ways[0]) - torch.stack(ways[1])
        mean = path.mean(0)
        moved.append((path[-1] + mean * path[-1].norm() / mean.norm()) / 2)
    expected = with_statistics(network, synset, kept, torch.stack(moved), HOW.seed)
    found = HOW.displacements(model, synset, kept, plan)
    torch.testing.assert_close(found, expected)
    nothing = HOW.displacements(model, synset, torch.ones(1, 4).double(), plan)
    assert (nothing == 0).all()


def test_checkpoints_are_the_path_as_it_is_evaluated(problem):
    model, synset = problem
    kept = torch.cat([torch.ones(1, 4).double(), leave_one_out(synset)[:1]])
    for has_live_norms in (False, True):
        plan = Retraining(0.5, 4, 0.05, has_live_norms=has_live_norms)
        found = checkpoints(model, synset, kept, plan, (2, 4))
        assert list(found) == [2, 4]
        network = in_training(model, synset.X) if has_live_norms else model
        path = [theta.clone() for theta in removal_path(network, synset, kept, plan)]
        for step, theta in found.items():
            expected = path[step - 1]
            if has_live_norms:
                moved = expected - model.theta
                expected = model.theta + with_statistics(network, synset, kept, moved, 0)
            torch.testing.assert_close(theta, expected)
