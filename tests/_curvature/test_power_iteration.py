import pytest
import torch

from sklearn_synset._curvature.power_iteration import largest_curvature, largest_curvature_at
from tests.problems import classification_model


@pytest.mark.parametrize("sign", [1, -1])
def test_a_dominant_eigenvalue_is_found(sign):
    rotation = torch.linalg.qr(
        torch.randn(8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    )[0]
    eigenvalues = torch.tensor([sign * 9.0, 4, 3, 2, 1, 0.5, 0.1, 0], dtype=torch.float64)
    matrix = rotation @ torch.diag(eigenvalues) @ rotation.T

    def loss(theta):
        return theta @ matrix @ theta / 2

    found = largest_curvature(
        loss, torch.ones(8, dtype=torch.float64), torch.Generator().manual_seed(0)
    )
    assert found == pytest.approx(torch.linalg.eigvalsh(matrix).abs().max().item(), rel=1e-6)


def test_the_curvature_of_a_network_is_found_from_below_within_a_few_per_cent():
    model, X, targets = classification_model(20)

    def loss(theta):
        return torch.nn.functional.cross_entropy(model(theta, X), targets)

    dense = torch.autograd.functional.hessian(loss, model.theta)
    expected = torch.linalg.eigvalsh(dense).abs().max().item()
    found = largest_curvature(loss, model.theta, torch.Generator().manual_seed(0))
    assert 0.95 * expected < found <= expected * (1 + 1e-9)


@pytest.mark.parametrize("loss", [lambda theta: (0 * theta**2).sum(), lambda theta: theta.sum()])
def test_a_flat_loss_has_no_curvature(loss):
    generator = torch.Generator().manual_seed(0)
    assert largest_curvature(loss, torch.ones(3), generator) == 0
    with torch.no_grad():
        assert largest_curvature(loss, torch.ones(3), generator) == 0


@pytest.mark.parametrize("n_iterations", [1, 8])
def test_as_many_products_are_taken_as_asked_for(n_iterations):
    scales = torch.tensor([2.0, 6.0])
    direction = torch.randn(2, generator=torch.Generator().manual_seed(0))
    for _ in range(n_iterations):
        direction = scales * direction / direction.norm()
    calls = []

    def loss(theta):
        calls.append(1)
        return (scales / 2 * theta.square()).sum()

    found = largest_curvature(loss, torch.zeros(2), torch.Generator().manual_seed(0), n_iterations)
    assert found == pytest.approx(float(direction.norm()), rel=1e-6)
    assert len(calls) == 1


def test_of_several_weights_the_largest_finite_curvature_counts():
    def loss(theta):  # bends by 12 theta^2
        return (theta**4).sum()

    points = [torch.tensor([1.0]), torch.tensor([2.0]), torch.tensor([torch.inf])]
    generator = torch.Generator().manual_seed(0)
    assert largest_curvature_at(points, loss, generator) == pytest.approx(48)
    assert largest_curvature_at(points[2:], loss, generator) == 0
