import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from sklearn_synset._retraining import minibatches as minibatches_file
from sklearn_synset._retraining import retraining_plan as module
from sklearn_synset._retraining.preconditioner import Preconditioner
from sklearn_synset._retraining.removal import mean_loss, removal_path
from sklearn_synset._retraining.retraining_plan import plan_retraining
from tests._retraining.test_removal import masks, problem
from tests.problems import classification_model, regression_model
from tests.reference import training_objective


def plan(model, synset, **params):
    defaults = {"rewind": 0.5, "n_steps": 300, "step_size": "auto", "damping": 0.0}
    generator = torch.Generator().manual_seed(0)
    return plan_retraining(model, synset, **defaults | params, generator=generator)


def test_the_planned_step_follows_the_largest_curvature():
    model, synset = problem(regression_model)
    retraining = plan(model, synset, rewind=0.0, n_steps=3)

    def loss(theta):
        return training_objective(model, synset.X, synset.y, theta, model.weight_decay)

    dense = torch.autograd.functional.hessian(loss, model.theta)
    curvature = torch.linalg.eigvalsh(dense).abs().max().item()
    assert retraining.step_size == pytest.approx(0.7 / curvature, rel=0.1)
    assert retraining.n_steps == 3


def test_the_plan_stops_where_the_rows_are_fitted_as_by_the_trained_weights():
    model, synset = problem(classification_model)
    retraining = plan(model, synset)
    assert 1 <= retraining.n_steps < 300

    def data_loss(theta):
        return training_objective(model, synset.X, synset.y, theta, 0.0)

    path = [theta[0] for theta in removal_path(model, synset, masks(()), retraining)]
    goal = data_loss(model.theta)
    assert data_loss(path[-1]) <= goal
    assert all(data_loss(theta) > goal for theta in path[:-1])


def test_a_given_step_that_diverges_is_refused():
    model, synset = problem(regression_model)
    with pytest.raises(FloatingPointError, match=r"diverges at step_size=1e\+03.*lower step_size"):
        plan(model, synset, step_size=1e3)


def test_a_step_that_raises_the_loss_more_than_twice_is_refused():
    # The loss is small, so that a bound that is not relative would be met.
    model, synset = problem(regression_model)
    with torch.no_grad():
        small = replace(model, theta=1e-3 * model.theta)
        synset = replace(synset, y=1e-3 * synset.y)
    start = float(mean_loss(small, synset, 0.0, small.theta, masks(())[0]))
    assert start < 1e-5
    calm = plan(small, synset, rewind=0.0, n_steps=4)
    (*_, last) = removal_path(small, synset, masks(()), replace(calm, step_size=7 * calm.step_size))
    raised = float(mean_loss(small, synset, 0.0, last[0], masks(())[0]))
    assert 3 * start < raised < 1
    with pytest.raises(FloatingPointError, match="diverges at step_size"):
        plan(small, synset, rewind=0.0, n_steps=4, step_size=7 * calm.step_size)


def test_a_step_that_cannot_be_halved_enough_is_told_with_the_last_one(monkeypatch):
    model, synset = problem(regression_model)
    calm = plan(model, synset, rewind=0.0, n_steps=50)
    monkeypatch.setattr(module, "_STEP_OVER_CURVATURE", 0.7 * 2**12)
    monkeypatch.setattr(module, "_N_HALVINGS", 3)
    told = f"down to {calm.step_size * 2**10:.3g}: the loss is too badly conditioned"
    with pytest.raises(FloatingPointError, match=re.escape(told)):
        plan(model, synset, rewind=0.0, n_steps=50)
    monkeypatch.setattr(module, "_N_HALVINGS", 14)
    found = plan(model, synset, rewind=0.0, n_steps=50).step_size
    assert np.log2(found / calm.step_size) == pytest.approx(round(np.log2(found / calm.step_size)))


