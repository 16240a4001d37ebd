import pytest
import torch

from sklearn_synset._attribution import row_effects
from sklearn_synset._attribution.row_effects import RowEffects
from sklearn_synset._data.training_data import TrainingRows
from sklearn_synset._objective.objective import margin, negative_squared_error
from sklearn_synset._retraining.removal import Retraining
from sklearn_synset._retraining.synset import Synset
from tests.problems import classification_model, functional, regression_model
from tests.reference import (
    gauss_newton_matrix,
    gradients_by_loop,
    linear_module,
    softmax_regression,
)

N_ROWS = 12
CODES = torch.arange(N_ROWS) % 3
RETRAINING = Retraining(0.5, n_steps=20, step_size=0.05, damping=0.02)


def problem(build, weight_decay=0.01, retraining=RETRAINING, batch_size=4096, order=None):
    """Return row effects of a network whose synset is made of its training rows."""
    model, X, targets = build(N_ROWS, weight_decay)
    order = torch.arange(N_ROWS) if order is None else order
    synset = Synset(X, targets, torch.ones(N_ROWS).to(X), CODES, CODES.bincount().to(X))
    X, targets = X[order], targets[order]
    by_group = [(CODES[order] == code).nonzero()[:, 0] for code in range(3)]
    rows = TrainingRows(X, targets, by_group, batch_size)
    return RowEffects(model, rows, synset, retraining, 0)


def queries(build, n=5):
    _, X, targets = build(N_ROWS + n)
    X, targets = X[N_ROWS:], targets[N_ROWS:]
    if build is classification_model:
        return X, targets.argmax(1), margin
    return X, targets, negative_squared_error


def objective_gradients_by_loop(model, X, y, objective):
    gradients = []
    for i in range(len(X)):
        point = model.theta.clone().requires_grad_()
        value = objective(model(point, X[[i]]), y[[i]])[0]
        gradients.append(torch.autograd.grad(value, point)[0])
    return torch.stack(gradients)


@pytest.mark.parametrize("build", [classification_model, regression_model])
def test_effects_equal_those_of_dense_matrices(build):
    effects = problem(build)
    model, rows = effects.model, effects.rows
    gradients = effects.path.gradients(model, rows.X, rows.targets)
    assert len(effects.path.points) > 2
    damping = 0.01 + 0.02 + effects.path.damping
    curvature = gauss_newton_matrix(model, model.theta, rows.X)
    curvature += damping * torch.eye(len(curvature), dtype=curvature.dtype)
    X, y, objective = queries(build)
    slopes = objective_gradients_by_loop(model, X, y, objective)
    moved = torch.linalg.solve(curvature, (gradients - gradients.mean(0)).T) / N_ROWS
    torch.testing.assert_close(effects.effects(X, y, objective), -slopes @ moved)


def test_at_a_minimum_effects_are_influence_functions():
    _, X, targets = classification_model(N_ROWS)
    labels = targets.argmax(1)
    module = linear_module(softmax_regression(X.numpy(), labels.numpy(), 3, 0.1))
    model = functional(module, X.numpy(), labels.numpy(), torch.arange(3).numpy(), 0.1)

    def build(*_):
        return model, X, targets

    effects = problem(build, retraining=Retraining(0.9, 20, 0.05))
    assert len(effects.path.points) == 1 and effects.path.damping == 0
    assert torch.equal(effects.path.points[0], model.theta)
    curvature = gauss_newton_matrix(model, model.theta, X)
    curvature += 0.1 * torch.eye(len(curvature), dtype=curvature.dtype)
    gradients = gradients_by_loop(model, model.theta, X, targets)
    slopes = objective_gradients_by_loop(model, X, labels, margin)
    expected = -slopes @ torch.linalg.solve(curvature, (gradients - gradients.mean(0)).T) / N_ROWS
    torch.testing.assert_close(effects.effects(X, labels, margin), expected)


@pytest.mark.parametrize("numbers", [1, 100, 300])
@pytest.mark.parametrize("batch_size", [1, 5, 4096])
def test_how_many_rows_are_taken_at_once_does_not_matter(batch_size, numbers, monkeypatch):
    X, y, objective = queries(classification_model)
    expected = problem(classification_model).effects(X, y, objective)
    monkeypatch.setattr(row_effects, "_NUMBERS_AT_ONCE", numbers)
    actual = problem(classification_model, batch_size=batch_size).effects(X, y, objective)
    torch.testing.assert_close(actual, expected)


def test_permuting_the_rows_permutes_their_effects():
    X, y, objective = queries(classification_model)
    order = torch.randperm(N_ROWS, generator=torch.Generator().manual_seed(0))
    expected = problem(classification_model).effects(X, y, objective)[:, order]
    actual = problem(classification_model, order=order).effects(X, y, objective)
    torch.testing.assert_close(actual, expected)


def test_equal_rows_have_equal_effects():
    X, y, objective = queries(classification_model)
    twice = torch.tensor([0, 0, *range(2, N_ROWS)])
    effects = problem(classification_model, order=twice).effects(X, y, objective)
    torch.testing.assert_close(effects[:, 0], effects[:, 1])
    assert (effects[:, 1] - effects[:, 2]).abs().max() > 1e-6


def test_many_rows_take_the_curvature_of_the_synset(monkeypatch):
    _, y, objective = queries(classification_model)
    X = queries(classification_model)[0]
    monkeypatch.setattr(row_effects, "_MAX_CURVATURE_ROWS", N_ROWS - 1)
    rows = torch.tensor([*range(N_ROWS - 1), 0])
    effects = problem(classification_model, order=rows)
    direction = effects.query_directions(X, y, objective)
    curvature = gauss_newton_matrix(effects.model, effects.model.theta, effects.synset.X)
    damping = 0.01 + 0.02 + effects.path.damping
    slopes = objective_gradients_by_loop(effects.model, X, y, objective)
    torch.testing.assert_close(direction @ curvature + damping * direction, slopes)
