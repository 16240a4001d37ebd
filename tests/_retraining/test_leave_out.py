"""How many networks are trained side by side."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

import sklearn_synset._retraining.leave_out as module
from sklearn_synset._retraining.leave_out import (
    LeaveOut,
    _n_jobs_of,
    loses_a_class,
    with_shorter_steps,
)
from sklearn_synset._retraining.removal import Retraining
from sklearn_synset._retraining.synset import Synset
from tests.problems import classification_model, regression_model


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
