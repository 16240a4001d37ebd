import pytest
import torch

from sklearn_synset._curvature.inverse import InverseCurvature, inverse_curvature
from tests.problems import classification_model, mlp, regression_model
from tests.reference import gauss_newton_matrix


def generator():
    return torch.Generator().manual_seed(0)


def weighted_curvature(model, X, weight):
    """Return the dense curvature of the weighted mean loss, each row repeated by its weight."""
    return gauss_newton_matrix(model, model.theta, X.repeat_interleave(weight.long(), 0))


@pytest.mark.parametrize("is_exact", [True, False])
@pytest.mark.parametrize("problem", [classification_model, regression_model])
def test_solutions_equal_those_of_the_dense_matrix(problem, is_exact):
    n_outputs = 3 if problem is classification_model else 2
    # Of more than a thousand weights, the curvature of eight rows has a low rank.
    model, X, _ = problem(8, module=mlp(n_outputs=n_outputs, n_hidden=5 if is_exact else 200))
    assert (model.n_parameters > 1024) is not is_exact
    weight = torch.arange(1.0, 9.0, dtype=X.dtype)
    gradients = torch.randn(3, model.n_parameters, generator=generator(), dtype=X.dtype)
    matrix = weighted_curvature(model, X, weight) + 0.1 * torch.eye(model.n_parameters)
    solution = inverse_curvature(model, X, weight, generator()).solve(gradients, 0.1)
    torch.testing.assert_close(solution, torch.linalg.solve(matrix, gradients.T).T)


def test_a_low_rank_finds_the_leading_curvature_and_bounds_the_rest():
    model, X, _ = classification_model(10, module=mlp(n_hidden=200))
    matrix = gauss_newton_matrix(model, model.theta, X)
    curvature, vectors = torch.linalg.eigh(matrix)
    inverse = inverse_curvature(model, X, torch.ones(10, dtype=X.dtype), generator(), rank=6)
    assert inverse.directions.shape == (model.n_parameters, 6)
    torch.testing.assert_close(inverse.curvature, curvature.flip(0)[:6], rtol=1e-3, atol=1e-9)
    leading, flat = vectors[:, -1][None], vectors[:, 0][None]
    torch.testing.assert_close(
        inverse.solve(leading, 1e-3), leading / (curvature[-1] + 1e-3), rtol=1e-3, atol=1e-3
    )
    assert inverse.rest == float(inverse.curvature[-1]) > 0
    outside = inverse.solve(flat, 1e-3)
    torch.testing.assert_close(outside, flat / (inverse.rest + 1e-3), rtol=1e-3, atol=1e-1)


def test_without_damping_flat_directions_stay_finite():
    model, X, _ = classification_model(2)
    inverse = inverse_curvature(model, X, torch.ones(2, dtype=X.dtype), generator())
    assert inverse.solve(torch.eye(model.n_parameters, dtype=X.dtype), 0.0).isfinite().all()


def test_directions_outside_have_the_rest_for_their_curvature():
    axes = torch.eye(3, dtype=torch.float64)
    inverse = InverseCurvature(axes[:, :2], torch.tensor([4.0, 1.0]).double(), rest=0.5)
    expected = torch.tensor([1 / 4.25, 1 / 1.25, 1 / 0.75]).double()
    torch.testing.assert_close(inverse.solve(axes, 0.25), torch.diag(expected))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_damping_of_0_is_the_root_of_the_rounding_error_of_the_largest_curvature(dtype):
    axes = torch.eye(3, dtype=dtype)
    inverse = InverseCurvature(axes[:, :2], torch.tensor([4.0, 1.0], dtype=dtype), rest=0.0)
    least = 4 * torch.finfo(dtype).eps ** 0.5
    expected = torch.tensor([1 / (4 + least), 1 / (1 + least), 1 / least], dtype=dtype)
    found = inverse.solve(axes, 0.0).diag()
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=0)
    torch.testing.assert_close(inverse.solve(axes, least / 2), inverse.solve(axes, 0.0))
