"""The size of effects that probes foretell."""

import numpy as np
import pytest
from sklearn_synset._probes.calibration import factors_without_each, size_factor


@pytest.fixture
def effects():
    return np.random.RandomState(0).randn(30, 8)


@pytest.mark.parametrize("slope", [0.6, 1.0, 1.7])
def test_sizes_without_error_are_trusted_by_four_fifths(effects, slope):
    # 0.3^2 / (0.3^2 + 0.15^2): the jackknife finds no error.
    assert size_factor(effects, slope * effects + 3) == pytest.approx(slope**0.8)


def test_the_more_removals_differ_the_less_is_trusted(effects):
    own = np.array([0.8, 1.2, 1.5, 2.5, 2.0, 0.9, 1.8, 1.1])
    measured = own * effects
    x = effects - effects.mean()
    slope = (x * measured).sum() / (x * x).sum()
    without = []
    for j in range(8):
        x, y = np.delete(effects, j, 1), np.delete(measured, j, 1)
        without.append(np.log(np.polyfit(x.ravel(), y.ravel(), 1)[0]))
    variance = 7 / 8 * ((without - np.mean(without)) ** 2).sum()
    trust = 0.09 / (0.09 + 0.0225 + variance)
    assert trust < 0.79
    assert size_factor(effects, measured) == pytest.approx(slope**trust)


def test_each_removal_is_foretold_by_the_others(effects):
    measured = np.array([0.8, 1.2, 1.5, 2.5, 2.0, 0.9, 1.8, 1.1]) * effects
    factors = factors_without_each(effects, measured)
    assert factors.shape == (8,)
    assert factors[3] == size_factor(np.delete(effects, 3, 1), np.delete(measured, 3, 1))
    assert factors[3] < size_factor(effects, measured)


def test_sizes_stay_within_a_factor_of_three(effects):
    assert size_factor(effects, 100 * effects) == 3
    assert size_factor(effects, 0.001 * effects) == pytest.approx(1 / 3)


@pytest.mark.parametrize("n", [0, 1, 3])
def test_a_few_removals_tell_nothing(effects, n):
    assert size_factor(effects[:, :n], 2 * effects[:, :n]) == 1
    assert factors_without_each(effects[:, :n], 2 * effects[:, :n]).tolist() == [1] * n


def test_four_removals_are_enough(effects):
    assert size_factor(effects[:, :4], 2 * effects[:, :4]) > 1.5


def test_effects_of_the_wrong_sign_or_without_any_size_are_left_alone(effects):
    assert size_factor(effects, -effects) == 1
    assert size_factor(np.zeros((30, 8)), effects) == 1
    # One removal alone makes the slope positive.
    measured = -effects.copy()
    measured[:, 0] = 100 * effects[:, 0]
    assert size_factor(effects, measured) == 1


def test_without_queries_nothing_is_told():
    assert size_factor(np.zeros((0, 8)), np.zeros((0, 8))) == 1
