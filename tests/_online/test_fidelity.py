import numpy as np
import pytest
from scipy.stats import rankdata, sem, t

from sklearn_synset._online._fidelity import fidelity_score
from sklearn_synset._online._jackknife import jackknife_interval
from sklearn_synset._rank_correlation import mean_rank_correlation
from sklearn_synset._slope import least_squares_slope


def slope(predicted, measured):
    return least_squares_slope(predicted, measured)[0]


@pytest.fixture
def effects():
    rng = np.random.RandomState(0)
    measured = rng.normal(size=(6, 9))
    return measured + rng.normal(size=(6, 9)), measured


def test_the_score_is_a_correlation_of_ranks_over_removals_and_over_pairs(effects):
    predicted, measured = effects

    def ranks_beyond_means(values):
        ranks = rankdata(values.ravel()).reshape(values.shape)
        design = np.column_stack(
            [np.repeat(np.eye(len(values)), values.shape[1], 0)]
            + [np.tile(np.eye(values.shape[1]), (len(values), 1))]
        )
        return ranks.ravel() - design @ np.linalg.lstsq(design, ranks.ravel(), rcond=None)[0]

    a, b = ranks_beyond_means(predicted), ranks_beyond_means(measured)
    expected = (mean_rank_correlation(predicted, measured) + np.corrcoef(a, b)[0, 1]) / 2
    assert fidelity_score(predicted, measured) == pytest.approx(expected)


def test_the_score_is_one_for_any_unit_and_minus_one_for_the_opposite(effects):
    predicted, _ = effects
    assert fidelity_score(predicted, 3 * predicted - 1) == pytest.approx(1)
    assert fidelity_score(predicted, -predicted) == pytest.approx(-1)


def test_predictions_that_say_nothing_score_zero(effects):
    predicted, measured = effects
    assert fidelity_score(np.zeros_like(predicted), measured) == 0


def test_a_single_removal_has_no_score(effects):
    assert np.isnan(fidelity_score(effects[0][:, :1], effects[1][:, :1]))


def test_the_interval_of_a_mean_is_students():
    rng = np.random.RandomState(0)
    values = rng.randn(1, 10)
    low, high = jackknife_interval(lambda a, b: b.mean(), values, values, level=0.8)
    expected = t.interval(0.8, 9, values.mean(), sem(values[0]))
    assert (low, high) == pytest.approx(expected)


def test_the_interval_holds_what_all_removals_give():
    rng = np.random.RandomState(0)
    n_held = 0
    for _ in range(100):
        predicted = rng.randn(20, 200) * rng.gamma(2, size=200)
        measured = 0.8 * predicted + rng.randn(20, 200)
        low, high = jackknife_interval(slope, predicted[:, :10], measured[:, :10])
        n_held += low < slope(predicted, measured) < high
    assert 80 <= n_held <= 99


def test_two_removals_have_no_interval(effects):
    predicted, measured = (values[:, :2] for values in effects)
    assert np.isnan(jackknife_interval(slope, predicted, measured)).all()


def test_two_removals_have_a_score_and_three_an_interval():
    effects = np.array([[1.0, 3.0, 4.0], [2.0, 1.0, 5.0]])
    assert fidelity_score(effects[:, :2], effects[:, :2]) == pytest.approx(1)
    assert np.isfinite(jackknife_interval(lambda a, b: b.mean(), effects, effects)).all()


def test_no_query_has_no_score():
    assert np.isnan(fidelity_score(np.empty((0, 4)), np.empty((0, 4))))


def test_the_interval_holds_nine_times_in_ten_by_default(effects):
    def mean(predicted, measured):
        return measured.mean()

    expected = jackknife_interval(mean, *effects, level=0.9)
    assert jackknife_interval(mean, *effects) == expected
