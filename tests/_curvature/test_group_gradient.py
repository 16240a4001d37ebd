import pytest
import torch
from torch import nn

from sklearn_synset._curvature.group_gradient import group_gradients
from tests.problems import classification_model, regression_model
from tests.reference import group_gradients_by_loop

CODES = torch.tensor([2, 0, 1, 1, 0, 2, 1, 1, 2, 1, 0, 1])


def rows_by_group(codes=CODES):
    return [(codes == k).nonzero()[:, 0] for k in range(int(codes.max()) + 1)]


@pytest.mark.parametrize("problem", [classification_model, regression_model])
def test_group_gradients_equal_a_loop_over_rows(problem):
    model, X, targets = problem(len(CODES))
    gradients = group_gradients(model, model.theta, X, targets, rows_by_group(), 4096)
    expected = group_gradients_by_loop(model, model.theta, X, targets, CODES)
    torch.testing.assert_close(gradients, expected)


@pytest.mark.parametrize("problem", [classification_model, regression_model])
def test_group_gradients_add_up_to_the_gradient_of_the_mean_loss(problem):
    model, X, targets = problem(len(CODES))
    loss = nn.CrossEntropyLoss() if model.loss == "cross_entropy" else nn.MSELoss()
    point = model.theta.clone().requires_grad_()
    (expected,) = torch.autograd.grad(loss(model(point, X), targets), point)
    gradients = group_gradients(model, model.theta, X, targets, rows_by_group(), 4096)
    torch.testing.assert_close(gradients.sum(0), expected)


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_batch_size_does_not_change_group_gradients(batch_size):
    model, X, targets = classification_model(len(CODES))
    whole, parts = (
        group_gradients(model, model.theta, X, targets, rows_by_group(), size)
        for size in (4096, batch_size)
    )
    torch.testing.assert_close(parts, whole)


def test_group_gradients_are_taken_where_they_are_asked_for():
    model, X, targets = classification_model(len(CODES))
    theta = 0.3 * model.theta
    gradients = group_gradients(model, theta, X, targets, rows_by_group(), 4096)
    expected = group_gradients_by_loop(model, theta, X, targets, CODES)
    torch.testing.assert_close(gradients, expected)


def test_group_gradients_work_where_gradients_are_switched_off():
    model, X, targets = classification_model(len(CODES))
    with torch.no_grad():
        gradients = group_gradients(model, model.theta, X, targets, rows_by_group(), 4096)
    assert gradients.any() and not gradients.requires_grad
