import matplotlib.pyplot as plt
import numpy as np
import pytest

from sklearn_synset.inspection import MatchingCurveDisplay
from tests.inspection.reading import assert_readable, tick_labels


@pytest.mark.parametrize("n_steps", [0, 1, 5, 51, 3000])
def test_every_length_is_readable(n_steps):
    curve = np.exp(-np.arange(n_steps) / 200)
    display = MatchingCurveDisplay(curve).plot()
    np.testing.assert_array_equal(display.line_.get_ydata(), curve)
    assert (display.mean_line_ is not None) == (n_steps >= 51)
    assert display.ax_.get_xlabel() == "step of the distillation"
    assert_readable(display.figure_)


def test_the_running_mean_of_a_geometric_curve_is_the_curve():
    curve = 0.99 ** np.arange(200)
    line = MatchingCurveDisplay(curve).plot().mean_line_
    np.testing.assert_allclose(line.get_ydata(), curve[line.get_xdata()])


@pytest.mark.parametrize("ratio", [1.5, 3, 8, 20, 500, 1e6])
def test_every_range_has_some_labels_and_not_too_many(ratio):
    display = MatchingCurveDisplay(np.geomspace(0.07 * ratio, 0.07, 40)).plot()
    display.figure_.draw_without_rendering()
    labels = [label for label in tick_labels(display.ax_.yaxis) if label.get_text()]
    assert 2 <= len(labels) <= 22  # two for each tick, right and left
    assert_readable(display.figure_)


def test_zeros_do_not_need_a_logarithm():
    display = MatchingCurveDisplay(np.zeros(60)).plot()
    assert display.ax_.get_yscale() == "linear" and display.mean_line_ is None
    assert MatchingCurveDisplay([1.0, 0.0, 0.1]).plot().ax_.get_yscale() == "log"


def test_no_step_is_said_in_words():
    (text,) = MatchingCurveDisplay([]).plot().ax_.texts
    assert text.get_text() == "no steps taken (max_iter=0)"


def test_from_estimator_draws_the_fitted_curve(wine):
    display = MatchingCurveDisplay.from_estimator(wine.estimator)
    np.testing.assert_array_equal(display.line_.get_ydata(), wine.attributor.matching_loss_curve_)
    assert "prediction norm" in display.ax_.get_ylabel()
    assert_readable(display.figure_)


def test_it_draws_on_given_axes():
    _, ax = plt.subplots()
    assert MatchingCurveDisplay([1.0, 0.5]).plot(ax).ax_ is ax
