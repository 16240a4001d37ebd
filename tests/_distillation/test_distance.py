import pytest
import torch

from sklearn_synset._distillation.distance import DISTANCES, cosine_distance, squared_error


@pytest.fixture
def gradients():
    return torch.randn(5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("name", DISTANCES)
def test_equal_gradients_are_at_distance_zero(gradients, name):
    assert DISTANCES[name](gradients, gradients).abs() < 1e-14


@pytest.mark.parametrize("name", DISTANCES)
def test_different_gradients_are_at_a_positive_distance(gradients, name):
    assert DISTANCES[name](gradients.roll(1, 0), gradients) > 0.1


@pytest.mark.parametrize("name", DISTANCES)
def test_the_order_of_the_groups_does_not_matter(gradients, name):
    other, order = gradients.roll(1, 1), torch.tensor([3, 0, 4, 1, 2])
    distance = DISTANCES[name](other, gradients)
    torch.testing.assert_close(DISTANCES[name](other[order], gradients[order]), distance)


def test_the_squared_error_is_relative_to_the_groups_and_to_their_sum():
    real = torch.tensor([[3.0, 0.0], [0.0, 4.0]], dtype=torch.float64)
    synset = torch.tensor([[3.0, 1.0], [0.0, 4.0]], dtype=torch.float64)
    # One part of 25 for the groups, and one of 25 for their sum (3, 4).
    assert float(squared_error(synset, real)) == pytest.approx(1 / 25 + 1 / 25)


def test_a_vanishing_sum_is_not_divided_by():
    real = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    synset = torch.tensor([[1.0, 0.5], [-1.0, 0.0]], dtype=torch.float64)
    assert float(squared_error(synset, real)) == pytest.approx(0.25 / 2 + 0.25 / 1)


def test_the_cosine_distance_is_blind_to_length_and_ranges_from_0_to_2(gradients):
    assert cosine_distance(3 * gradients, gradients).abs() < 1e-14
    assert float(cosine_distance(-gradients, gradients)) == pytest.approx(2)


@pytest.mark.parametrize("name", ["cosine", "squared_error"])
def test_zero_gradients_give_a_finite_distance_and_derivative(name):
    synset = torch.ones(3, 2, requires_grad=True)
    distance = DISTANCES[name](synset, torch.zeros(3, 2))
    (derivative,) = torch.autograd.grad(distance, synset)
    assert distance.isfinite() and derivative.isfinite().all()


def test_the_squared_error_does_not_depend_on_the_unit(gradients):
    other = gradients.roll(1, 0)
    expected = squared_error(other, gradients)
    for scale in (1e-9, 1e-3, 1e3):
        torch.testing.assert_close(squared_error(scale * other, scale * gradients), expected)


def test_of_gradients_that_vanish_the_error_itself_is_the_distance():
    synset = torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    assert float(squared_error(synset, torch.zeros_like(synset))) == pytest.approx(5 + 5)
