import numpy as np
import pytest

from sklearn_synset._statistics.rank_correlation import mean_rank_correlation
from sklearn_synset._statistics.retraining_agreement import agreement_with_mean


@pytest.fixture
def noisy():
    """Return predictions, effects from two seeds, and those from very many seeds."""
    rng = np.random.RandomState(0)
    truth = rng.randn(400, 60)
    predicted = truth + 0.7 * rng.randn(*truth.shape)
    return predicted, truth + 1.2 * rng.randn(40, *truth.shape)


@pytest.mark.parametrize("n_seeds", [2, 3])
@pytest.mark.parametrize("n_retrainings", [1, 4, 20])
def test_few_seeds_tell_the_agreement_with_the_mean_of_any_number(noisy, n_seeds, n_retrainings):
    predicted, effects = noisy
    expected = mean_rank_correlation(predicted, effects[20 : 20 + n_retrainings].mean(0))
    found = agreement_with_mean(predicted, effects[:n_seeds], n_retrainings)
    assert found == pytest.approx(expected, abs=0.02)


def test_the_mean_of_as_many_retrainings_as_seeds_is_not_corrected(noisy):
    predicted, effects = noisy
    expected = mean_rank_correlation(predicted, effects[:3].mean(0))
    assert agreement_with_mean(predicted, effects[:3], 3) == pytest.approx(expected)


def test_one_seed_is_not_corrected(noisy):
    predicted, effects = noisy
    expected = mean_rank_correlation(predicted, effects[0])
    assert agreement_with_mean(predicted, effects[:1]) == expected


def test_seeds_that_contradict_each_other_give_a_bounded_correction():
    effects = np.array([[1.0, 2.0, 3.0, 4.0]])
    seeds = np.stack([effects, [[-1.0, -1.5, -3.5, -2.2]]])
    assert mean_rank_correlation(*seeds) < 0
    expected = mean_rank_correlation(effects, seeds.mean(0)) * 2**0.5
    assert 0 < agreement_with_mean(effects, seeds) == pytest.approx(expected)


def test_an_agreement_is_at_most_one():
    effects = np.array([[1.0, 2.0, 3.0, 4.0]])
    assert agreement_with_mean(effects, np.stack([effects, -0.5 * effects])) == 1


def test_fewer_than_two_removals_have_none():
    assert np.isnan(agreement_with_mean(np.ones((3, 1)), np.ones((2, 3, 1))))
