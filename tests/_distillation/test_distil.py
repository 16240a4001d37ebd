"""Rounds of anchors and matching: when they stop, and what is given up."""

import warnings
from dataclasses import replace

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

    monkeypatch.setattr(module, "draw_anchors", watched)
    monkeypatch.setattr(module.Matching, "run", watched_run)
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
    told = []
    found = go(problem, report=told.append)
    assert [call["n_iter"] for call in drawn] == [2, 2, 2, 3]
    assert [call["n_anchors"] for call in drawn] == [6, 12, 18, 24]
    assert all(call["n_drawn"] == 6 for call in drawn)
    assert torch.equal(drawn[0]["synset"].X, problem[2].X)
    for earlier, later in zip(drawn, drawn[1:], strict=False):
        assert not torch.equal(earlier["synset"].X, later["synset"].X)
    assert found.loss_curve == told and len(told) == 9
    assert not torch.equal(found.synset.X, problem[2].X)


def test_a_step_or_two_are_rounds_of_their_own(problem, drawn):
    go(problem, max_iter=2)
    assert [call["n_iter"] for call in drawn] == [1, 1]


def test_every_network_has_anchors_on_its_own_paths(problem, drawn):
    model = problem[0]
    other = replace(model, theta=1.1 * model.theta)
    plans = {id(model): RETRAINING, id(other): replace(RETRAINING, n_steps=7)}
    go(problem, lambda model, _: plans[id(model)], [model, other], max_iter=4)
    assert [call["plan"].n_steps for call in drawn] == [5, 7] * 4
    assert drawn[0]["norm"] is drawn[2]["norm"] is not drawn[1]["norm"]


@pytest.mark.parametrize(("n_bytes", "expected"), [(10, [6, 10, 10, 10]), (1, [2, 2, 2, 2])])
def test_the_latest_anchors_are_kept_that_memory_allows(
    problem, drawn, monkeypatch, n_bytes, expected
):
    size = N_GROUPS * problem[0].n_parameters * 8
    rows = problem[2].X.numel() * 8 * module._COPIES_OF_ROWS
    monkeypatch.setattr(module, "_ANCHOR_BYTES", n_bytes * size + rows)
    go(problem, max_iter=4)
    assert [call["n_anchors"] for call in drawn] == expected


def test_a_distance_below_the_tolerance_ends_it_after_the_round(problem):
    curve = go(problem, max_iter=40).loss_curve
    means = [np.mean(curve[start : start + 10]) for start in (0, 10, 20, 30)]
    assert means[0] > means[1] > means[2]
    between = (means[1] + means[0]) / 2
    assert len(go(problem, max_iter=40, tol=between).loss_curve) == 20
    assert len(go(problem, max_iter=40, tol=means[0] * 1.01).loss_curve) == 10
    assert len(go(problem, max_iter=40, tol=means[0]).loss_curve) == 20


def test_without_steps_there_are_the_starting_rows_alone(problem, drawn):
    found = go(problem, max_iter=0)
    assert found.synset is problem[2] and found.loss_curve == [] and not drawn


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
def test_plain_distances_compare_the_gradients_as_they_are(problem, drawn, name):
    go(problem, distance=name, max_iter=1)
    gradients = torch.arange(12.0).reshape(3, 4)
    norm = drawn[0]["norm"]
    torch.testing.assert_close(norm.whiten(gradients), gradients)
    expected = module.DISTANCES[name](gradients, gradients + 1)
    torch.testing.assert_close(norm.distance(gradients, gradients + 1), expected)


def test_the_norm_of_predictions_is_damped_by_what_there_is_no_time_for(problem, monkeypatch):
    noted, compute = [], module.prediction_norm

    def watched(model, points, X, damping, generator):
        noted.append((points, X, damping))
        return compute(model, points, X, damping, generator)

    monkeypatch.setattr(module, "prediction_norm", watched)
    model, rows, _ = problem
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        go(problem, distance="prediction", max_iter=1)
    ((points, X, damping),) = noted
    # Weight decay, the pull of the retraining, and one over ten times 5 steps of 0.3.
    assert damping == pytest.approx(0.01 + 0.02 + 1 / 15)
    assert X is rows.X
    assert any(torch.equal(point, model.theta) for point in points)


def test_what_was_distilled_has_a_curve_of_its_own():
    assert Distilled(None).loss_curve is not Distilled(None).loss_curve
