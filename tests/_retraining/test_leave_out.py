"""How many networks are trained side by side."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import sklearn_synset._retraining.leave_out as module
from sklearn_synset._retraining.leave_out import (
    LeaveOut,
    _n_jobs_of,
    leave_one_out,
    loses_a_class,
    with_shorter_steps,
)
from sklearn_synset._retraining.minibatches import minibatches
from sklearn_synset._retraining.removal import Retraining, displacements, mean_loss, removal_path
from sklearn_synset._retraining.rewinding import rewound
from sklearn_synset._retraining.synset import Synset
from tests.problems import classification_model, functional, mlp, regression_model
from tests.reference import nesterov_by_loop


def leave_out(batch_size):
    fields = {"rewind": 0.5, "n_steps": 5}
    return SimpleNamespace(batch_size=batch_size, **fields)


@pytest.mark.parametrize(
    ("n_parameters", "dtype", "batch_size", "n_rows", "expected"),
    [
        # 256 MiB of weights, eight copies of each network's.
        (2**20, torch.float64, 10**9, 1, 4),
        (2**20, torch.float32, 10**9, 1, 8),
        (2**30, torch.float64, 10**9, 1, 1),
        # Sixteen times as many rows as in a batch.
        (1, torch.float64, 100, 50, 32),
        (1, torch.float64, 1, 10**6, 1),
        # Of many, those of a minibatch.
        (1, torch.float64, 100, 10**6, 8),
    ],
)
def test_weights_and_rows_keep_to_the_budget(n_parameters, dtype, batch_size, n_rows, expected):
    model = SimpleNamespace(n_parameters=n_parameters, theta=torch.zeros(1, dtype=dtype))
    synset = SimpleNamespace(weight=torch.ones(1).expand(n_rows))
    found = LeaveOut.n_networks(leave_out(batch_size), model, synset)
    assert found == expected


@pytest.mark.parametrize(
    ("flops", "n_networks", "expected"),
    [
        (1e9, 100, 1),
        (5e9, 100, 4),
        (1e12, 100, 12),
        (1e12, 24, 2),
        (1e12, 16, 2),
        (1e12, 15, 1),
        (0, 100, 1),
    ],
)
def test_jobs_are_large_enough_to_be_worth_it(flops, n_networks, expected):
    assert _n_jobs_of(flops, n_networks) == expected


@pytest.mark.parametrize(
    ("kept", "expected"),
    [([1, 1, 1, 1], False), ([0, 1, 1, 1], False), ([0, 0, 1, 1], True), ([1, 1, 1, 0], True)],
)
def test_a_class_is_lost_with_the_last_group_that_has_rows_of_it(kept, expected):
    model, X, targets = classification_model(6)
    targets = torch.eye(3)[[0, 0, 0, 1, 1, 2]].to(X)
    group = torch.tensor([0, 1, 1, 2, 2, 3])
    synset = Synset(X, 0.8 * targets + 0.05, torch.ones(6).to(X), group, group.bincount().to(X))
    assert loses_a_class(model, synset, torch.tensor(kept).to(X)) is expected
    assert not loses_a_class(regression_model(6)[0], synset, torch.tensor(kept).to(X))


@pytest.mark.parametrize(("rewind", "expected"), [(0.5, 0.65), (0.0, 0.0)])
def test_without_a_class_networks_are_trained_from_further_back(rewind, expected):
    model, X, targets = classification_model(6)
    group = torch.tensor([0, 0, 1, 1, 2, 2])
    synset = Synset(X, targets, torch.ones(6).to(X), group, group.bincount().to(X))
    settings = LeaveOut(rewind, 5, batch_size=10, seed=0)
    plan = settings.without_a_class(model, synset, settings.plan(model, synset))
    assert plan.rewind == pytest.approx(expected)


def test_convolutions_are_more_work_than_their_operations():
    def flops(layer):
        model, X, _ = classification_model(6, module=layer)
        synset = SimpleNamespace(X=X, weight=torch.ones(6))
        plan = Retraining(0.5, 5, 0.1)
        return module._flops(model, synset, plan), module._flops(
            model, synset, replace(plan, linearised=("0",))
        )

    head = torch.nn.Linear(4, 3).double()
    plain = flops(torch.nn.Sequential(torch.nn.Unflatten(1, (1, 4)), torch.nn.Flatten(), head))
    convolution = torch.nn.Conv1d(1, 3, 4).double()
    convolved = flops(
        torch.nn.Sequential(torch.nn.Unflatten(1, (1, 4)), convolution, torch.nn.Flatten())
    )
    assert convolved[0] == 8 * plain[0]
    assert convolved[1] == plain[1] == 0


def test_steps_are_shortened_until_every_network_is_finite():
    tried = []

    def train(plan):
        tried.append(plan.step_size)
        last = torch.ones(2, 3)
        if len(tried) < 3:
            last[1, 0] = torch.nan
        return [torch.full((2, 3), torch.nan), last]

    found = with_shorter_steps(train, Retraining(0.5, 3, 0.64))
    assert tried == [0.64, 0.16, 0.04] and found[1].isfinite().all()
    with pytest.raises(FloatingPointError, match="scale the features, or raise weight_decay"):
        with_shorter_steps(lambda plan: [torch.full((2, 3), torch.inf)], Retraining(0.5, 3, 0.64))


N_LARGE = 600


@pytest.fixture(scope="module")
def large():
    """Return a network of 20 inputs, of which three vary, and its synset in three minibatches."""
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(N_LARGE, 3, generator=generator, dtype=torch.float64)
    X = X @ torch.randn(3, 20, generator=generator, dtype=torch.float64)
    labels = torch.arange(N_LARGE) % 3
    model = functional(mlp(20), X.numpy(), labels.numpy(), np.arange(3), 0.01)
    group = torch.arange(4).repeat_interleave(N_LARGE // 4)
    weight = torch.ones(N_LARGE).double()
    sizes = group.bincount().double()
    return model, Synset(X, torch.eye(3).double()[labels], weight, group, sizes)


SETTINGS = {"rewind": 0.5, "n_steps": 40, "is_preconditioned": True}


def test_networks_that_lose_a_class_are_preconditioned_too(large):
    model, synset = large
    how = LeaveOut(**SETTINGS, batch_size=4096, seed=0)
    plan = how.without_a_class(model, synset, how.plan_for_groups(model, synset))
    assert plan.preconditioner is not None and plan.rewind == pytest.approx(0.65)


def test_displacements_in_a_subspace_are_those_of_the_whole_network(large):
    model, synset = large
    how = LeaveOut(**SETTINGS, batch_size=4096, seed=0)
    plan = how.plan_for_groups(model, synset)
    scaled, kept = plan.preconditioner, leave_one_out(synset)
    assert scaled.subspace.basis.shape == (20, 3) and len(scaled.scale) < model.n_parameters
    found = how.displacements(model, synset, kept, plan)
    # The same factors on all weights: inputs have no other components than these.
    basis, width = scaled.subspace.basis, scaled.subspace.width
    first, rest = scaled.scale.split([3 * width, len(scaled.scale) - 3 * width])
    metric = torch.block_diag(*[(basis * own) @ basis.T for own in first.reshape(width, 3)])

    def move(gradient):
        return torch.cat([gradient[: 20 * width] @ metric, rest * gradient[20 * width :]])

    start, decay = rewound(model, plan.rewind), model.weight_decay
    # Weights that no input meets shrink without a gradient, in the subspace not at all.
    outside = torch.eye(20, dtype=torch.float64) - basis @ basis.T
    paths = []
    masks = torch.cat([torch.ones(1, 4).to(kept), kept])
    for mask in masks:
        dealt = minibatches(synset, plan.seed)

        def gradient(theta, mask=mask, dealt=dealt):
            point, rows = theta.detach().requires_grad_(), next(dealt)
            loss = mean_loss(model, rows, 0.0, point, mask)
            return move(torch.autograd.grad(loss, point)[0])

        ends = [nesterov_by_loop(gradient, start, plan.n_steps, plan.step_size)]
        paths.append(ends[-1])
    ends = torch.stack(paths[1:]) - paths[0]
    assert decay > 0 and (ends[:, : 20 * width].reshape(-1, 20) @ outside).abs().max() < 1e-12
    whole = replace(plan, n_fitted=None)
    moved = list(
        removal_path(scaled.narrow(model), synset, torch.cat([kept[:1] * 0 + 1, kept]), whole)
    )
    torch.testing.assert_close(scaled.lift(moved[-1][1:] - moved[-1][:1]), ends)
    narrowed = displacements(scaled.narrow(model), synset, kept, plan)
    torch.testing.assert_close(found, scaled.lift(narrowed))


def test_projecting_the_rows_is_not_the_work_of_each_network(large):
    model, synset = large
    how = LeaveOut(**SETTINGS, batch_size=4096, seed=0)
    plan = how.plan_for_groups(model, synset)
    per_row = 3 * 2 * (3 * 5 + 5 * 3)  # a first layer of three inputs and five outputs, and three
    assert module._flops(model, synset, plan) == per_row * N_LARGE / 3 * plan.n_steps
    plain = how.plan(model, synset)
    of_all_inputs = 3 * 2 * (20 * 5 + 15)
    assert module._flops(model, synset, plain) == of_all_inputs * N_LARGE / 3 * plain.n_steps
