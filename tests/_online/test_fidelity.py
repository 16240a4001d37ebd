import numpy as np
import pytest
from scipy.stats import linregress, spearmanr

from sklearn_synset._online._fidelity import calibration_slope, mean_rank_correlation


@pytest.fixture
def effects():
    rng = np.random.RandomState(0)
    measured = rng.normal(size=(6, 9))
    return measured + rng.normal(size=(6, 9)), measured


def test_the_rank_correlation_is_the_mean_of_scipys(effects):
    predicted, measured = effects
    expected = [spearmanr(a, b).statistic for a, b in zip(predicted, measured, strict=True)]
    assert mean_rank_correlation(predicted, measured) == pytest.approx(np.mean(expected))


def test_ties_are_ranked_as_by_scipy(effects):
    predicted, measured = (np.round(each) for each in effects)
    expected = [spearmanr(a, b).statistic for a, b in zip(predicted, measured, strict=True)]
    assert mean_rank_correlation(predicted, measured) == pytest.approx(np.mean(expected))


def test_a_constant_query_counts_as_zero(effects):
    predicted, measured = effects
    predicted[0] = 1.0
    expected = [spearmanr(a, b).statistic for a, b in zip(predicted[1:], measured[1:], strict=True)]
    assert mean_rank_correlation(predicted, measured) == pytest.approx(np.sum(expected) / 6)


def test_a_single_removal_has_no_rank_correlation(effects):
    predicted, measured = effects
    assert np.isnan(mean_rank_correlation(predicted[:, :1], measured[:, :1]))
    assert np.isnan(mean_rank_correlation(predicted[:0], measured[:0]))


def test_the_slope_is_scipys_over_all_effects(effects):
    predicted, measured = effects
    expected = linregress(predicted.ravel(), measured.ravel()).slope
    assert calibration_slope(predicted, measured) == pytest.approx(expected)


def test_constant_predictions_have_no_slope(effects):
    assert np.isnan(calibration_slope(np.ones((6, 9)), effects[1]))
