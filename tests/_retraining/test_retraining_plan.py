import pytest
import torch

from sklearn_synset._retraining.removal import removal_path
from sklearn_synset._retraining.retraining_plan import plan_retraining
from tests._retraining.test_removal import masks, problem
from tests.problems import classification_model, regression_model
from tests.reference import training_objective


def plan(model, synset, **params):
    defaults = {"rewind": 0.5, "n_steps": 300}
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
