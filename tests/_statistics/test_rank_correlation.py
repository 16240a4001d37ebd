import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import spearmanr

from sklearn_synset._statistics.rank_correlation import mean_rank_correlation, rank_correlations


@pytest.fixture
def effects():
    rng = np.random.RandomState(0)
    measured = rng.normal(size=(6, 9))
    return measured + rng.normal(size=(6, 9)), measured


@pytest.mark.parametrize("n_digits", [0, 12])
def test_it_is_scipys_with_and_without_ties(effects, n_digits):
    a, b = (np.round(each, n_digits) for each in effects)
    expected = [spearmanr(x, y).statistic for x, y in zip(a, b, strict=True)]
    assert_allclose(rank_correlations(a, b), expected, atol=1e-14)


def test_without_ties_it_is_the_formula_of_squared_differences(effects):
    r, s = (each.argsort(1).argsort(1) for each in effects)
    expected = 1 - 6 * ((r - s) ** 2).sum(1) / (9 * (9**2 - 1))
    assert_allclose(rank_correlations(*effects), expected, atol=1e-14)


@pytest.mark.parametrize("constant", [0, 1])
def test_a_constant_row_counts_as_zero(effects, constant):
    effects[constant][2] = 0.1
    values = rank_correlations(*effects)
    assert values[2] == 0
    assert (values[[0, 1, 3, 4, 5]] != 0).all()


def test_only_the_order_matters(effects):
    a, b = effects
    assert_allclose(rank_correlations(np.exp(a), b**3), rank_correlations(a, b), rtol=0)
    assert_allclose(rank_correlations(-a, b), -rank_correlations(a, b), rtol=0)


def test_a_single_removal_or_no_query_has_no_mean(effects):
    a, b = effects
    assert mean_rank_correlation(a, b) == pytest.approx(rank_correlations(a, b).mean())
    assert np.isnan(mean_rank_correlation(a[:, :1], b[:, :1]))
    assert np.isnan(mean_rank_correlation(a[:0], b[:0]))
