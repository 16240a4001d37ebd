import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import spearmanr

from sklearn_synset.metrics import leave_one_out_ceiling, leave_one_out_correlation


@pytest.fixture
def effects():
    rng = np.random.RandomState(0)
    return rng.normal(size=(6, 9)) + 0.5 * rng.normal(size=(4, 6, 9))


def test_it_is_scipys_against_the_mean_over_seeds(effects):
    scores = np.random.RandomState(1).normal(size=(6, 9))
    expected = [spearmanr(a, b).statistic for a, b in zip(effects.mean(0), scores, strict=True)]
    assert_allclose(leave_one_out_correlation(effects, scores, average=None), expected, atol=1e-10)
    assert leave_one_out_correlation(effects, scores) == pytest.approx(np.mean(expected), abs=1e-10)
    assert leave_one_out_correlation(effects.mean(0), scores) == pytest.approx(np.mean(expected))


def test_the_truth_has_a_correlation_of_one_in_any_unit(effects):
    assert leave_one_out_correlation(effects, 1000 * effects.mean(0) - 3) == pytest.approx(1)


def test_the_ceiling_is_each_seed_against_the_mean_of_the_others(effects):
    expected = []
    for seed in range(4):
        others = np.mean([effects[other] for other in range(4) if other != seed], axis=0)
        expected.append(
            [spearmanr(a, b).statistic for a, b in zip(effects[seed], others, strict=True)]
        )
    assert_allclose(leave_one_out_ceiling(effects, average=None), np.mean(expected, 0), atol=1e-10)
    assert leave_one_out_ceiling(effects) == pytest.approx(np.mean(expected), abs=1e-10)


def test_the_ceiling_of_two_seeds_is_the_correlation_between_them(effects):
    value = leave_one_out_correlation(effects[0], effects[1])
    assert leave_one_out_ceiling(effects[:2]) == pytest.approx(value, abs=1e-12)


def test_without_seed_noise_the_ceiling_is_one_and_of_pure_noise_zero():
    truth = np.random.RandomState(0).normal(size=(1, 6, 9))
    assert leave_one_out_ceiling(np.repeat(truth, 3, axis=0)) == pytest.approx(1)
    noise = np.random.RandomState(0).normal(size=(3, 400, 9))
    assert abs(leave_one_out_ceiling(noise)) < 3 / np.sqrt(400 * 8)


@pytest.mark.parametrize(
    ("effects", "scores", "message"),
    [
        (np.ones((6, 8)), np.ones((6, 9)), r"effects must have the shape \(n_queries, n_groups\)"),
        (np.ones((9, 6)), np.ones((6, 9)), "effects must have the shape"),
        (np.ones((1, 1, 6, 9)), np.ones((6, 9)), "effects must have the shape"),
        (np.full((6, 9), np.nan), np.ones((6, 9)), "effects contains NaN"),
        (np.ones((6, 9)), np.full((6, 9), np.nan), "scores contains NaN"),
        (np.ones((6, 1)), np.ones((6, 1)), "at least 2 groups"),
        (np.ones(9), np.ones(9), "Expected 2D array"),
    ],
)
def test_wrong_input_is_refused(effects, scores, message):
    with pytest.raises(ValueError, match=message):
        leave_one_out_correlation(effects, scores)


@pytest.mark.parametrize("shape", [(1, 6, 9), (6, 9), (3, 6, 1), (3, 0, 9)])
def test_a_ceiling_needs_two_seeds_and_two_groups(shape):
    with pytest.raises(ValueError, match=r"\(n_seeds, n_queries, n_groups\)"):
        leave_one_out_ceiling(np.ones(shape))


def test_a_ceiling_refuses_nan_and_an_unknown_average(effects):
    with pytest.raises(ValueError, match="average must be"):
        leave_one_out_ceiling(effects, average="seeds")
    effects[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="effects contains NaN"):
        leave_one_out_ceiling(effects)