@pytest.fixture
def scaled(monkeypatch):
    """Return a network, a synset in three minibatches, and factors that its steps are given."""
    monkeypatch.setattr(minibatches_file, "_ROWS", 3)
    model, synset = problem(classification_model)
    generator = torch.Generator().manual_seed(1)
    scale = torch.rand(model.n_parameters, generator=generator, dtype=torch.float64) ** 3
    asked = []

    def chosen(*args):
        asked.append(args)
        return Preconditioner(scale, None)

    monkeypatch.setattr(module, "preconditioner", chosen)
    return model, synset, scale, asked


def test_a_preconditioned_step_follows_the_curvature_that_the_factors_leave(scaled):
    model, synset, scale, asked = scaled
    found = plan(model, synset, rewind=0.0, n_steps=3, is_preconditioned=True)
    ((network, rows, loss, rewind, seed),) = asked
    assert network is model and rows is synset and (rewind, seed) == (0.0, 0)
    some = next(minibatches_file.minibatches(synset, 0))
    expected = mean_loss(model, some, 0.0, model.theta, masks(())[0])
    torch.testing.assert_close(loss(model, model.theta), expected)
    dense = torch.autograd.functional.hessian(lambda theta: loss(model, theta), model.theta)
    root = scale.sqrt()
    largest = torch.linalg.eigvalsh(root[:, None] * dense * root).abs().max().item()
    assert found.step_size == pytest.approx(0.7 / largest, rel=0.1)
    assert found.preconditioner.scale is scale


def test_a_preconditioned_plan_goes_on_for_half_as_long_again(scaled, monkeypatch):
    model, synset, _, _ = scaled
    monkeypatch.setattr(module, "_INTERVAL", 3)
    found = plan(model, synset, is_preconditioned=True)
    assert found.n_fitted % 3 == 0 and found.n_fitted % 2 == 1
    assert found.n_steps == math.ceil(1.5 * found.n_fitted) < 200

    def is_fitted(theta):
        return all(
            training_objective(model, synset.X, synset.y, theta, decay)
            <= training_objective(model, synset.X, synset.y, model.theta, decay)
            for decay in (0.0, model.weight_decay)
        )

    path = [theta[0] for theta in removal_path(model, synset, masks(()), found)]
    looked_at = [step for step in range(3, found.n_fitted + 1, 3) if is_fitted(path[step - 1])]
    assert looked_at == [found.n_fitted]
    few = plan(model, synset, n_steps=found.n_fitted + 1, is_preconditioned=True)
    assert few.n_fitted == found.n_fitted and few.n_steps == found.n_fitted + 1


def test_a_plain_plan_has_no_factors_and_ends_at_the_fit(scaled):
    model, synset, _, asked = scaled
    found = plan(model, synset)
    assert found.preconditioner is None and found.n_fitted is None and not asked


def test_a_preconditioned_plan_is_looked_at_within_a_pass(scaled, monkeypatch):
    model, synset, _, _ = scaled
    monkeypatch.setattr(module, "data_loss", lambda *args: torch.tensor(1.0))
    monkeypatch.setattr(module, "mean_loss", lambda *args: mean_loss(*args) * 0)
    for interval, expected in ((2, 2), (5, 3)):  # three minibatches are a pass
        monkeypatch.setattr(module, "_INTERVAL", interval)
        assert plan(model, synset, rewind=0.5, is_preconditioned=True).n_fitted == expected


@pytest.mark.parametrize(("size", "n_seen", "n_products"), [(10, 10, 20), (2, 5, 10)])
def test_of_many_rows_some_tell_that_they_are_fitted_and_fewer_products_the_step(
    monkeypatch, size, n_seen, n_products
):
    model, synset = problem(classification_model)
    seen, asked = set(), []
    monkeypatch.setattr(minibatches_file, "_ROWS", size)
    monkeypatch.setattr(module, "_ROWS_LOOKED_AT", n_seen)

    def watched(network, rows, *args):
        seen.add(len(rows.weight))
        return mean_loss(network, rows, *args)

    def curvature(points, loss, generator, scale, n_products):
        asked.append(n_products)
        return 10.0

    monkeypatch.setattr(module, "mean_loss", watched)
    monkeypatch.setattr(module, "largest_curvature_at", curvature)
    plan(model, synset, n_steps=20)
    assert seen == {n_seen} and asked == [n_products]
