import numpy as np
import pytest
from scipy.stats import sem, t

from sklearn_synset._statistics.jackknife import jackknife_error, t_interval
from sklearn_synset._statistics.slope import least_squares_slope


def slope(predicted, measured):
    return least_squares_slope(predicted, measured)[0]


@pytest.fixture
def effects():
    rng = np.random.RandomState(0)
    measured = rng.normal(size=(6, 9))
    return measured + rng.normal(size=(6, 9)), measured


def interval(statistic, predicted, measured, **params):
    error = jackknife_error(statistic, predicted, measured)
    return t_interval(statistic(predicted, measured), error, predicted.shape[-1], **params)


def test_the_interval_of_a_mean_is_students():
    rng = np.random.RandomState(0)
    values = rng.randn(1, 10)
    low, high = interval(lambda a, b: b.mean(), values, values, level=0.8)
    expected = t.interval(0.8, 9, values.mean(), sem(values[0]))
    assert (low, high) == pytest.approx(expected)


def test_the_interval_holds_what_all_removals_give():
    rng = np.random.RandomState(0)
    n_held = 0
    for _ in range(100):
        predicted = rng.randn(20, 200) * rng.gamma(2, size=200)
        measured = 0.8 * predicted + rng.randn(20, 200)
        low, high = interval(slope, predicted[:, :10], measured[:, :10])
        n_held += low < slope(predicted, measured) < high
    assert 80 <= n_held <= 99


def test_removals_are_the_last_axis():
    rng = np.random.RandomState(0)
    predicted, measured = rng.randn(3, 5), rng.randn(2, 3, 5)
    error = jackknife_error(lambda a, b: slope(a, b.mean(0)), predicted, measured)
    assert error == pytest.approx(jackknife_error(slope, predicted, measured.mean(0)))


@pytest.mark.parametrize("n_removals", [1, 2])
def test_two_removals_have_no_interval(effects, n_removals):
    predicted, measured = (values[:, :n_removals] for values in effects)
    assert np.isnan(interval(slope, predicted, measured)).all()


def test_the_interval_holds_nine_times_in_ten_by_default():
    assert t_interval(1.0, 2.0, 5) == t_interval(1.0, 2.0, 5, level=0.9)


def test_three_removals_have_an_interval():
    effects = np.array([[1.0, 3.0, 4.0], [2.0, 1.0, 5.0]])
    assert np.isfinite(interval(lambda a, b: b.mean(), effects, effects)).all()
