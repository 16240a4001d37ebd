"""What is made of the probes: a summary, and warnings."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from sklearn_synset._online._probed_fidelity import measured_fidelity, warn_if_unfaithful


@pytest.fixture
def measured():
    return np.random.RandomState(0).randn(40, 8)


def fidelity_of(predicted, measured):
    return measured_fidelity(predicted, measured, np.arange(measured.shape[1]))


def test_right_predictions_are_not_warned_of(measured):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_unfaithful(fidelity_of(1.2 * measured, measured))


def test_another_order_is_warned_of_with_its_number(measured):
    fidelity = fidelity_of(measured[:, ::-1], measured)
    number = f"{fidelity.rank_correlation:.2f}"
    with pytest.warns(ConvergenceWarning, match=f"rank correlation {number}, between"):
        warn_if_unfaithful(fidelity)


@pytest.mark.parametrize(("factor", "told"), [(0.25, "4.00"), (4.0, "0.25")])
def test_another_size_is_warned_of_with_its_number(measured, factor, told):
    with pytest.warns(ConvergenceWarning, match=f"measured effects are {told} times"):
        warn_if_unfaithful(fidelity_of(factor * measured, measured))


def test_a_size_that_is_not_known_is_not_warned_of():
    rng = np.random.RandomState(0)
    predicted = rng.randn(4, 3)
    fidelity = fidelity_of(predicted, predicted * [0.1, 4.0, 0.1] + rng.randn(4, 3))
    fidelity.rank_correlation = 0.9
    assert fidelity.slope_interval[0] < 1 < fidelity.slope_interval[1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_unfaithful(fidelity)


def test_without_probes_nothing_is_known_and_nothing_warned_of():
    fidelity = fidelity_of(np.empty((5, 0)), np.empty((5, 0)))
    assert np.isnan(fidelity.rank_correlation) and np.isnan(fidelity.slope)
    assert np.isnan(fidelity.slope_interval).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_unfaithful(fidelity)
