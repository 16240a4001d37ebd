import pytest
import torch

from sklearn_synset._online._gauss_newton import gauss_newton_products
from tests.problems import classification_model, regression_model
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
