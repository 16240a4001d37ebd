import pytest
import torch

from sklearn_synset._curvature.gauss_newton import gauss_newton_blocks, gauss_newton_products
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


@pytest.mark.parametrize("problem", [classification_model, regression_model])
def test_blocks_equal_each_groups_dense_matrix_between_the_directions(problem):
    model, X, _ = problem(10)
    group = torch.tensor([2, 0, 0, 2, 3, 0, 2, 2, 3, 0])  # nothing is in group 1
    share = torch.linspace(0.1, 1, 10).to(X)
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(3, model.n_parameters, generator=generator, dtype=X.dtype)
    blocks = gauss_newton_blocks(model, model.theta, X, directions, share, group, 4)
    for k in range(4):
        expected = torch.zeros(3, 3, dtype=X.dtype)
        for row in (group == k).nonzero()[:, 0]:
            matrix = gauss_newton_matrix(model, model.theta, X[row : row + 1])
            expected += share[row] * directions @ matrix @ directions.T
        torch.testing.assert_close(blocks[k], expected)


def test_blocks_of_many_rows_are_the_sum_of_those_of_their_parts():
    model, X, _ = classification_model(1200)
    group = torch.arange(1200) % 3
    share = torch.linspace(0.1, 1, 1200).to(X)
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(3, model.n_parameters, generator=generator, dtype=X.dtype)

    def blocks(rows):
        parts = X[rows], directions, share[rows], group[rows]
        return gauss_newton_blocks(model, model.theta, *parts, 3)

    parts = torch.arange(1200).split(100)
    torch.testing.assert_close(blocks(torch.arange(1200)), sum(blocks(part) for part in parts))
