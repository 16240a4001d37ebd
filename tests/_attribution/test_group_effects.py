import pytest
import torch

from sklearn_synset._attribution.group_effects import attribution_matrix
from sklearn_synset._objective.objective import margin, prediction
from tests.problems import classification_model, regression_model


def displaced(model, n_removals=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(n_removals, model.n_parameters, generator=generator, dtype=model.dtype)


@pytest.mark.parametrize("n_targets", [None, 1])
def test_the_matrix_equals_a_loop_over_queries_and_removals(n_targets):
    if n_targets is None:
        model, X, targets = classification_model(6)
        y, objective = targets.argmax(1), margin
    else:
        model, X, y = regression_model(6, n_targets=n_targets)
        objective = prediction
    moves = displaced(model)
    matrix = attribution_matrix(model, moves, X, y, objective, 4096)
    for i in range(len(X)):
        before = objective(model(model.theta, X[[i]]), y[[i]])
        for k, move in enumerate(moves):
            after = objective(model(model.theta + move, X[[i]]), y[[i]])
            torch.testing.assert_close(matrix[i, k], (before - after)[0])


@pytest.mark.parametrize("batch_size", [1, 2, 4, 7, 11])
def test_batch_size_does_not_change_the_matrix(batch_size):
    model, X, targets = classification_model(6)
    moves, y = displaced(model), targets.argmax(1)
    expected = attribution_matrix(model, moves, X, y, margin, 4096)
    actual = attribution_matrix(model, moves, X, y, margin, batch_size)
    torch.testing.assert_close(actual, expected)


def test_no_displacement_has_no_effect():
    model, X, targets = classification_model(6)
    still = model.theta.new_zeros(2, model.n_parameters)
    matrix = attribution_matrix(model, still, X, targets.argmax(1), margin, 4096)
    assert not matrix.any()
