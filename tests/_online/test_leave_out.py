"""How many networks are trained side by side."""

from types import SimpleNamespace
from typing import ClassVar

import joblib
import pytest
import torch

import sklearn_synset._online._leave_out as module
from sklearn_synset._online._leave_out import (
    LeaveOut,
    _n_jobs_of,
    leave_one_out,
    loses_a_class,
    with_shorter_steps,
)
from sklearn_synset._online._removal import Retraining
from sklearn_synset._synset import Synset
from tests.problems import classification_model, regression_model


def leave_out(batch_size):
    fields = {"solver": "gradient_descent", "rewind": 0.5, "n_steps": 5, "step_size": "auto"}
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
        (1, torch.float64, 100, 10**6, 6),
    ],
)
def test_weights_and_rows_keep_to_the_budget(n_parameters, dtype, batch_size, n_rows, expected):
    model = SimpleNamespace(n_parameters=n_parameters, theta=torch.zeros(1, dtype=dtype))
    synset = SimpleNamespace(weight=torch.ones(1).expand(n_rows))
    found = LeaveOut.n_networks(leave_out(batch_size), model, synset)
    assert found == expected


@pytest.mark.parametrize(
    ("flops", "n_networks", "expected"),
    [(1e9, 100, 1), (5e9, 100, 5), (1e12, 100, 12), (1e12, 16, 2), (1e12, 15, 1), (0, 100, 1)],
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
        how = LeaveOut("gradient_descent", 0.5, 3, 0.1, 0.0, 4096, seed=0, n_jobs=n_jobs)
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
    settings = LeaveOut("gradient_descent", rewind, 5, "auto", 0.0, batch_size=10, seed=0)
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
    monkeypatch.setattr(module, "flops_of_gradient", lambda model, X: flops)
    model = SimpleNamespace(n_parameters=3, device=SimpleNamespace(type=device))
    synset = SimpleNamespace(X=None, weight=torch.ones(40))
    kept = torch.ones(n_removals, 5)
    plans = [SimpleNamespace(n_steps=5)] * n_models
    how = LeaveOut("gradient_descent", 0.5, 3, 0.1, 0.0, 4096, seed=0, verbose=verbose)
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
        (1e8, 60, 1, "cpu", ([9, 9, 9, 9, 8, 8, 8], True)),
        (2.5e7, 60, 1, "cpu", ([20, 20, 20], True)),
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
    how = LeaveOut("gradient_descent", 0.5, 3, 0.1, 0.0, 4096, seed=0)
    for n_removals, expected in ((7, [3, 3, 1]), (2, [2])):
        sizes.clear()
        how.displacements(None, None, torch.ones(n_removals, 4), None)
        assert sizes == expected


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
