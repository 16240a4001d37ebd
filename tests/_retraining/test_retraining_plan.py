import math
from dataclasses import replace

import pytest
import torch

from sklearn_synset._retraining.removal import mean_loss, removal_path
from sklearn_synset._retraining.retraining_plan import plan_retraining
from sklearn_synset._retraining.synset import Synset, data_loss
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


def test_a_preconditioned_plan_goes_on_for_half_as_long_again():
    model, X, targets = classification_model(600, 0.01)
    group = torch.arange(600) % 4
    synset = Synset(X, targets, torch.ones(600).double(), group, group.bincount().double())
    found = plan(model, synset, is_preconditioned=True)
    assert found.preconditioner is not None
    assert found.n_steps == math.ceil(1.5 * found.n_fitted) < 300

    def is_fitted(theta):
        everything = torch.ones(4).double()
        fits = [data_loss(model, synset, each, everything) for each in (theta, model.theta)]
        return fits[0] <= fits[1] * (1 + 1e-5) + 1e-5

    path = [theta[0] for theta in removal_path(model, synset, masks(()), found)]
    assert is_fitted(path[found.n_fitted - 1])
    few = plan(model, synset, n_steps=found.n_fitted + 1, is_preconditioned=True)
    assert few.n_fitted == found.n_fitted and few.n_steps == found.n_fitted + 1
    plain = plan(model, synset)
    assert plain.preconditioner is None and plain.n_fitted is None
