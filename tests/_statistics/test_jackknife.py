import numpy as np
import pytest
from scipy.stats import sem, t

from sklearn_synset._statistics.jackknife import jackknife_interval
from sklearn_synset._statistics.slope import least_squares_slope


def slope(predicted, measured):
    return least_squares_slope(predicted, measured)[0]


@pytest.fixture
def effects():
    rng = np.random.RandomState(0)
    measured = rng.normal(size=(6, 9))
    return measured + rng.normal(size=(6, 9)), measured


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


def test_the_interval_holds_nine_times_in_ten_by_default(effects):
    def mean(predicted, measured):
        return measured.mean()

    expected = jackknife_interval(mean, *effects, level=0.9)
    assert jackknife_interval(mean, *effects) == expected


def test_three_removals_have_an_interval():
    effects = np.array([[1.0, 3.0, 4.0], [2.0, 1.0, 5.0]])
    assert np.isfinite(jackknife_interval(lambda a, b: b.mean(), effects, effects)).all()
