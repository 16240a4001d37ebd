"""How many networks are trained side by side."""

from types import SimpleNamespace

import joblib
import pytest
import torch

import sklearn_synset._online._leave_out as module
from sklearn_synset._online._leave_out import LeaveOut, _n_jobs_of, leave_one_out, loses_a_class
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
