"""How many networks are trained side by side."""

from dataclasses import replace
from types import SimpleNamespace
from typing import ClassVar

import joblib
import numpy as np
import pytest
import torch

import sklearn_synset._retraining.leave_out as module
from sklearn_synset._retraining import minibatches as minibatches_file
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


def test_the_number_of_jobs_at_once_does_not_change_what_they_are(monkeypatch):
    model, X, targets = classification_model(40)
    groups = torch.arange(20).repeat(2)
    weight, sizes = torch.ones(40).double(), torch.full((20,), 2.0).double()
    synset = Synset(X, targets, weight, groups, sizes)
    kept = leave_one_out(synset)
    asked = []
    solve = LeaveOut.displacements
    monkeypatch.setattr(module, "_FLOPS_PER_JOB", 1.0)
    monkeypatch.setattr(
        LeaveOut, "displacements", lambda self, *job: asked.append(len(job[2])) or solve(self, *job)
    )
    found = []
    for n_jobs in (None, 2):
        how = LeaveOut(0.5, 3, 4096, seed=0, n_jobs=n_jobs)
        plan = how.plan(model, synset)
        with joblib.parallel_config(backend="threading"):
            found += how.displacements_by_network([model], synset, kept, [plan])
    assert asked == [10, 10] * 2
    assert torch.equal(*found)
    torch.testing.assert_close(found[0], solve(how, model, synset, kept, plan))


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


class Bar:
    """Notes what a progress bar would show."""

    made: ClassVar = []

    def __init__(self, **settings):
        self.settings, self.updates = settings, []
        self.made.append(self)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def update(self, n):
        self.updates.append(n)


@pytest.fixture
def jobs(monkeypatch):
    """Note the jobs there would be, and whether they are worth other processes."""
    noted = []

    def in_parallel(function, jobs, *, n_jobs, is_worth_it):
        noted.append(([len(kept) for _, _, kept, _ in jobs], is_worth_it))
        return [torch.zeros(len(kept), model.n_parameters) for model, _, kept, _ in jobs]

    monkeypatch.setattr(module, "in_parallel", in_parallel)
    monkeypatch.setattr(module, "tqdm", Bar)
    Bar.made.clear()
    return noted


def go(monkeypatch, flops, n_removals, n_models=1, device="cpu", verbose=0, stage=None):
    """Leave 16 or so removals out of a synset of 40 rows, of which a gradient takes `flops`."""
    monkeypatch.setattr(module, "cost_of_gradient", lambda model, X, own: own or flops)
    device = SimpleNamespace(type=device)
    model = SimpleNamespace(n_parameters=3, device=device, module=torch.nn.Identity())
    synset = SimpleNamespace(X=None, weight=torch.ones(40))
    kept = torch.ones(n_removals, 5)
    plans = [Retraining(0.5, 5, 0.1)] * n_models
    how = LeaveOut(0.5, 3, 4096, seed=0, verbose=verbose)
    moves = how.displacements_by_network([model] * n_models, synset, kept, plans, stage)
    assert [move.shape for move in moves] == [(n_removals, 3)] * n_models


@pytest.mark.parametrize(
    ("flops", "n_removals", "n_models", "device", "expected"),
    [
        # A network takes 40 rows x 5 steps of them; a job is to have 1e11 operations.
        (1e8, 16, 1, "cpu", ([8, 8], True)),
        (1e8, 16, 1, "cuda", ([8, 8], False)),
        (1e8, 8, 1, "cpu", ([8], False)),
        (1e8, 8, 2, "cpu", ([8, 8], True)),
        (1e8, 7, 2, "cpu", ([7, 7], False)),
        (5e8 / 16, 16, 1, "cpu", ([16], False)),
        (5e8 / 16, 16, 2, "cpu", ([16, 16], True)),
        (5e8 / 32, 16, 2, "cpu", ([16, 16], False)),
        (1e7, 60, 1, "cpu", ([60], False)),
        (1e8, 60, 1, "cpu", ([10] * 6, True)),
        (2.5e7, 60, 1, "cpu", ([30, 30], True)),
    ],
)
def test_jobs_are_made_by_the_work_there_is(
    monkeypatch, jobs, flops, n_removals, n_models, device, expected
):
    go(monkeypatch, flops, n_removals, n_models, device)
    assert jobs == [expected]


