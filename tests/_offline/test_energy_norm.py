import pytest
import torch

from sklearn_synset._offline._energy_norm import energy_norm, gauss_newton_products
from tests.problems import classification_model, mlp, regression_model
from tests.reference import gauss_newton_matrix


@pytest.mark.parametrize("problem", [classification_model, regression_model])
def test_products_equal_the_dense_gauss_newton_matrix(problem):
    model, X, _ = problem(6)
    matrix = gauss_newton_matrix(model, model.theta, X)
    directions = torch.randn(
        3, len(matrix), generator=torch.Generator().manual_seed(0), dtype=X.dtype
    )
    products = gauss_newton_products(model, model.theta, X, directions)
    torch.testing.assert_close(products, directions @ matrix)


@pytest.mark.parametrize("damping", [1e-2, 1.0])
def test_full_rank_whitening_is_the_inverse_root_of_the_damped_curvature(damping):
    model, X, _ = classification_model(8)
    points = [0.5 * model.theta, model.theta]
    matrix = sum(gauss_newton_matrix(model, point, X) for point in points) / 2
    curvature, vectors = torch.linalg.eigh(matrix)
    root = vectors @ torch.diag((damping / (curvature + damping)).sqrt()) @ vectors.T
    gradients = torch.randn(
        4, len(matrix), generator=torch.Generator().manual_seed(0), dtype=X.dtype
    )
    norm = energy_norm(model, points, X, damping, torch.Generator().manual_seed(0))
    torch.testing.assert_close(norm.whiten(gradients), gradients @ root, rtol=1e-6, atol=1e-9)


def test_a_low_rank_finds_the_leading_curvature_and_leaves_the_rest():
    model, X, _ = classification_model(6, module=mlp(n_hidden=40))
    assert model.n_parameters > 150
    matrix, damping = gauss_newton_matrix(model, model.theta, X), 1e-3
    curvature, vectors = torch.linalg.eigh(matrix)
    norm = energy_norm(model, [model.theta], X, damping, torch.Generator().manual_seed(0))
    largest, flat = vectors[:, -1][None], vectors[:, 0][None]
    shrunk = (damping / (curvature[-1] + damping)).sqrt()
    torch.testing.assert_close(norm.whiten(largest), shrunk * largest, rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(norm.whiten(flat), flat, rtol=1e-5, atol=1e-5)


def test_whitening_never_lengthens():
    model, X, _ = classification_model(8)
    gradients = torch.randn(
        10, model.n_parameters, generator=torch.Generator().manual_seed(1), dtype=X.dtype
    )
    norm = energy_norm(model, [model.theta], X, 0.1, torch.Generator().manual_seed(0))
    assert (norm.whiten(gradients).norm(dim=1) <= gradients.norm(dim=1) * (1 + 1e-12)).all()
