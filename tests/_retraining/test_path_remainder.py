from dataclasses import replace

import pytest
import torch

from sklearn_synset._retraining.path_remainder import PathRemainder
from sklearn_synset._retraining.removal import Retraining

T, K, D, R, Q = 3, 4, 6, 5, 2
GROUP_SIZE = torch.tensor([2.0, 1.0, 3.0, 4.0], dtype=torch.float64)


def random_remainder(seed=0):
    """Return a remainder measured at steps 0, 2 and 6, of no matter what."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    roots = normal(T, R, R)
    return PathRemainder(
        torch.tensor([0, 2, 6]),
        normal(T, K, D),
        torch.linalg.qr(normal(D, R))[0].T,
        roots @ roots.mT,
        normal(T, K, Q, R),
        normal(T, K, Q),
    )


def by_loop(remainder, at, kept, deviation):
    """Return what one network's gradient lacks at one of the steps, group by group."""
    scale = GROUP_SIZE.sum() / (kept * GROUP_SIZE).sum()
    matrix = remainder.curvature[at].clone()
    gradient = torch.zeros(D, dtype=torch.float64)
    for k in range(K):
        gradient += (scale * kept[k] - 1) * remainder.gradient[at, k]
        for vector, value in zip(
            remainder.own_vectors[at, k], remainder.own_curvature[at, k], strict=True
        ):
            matrix -= (1 - kept[k]) * value * torch.outer(vector, vector)
    directions = remainder.directions
    return gradient + scale * directions.T @ matrix @ directions @ deviation


KEPT = torch.tensor([[1.0, 1, 1, 1], [1, 0, 1, 1], [0, 1, 0, 1]], dtype=torch.float64)


def deviations():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(len(KEPT), D, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(
    ("step", "before", "after", "part"),
    [(0, 0, 0, 0.0), (1, 0, 1, 0.5), (2, 1, 1, 0.0), (3, 1, 2, 0.25), (6, 2, 2, 0.0), (9, 2, 2, 0)],
)
def test_it_is_that_of_the_groups_kept_interpolated_between_steps(step, before, after, part):
    remainder = random_remainder()
    found = remainder.of_networks(KEPT, GROUP_SIZE).at(step, deviations())
    for network, (kept, deviation) in enumerate(zip(KEPT, deviations(), strict=True)):
        expected = (1 - part) * by_loop(remainder, before, kept, deviation)
        expected += part * by_loop(remainder, after, kept, deviation)
        torch.testing.assert_close(found[network], expected)


def test_a_network_that_keeps_all_groups_and_its_path_is_left_alone():
    everything = torch.ones(1, K, dtype=torch.float64)
    found = random_remainder().of_networks(everything, GROUP_SIZE).at(3, torch.zeros(1, D).double())
    torch.testing.assert_close(found, torch.zeros_like(found))


def test_groups_put_together_lack_what_they_lack_apart():
    remainder = random_remainder()
    shares = torch.tensor([[1.0, 0, 1, 0], [0, 1, 0, 1]], dtype=torch.float64)
    apart = torch.tensor([[1.0, 0, 1, 0]], dtype=torch.float64)
    together = torch.tensor([[1.0, 0]], dtype=torch.float64)
    deviation = deviations()[:1]
    expected = remainder.of_networks(apart, GROUP_SIZE).at(3, deviation)
    regrouped = remainder.regrouped(shares).of_networks(together, shares @ GROUP_SIZE)
    torch.testing.assert_close(regrouped.at(3, deviation), expected)


def test_halves_of_a_group_lack_half_of_it_each():
    remainder = random_remainder()
    shares = torch.eye(K, dtype=torch.float64)[[0, 1, 2, 3, 3]]
    shares[3:, 3] = 0.5
    halves = remainder.regrouped(shares)
    kept = torch.tensor([[1.0, 1, 1, 0, 0]], dtype=torch.float64)
    whole = remainder.of_networks(kept[:, :4], GROUP_SIZE).at(1, deviations()[:1])
    found = halves.of_networks(kept, shares @ GROUP_SIZE).at(1, deviations()[:1])
    torch.testing.assert_close(found, whole)


def test_a_large_curvature_takes_shorter_steps_and_the_same_time():
    remainder = random_remainder()
    largest = remainder.largest_curvature
    assert largest == pytest.approx(float(torch.linalg.eigvalsh(remainder.curvature).max()))
    plan = Retraining(0.5, n_steps=10, step_size=1 / largest)
    corrected = plan.with_remainder(remainder)
    assert corrected.step_size * largest == pytest.approx(0.5)
    assert corrected.n_steps == 20
    assert corrected.remainder.steps.tolist() == [0, 4, 12]
    slow = Retraining(0.5, n_steps=10, step_size=0.4 / largest)
    corrected = slow.with_remainder(remainder)
    assert (corrected.n_steps, corrected.step_size) == (10, 0.4 / largest)
    assert corrected.remainder.steps.tolist() == [0, 2, 6]


def test_without_a_remainder_a_plan_stays_as_it_is():
    plan = Retraining(0.5, n_steps=10, step_size=0.1)
    assert plan.with_remainder(None) is plan
    assert plan.regrouped(torch.eye(K)) is plan


@pytest.mark.parametrize(("max_steps", "expected"), [(200, 15), (12, 12)])
def test_a_plan_as_long_as_another_takes_the_same_time(max_steps, expected):
    plan, other = Retraining(0.5, 6, step_size=0.1), Retraining(0.5, 30, step_size=0.05)
    assert plan.as_long_as(other, max_steps) == replace(plan, n_steps=expected)