@pytest.mark.parametrize(
    ("verbose", "stage", "is_shown"),
    [(1, "Leaving out", True), (0, "Leaving out", False), (1, None, False), (0, None, False)],
)
def test_a_named_stage_has_a_progress_bar_if_asked_for(monkeypatch, jobs, verbose, stage, is_shown):
    go(monkeypatch, 1e8, 16, 2, verbose=verbose, stage=stage)
    (bar,) = Bar.made
    assert bar.settings["disable"] == (not is_shown)
    assert bar.settings["total"] == 32 and bar.updates == [8, 8, 8, 8]
    assert bar.settings["desc"] == stage


def test_the_work_of_a_step_is_that_of_a_minibatch(monkeypatch, jobs):
    monkeypatch.setattr(module, "n_minibatches", lambda synset: 4)
    go(monkeypatch, 1e8, 40)
    assert jobs == [([20, 20], True)]


def test_training_is_long_beyond_a_job_of_work(monkeypatch, jobs):
    monkeypatch.setattr(module, "_n_jobs_of", lambda flops, n_networks: 2)
    go(monkeypatch, 1e11 / 200 / 16, 16)
    go(monkeypatch, 1.01e11 / 200 / 16, 16)
    assert jobs == [([8, 8], False), ([8, 8], True)]


def test_no_more_networks_side_by_side_than_there_are(monkeypatch):
    sizes = []
    monkeypatch.setattr(LeaveOut, "n_networks", lambda self, model, synset: 3)
    monkeypatch.setattr(
        LeaveOut, "_solve", lambda self, model, synset, part, plan: sizes.append(len(part)) or part
    )
    how = LeaveOut(0.5, 3, 4096, seed=0)
    for n_removals, expected in ((7, [3, 3, 1]), (2, [2])):
        sizes.clear()
        how.displacements(None, None, torch.ones(n_removals, 4), Retraining(0.5, 5, 0.1))
        assert sizes == expected


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
    with pytest.raises(FloatingPointError, match="diverges; lower step_size or raise damping"):
        with_shorter_steps(lambda plan: [torch.full((2, 3), torch.inf)], Retraining(0.5, 3, 0.64))


@pytest.fixture
def large(monkeypatch):
    """Return a network of 20 inputs, of which three vary, and its synset in minibatches."""
    monkeypatch.setattr(minibatches_file, "_ROWS", 10)
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(36, 3, generator=generator, dtype=torch.float64)
    X = X @ torch.randn(3, 20, generator=generator, dtype=torch.float64)
    labels = torch.arange(36) % 3
    model = functional(mlp(20), X.numpy(), labels.numpy(), np.arange(3), 0.01)
    group = torch.arange(4).repeat_interleave(9)
    weight, sizes = torch.ones(36).double(), torch.full((4,), 9.0).double()
    return model, Synset(X, torch.eye(3).double()[labels], weight, group, sizes)


SETTINGS = {"rewind": 0.5, "n_steps": 40}


@pytest.mark.parametrize(
    ("change", "is_preconditioned"),
    [
        ({}, True),
        ({"rewind": "auto"}, True),
        ({"rewind": 0.0}, False),
    ],
)
def test_groups_of_large_synsets_are_left_out_in_preconditioned_steps(
    large, monkeypatch, change, is_preconditioned
):
    model, synset = large
    how = LeaveOut(**SETTINGS | change, batch_size=4096, seed=0)
    plan = how.plan_for_groups(model, synset)
    assert (plan.preconditioner is not None) is is_preconditioned
    assert how.plan(model, synset).preconditioner is None
    monkeypatch.setattr(minibatches_file, "_ROWS", 36)
    assert how.plan_for_groups(model, synset).preconditioner is None


def test_those_of_models_with_a_steady_curvature_are_not(large, monkeypatch):
    model, synset = large
    monkeypatch.setattr(module, "curves_steadily", lambda asked: asked is model)
    how = LeaveOut(**SETTINGS, batch_size=4096, seed=0)
    assert how.plan_for_groups(model, synset).preconditioner is None


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
    assert module._flops(model, synset, plan) == per_row * 36 / 3 * plan.n_steps
    plain = how.plan(model, synset)
    assert module._flops(model, synset, plain) == 3 * 2 * (20 * 5 + 15) * 36 / 3 * plain.n_steps
