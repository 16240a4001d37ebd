"""Rounds of anchors and matching: when they stop, and what is given up."""

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning

from sklearn_synset._data.training_data import TrainingRows
from sklearn_synset._distillation import distil as module
from sklearn_synset._distillation.distance import squared_error
from sklearn_synset._distillation.distil import Distilled, distil
from sklearn_synset._retraining.removal import Retraining
from tests.problems import classification_model, mean_rows

N_GROUPS = 6
RETRAINING = Retraining(rewind=0.5, n_steps=5, step_size=0.3, damping=0.02)


@pytest.fixture
def problem():
    """Return a network, rows in six groups, and a mean row for each."""
    model, X, targets = classification_model(30, 0.01)
    members = [torch.arange(30)[k::N_GROUPS] for k in range(N_GROUPS)]
    return model, TrainingRows(X, targets, members, 100), mean_rows(X, targets, members)


@pytest.fixture
def drawn(monkeypatch):
    """Note the synset and the plan of every round, and how many anchors its matching has."""
    calls, draw, run = [], module.draw_anchors, module.Matching.run

    def watched(model, synset, rows, retraining, norm, n_anchors, generator):
        calls.append({"synset": synset, "plan": retraining, "n_drawn": n_anchors, "norm": norm})
        return draw(model, synset, rows, retraining, norm, n_anchors, generator)

    def watched_run(self, anchors, n_iter, generator, report):
        calls[-1].update(n_anchors=len(anchors), n_iter=n_iter)
        return run(self, anchors, n_iter, generator, report)

    for owner, name, watch in (
        (module, "draw_anchors", watched),
        (module.Matching, "run", watched_run),
    ):
        monkeypatch.setattr(owner, name, watch)
    return calls


def go(problem, plan=None, models=None, report=lambda distance: None, **params):
    model, rows, start = problem
    settings = {"distance": "squared_error", "max_iter": 9, "learning_rate": 0.05, "tol": 0.0}
    return distil(
        models or [model],
        rows,
        start,
        plan or (lambda model, synset: RETRAINING),
        generator=torch.Generator().manual_seed(0),
        report=report,
        **settings | params,
    )


def test_rounds_begin_where_the_last_one_ended(problem, drawn):
    reported = []
    found = go(problem, report=reported.append)
    assert [call["n_iter"] for call in drawn] == [2, 2, 2, 3]
    assert [call["n_anchors"] for call in drawn] == [6, 12, 18, 24]
    assert all(call["n_drawn"] == 6 for call in drawn)
    assert torch.equal(drawn[0]["synset"].X, problem[2].X)
    for earlier, later in zip(drawn, drawn[1:], strict=False):
        assert not torch.equal(earlier["synset"].X, later["synset"].X)
    assert found.loss_curve == reported and len(reported) == 9
    assert not torch.equal(found.synset.X, problem[2].X)


def test_a_distance_below_the_tolerance_ends_it_after_the_round(problem):
    curve = go(problem, max_iter=40).loss_curve
    means = [np.mean(curve[start : start + 10]) for start in (0, 10, 20, 30)]
    assert means[0] > means[1] > means[2]
    between = (means[1] + means[0]) / 2
    assert len(go(problem, max_iter=40, tol=between).loss_curve) == 20
    assert len(go(problem, max_iter=40, tol=means[0] * 1.01).loss_curve) == 10
    assert len(go(problem, max_iter=40, tol=means[0]).loss_curve) == 20


def test_without_steps_there_are_the_starting_rows_alone(problem):
    found = go(problem, max_iter=0)
    assert found.synset is problem[2] and found.loss_curve == []


def test_steps_that_take_away_from_the_rows_are_given_up_if_they_cannot_be_trained_on(problem):
    def plan(model, synset):
        if synset is not problem[2]:
            raise FloatingPointError
        return RETRAINING

    with pytest.warns(ConvergenceWarning, match="starting rows are kept; lower learning_rate"):
        found = go(problem, plan)
    assert found.synset is problem[2] and len(found.loss_curve) == 2


@pytest.mark.parametrize("learning_rate", [0.05, 20.0])
def test_rows_that_have_become_worse_are_tried_before_they_are_returned(problem, learning_rate):
    tried = []

    def plan(model, synset):
        tried.append(synset)
        return RETRAINING

    found = go(problem, plan, max_iter=40, learning_rate=learning_rate)
    is_worse = np.mean(found.loss_curve[-10:]) > found.loss_curve[0]
    assert is_worse == (learning_rate > 1)
    assert len(tried) == 4 + is_worse


def test_rows_that_have_become_worse_and_cannot_be_trained_on_are_given_up(problem):
    n_plans = 0

    def plan(model, synset):
        nonlocal n_plans
        n_plans += 1
        if n_plans == 5:
            raise FloatingPointError
        return RETRAINING

    with pytest.warns(ConvergenceWarning, match="starting rows are kept"):
        found = go(problem, plan, max_iter=8, learning_rate=20.0)
    assert found.synset is problem[2]


def test_a_distance_that_is_not_finite_ends_it(problem):
    def infinite(synset, real):
        return squared_error(synset, real) * torch.inf

    with pytest.warns(ConvergenceWarning, match="starting rows are kept"):
        found = go(problem, distance=infinite)
    assert found.synset is problem[2] and len(found.loss_curve) == 2


def test_a_distance_that_is_no_scalar_is_refused(problem):
    with pytest.raises(ValueError, match=r"must return a scalar, got shape \(6, 43\)"):
        go(problem, distance=lambda synset, real: synset - real)


@pytest.mark.parametrize("name", ["squared_error", "cosine"])
def test_plain_distances_compare_the_gradients_as_they_are(problem, name):
    model, rows, _ = problem
    norm = module._norm(name, model, RETRAINING, rows, torch.Generator())
    gradients = torch.arange(12.0).reshape(3, 4)
    torch.testing.assert_close(norm.whiten(gradients), gradients)
    expected = module.DISTANCES[name](gradients, gradients + 1)
    torch.testing.assert_close(norm.distance(gradients, gradients + 1), expected)


def test_what_was_distilled_has_a_curve_of_its_own():
    assert Distilled(None).loss_curve is not Distilled(None).loss_curve
