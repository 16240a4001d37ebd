"""Normalising rows by their own moments: values and gradients, by hand and by differentiation."""

import pytest
import torch
from torch.func import grad, vmap

from sklearn_synset._network.normalised_rows import moments_of_rows, normalised_by_rows

EPS = 1e-3


def draw(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)))


@pytest.fixture(params=[5, 1], ids=["positions", "table"])
def problem(request):
    """Return rows, one of them without weight, their shares, scale and shift."""
    share = torch.tensor([1.0, 2, 0, 3, 2, 1, 1]).double() / 10
    return (
        draw(7, 3, request.param).double() + 2,
        share,
        draw(3).double(),
        draw(3, 1)[:, 0].double(),
    )


def by_hand(values, share, weight, bias, eps):
    mean = (share[:, None, None] * values).sum(0).mean(1)
    centred = values - mean[:, None]
    variance = (share[:, None, None] * centred**2).sum(0).mean(1)
    return centred / (variance + eps).sqrt()[:, None] * weight[:, None] + bias[:, None]


def test_rows_are_normalised_by_their_weighted_moments(problem):
    values, share, weight, bias = problem
    found = normalised_by_rows(values, share, weight, bias, EPS)
    torch.testing.assert_close(found, by_hand(*problem, EPS))
    mean, variance = moments_of_rows(found, share)
    torch.testing.assert_close(mean, bias)
    assert (variance < weight**2).all() and (variance > 0.9 * weight**2).all()


def test_equal_shares_give_what_torch_does_in_training(problem):
    values, _, weight, bias = problem
    share = torch.full((7,), 1 / 7, dtype=torch.float64)
    norm = torch.nn.functional.batch_norm
    expected = norm(values, None, None, weight, bias, training=True, eps=EPS)
    found = normalised_by_rows(values, share, weight, bias, EPS)
    torch.testing.assert_close(found, expected)


def test_derivatives_of_first_and_second_order_are_those_of_differences(problem):
    values, share, weight, bias = problem
    leaves = [each.clone().requires_grad_() for each in (values, weight, bias)]

    def normalised(values, weight, bias):
        return normalised_by_rows(values, share, weight, bias, EPS)

    assert torch.autograd.gradcheck(normalised, leaves)
    assert torch.autograd.gradgradcheck(normalised, leaves)


def test_shares_can_be_differentiated_by(problem):
    values, share, weight, bias = problem
    target = draw(*values.shape).double()

    def loss(function):
        return grad(lambda share: (function(values, share, weight, bias, EPS) * target).sum())

    torch.testing.assert_close(loss(normalised_by_rows)(share), loss(by_hand)(share))


@pytest.mark.parametrize("order", [1, 2])
def test_networks_are_mapped_over(problem, order):
    values, share, weight, bias = problem
    shares = torch.stack([share, share.flip(0)])
    weights = torch.stack([weight, -weight])

    def found(function):
        def loss(weight, values, share):
            return function(values, share, weight, bias, EPS).tanh().square().sum()

        first = grad(loss, argnums=(0, 1))
        if order == 1:
            return vmap(first, in_dims=(0, None, 0))(weights, values, shares)
        second = grad(lambda *args: first(*args)[1].square().sum(), argnums=(0, 1))
        return vmap(second, in_dims=(0, None, 0))(weights, values, shares)

    torch.testing.assert_close(found(normalised_by_rows), found(by_hand))


def test_several_gradients_can_be_taken_at_once(problem):
    values, share, weight, bias = problem
    leaf = values.clone().requires_grad_()
    each = draw(4, *values.shape).double()

    def gradients(function):
        out = function(leaf, share, weight, bias, EPS)
        return torch.autograd.grad(out, leaf, each, is_grads_batched=True)[0]

    torch.testing.assert_close(gradients(normalised_by_rows), gradients(by_hand))
