import pytest
import torch

from sklearn_synset._distillation.prediction_norm import PredictionNorm, prediction_norm
from tests.problems import classification_model, mlp
from tests.reference import gauss_newton_matrix


@pytest.mark.parametrize("damping", [1e-2, 1.0])
def test_at_full_rank_the_norm_is_that_of_the_changed_predictions(damping):
    model, X, _ = classification_model(8)
    points = [0.5 * model.theta, model.theta]
    matrix = sum(gauss_newton_matrix(model, point, X) for point in points) / 2
    errors = torch.randn(4, len(matrix), generator=torch.Generator().manual_seed(0), dtype=X.dtype)
    displacement = torch.linalg.solve(matrix + damping * torch.eye(len(matrix)).to(X), errors.T).T
    changes = ((displacement @ matrix) * displacement).sum(1)
    norm = prediction_norm(model, points, X, damping, torch.Generator().manual_seed(0))
    whitened = norm.whiten(errors).square().sum(1)
    torch.testing.assert_close(whitened / whitened[0], changes / changes[0], rtol=1e-5, atol=1e-8)


def test_a_low_rank_finds_the_leading_curvature_and_the_mean_of_the_rest():
    model, X, _ = classification_model(6, module=mlp(n_hidden=40))
    assert model.n_parameters > 150
    matrix, damping = gauss_newton_matrix(model, model.theta, X), 1e-3
    curvature, vectors = torch.linalg.eigh(matrix)
    norm = prediction_norm(model, [model.theta], X, damping, torch.Generator().manual_seed(0))
    largest, flat = vectors[:, -1], vectors[:, 0]
    gain = curvature.clamp(min=0).sqrt() / (curvature + damping)
    expected = gain[-1] / gain[-64:].max() * largest
    torch.testing.assert_close(norm.whiten(largest[None])[0], expected, rtol=1e-5, atol=1e-8)
    assert norm.whiten(flat[None]).norm() < 0.1


def test_errors_where_curvature_is_close_to_the_damping_count_most():
    directions = torch.eye(5, dtype=torch.float64)[:3]
    curvature = torch.tensor([100.0, 1.0, 0.01], dtype=torch.float64)
    norm = PredictionNorm(directions, curvature, rest=0.0001, damping=1.0)
    lengths = norm.whiten(torch.eye(5, dtype=torch.float64)).norm(dim=1)
    expected = torch.tensor([0.19802, 1.0, 0.19802, 0.019998, 0.019998], dtype=torch.float64)
    torch.testing.assert_close(lengths, expected, rtol=1e-5, atol=1e-7)


def test_without_curvature_the_norm_is_the_plain_one():
    directions = torch.eye(4, dtype=torch.float64)[:2]
    norm = PredictionNorm(directions, torch.zeros(2, dtype=torch.float64), rest=0.0, damping=0.1)
    gradients = torch.arange(8.0, dtype=torch.float64).reshape(2, 4)
    torch.testing.assert_close(norm.whiten(gradients), gradients)
