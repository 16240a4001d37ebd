import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from sklearn.utils import Bunch

from sklearn_synset.inspection import RemovalCurveDisplay
from tests.inspection.reading import assert_readable

SHARES = np.array([0.0, 0.1, 0.4])


def curve_of(n_seeds):
    rng = np.random.RandomState(0)
    values = {name: rng.uniform(size=(n_seeds, 3)) for name in ("lowest_first", "highest_first")}
    return Bunch(shares=SHARES, random=rng.uniform(size=(n_seeds, 3)), **values)


@pytest.mark.parametrize("n_seeds", [1, 2, 5])
def test_lines_are_means_and_bands_deviations_over_seeds(n_seeds):
    curve = curve_of(n_seeds)
    display = RemovalCurveDisplay.from_curve(curve, quantity="accuracy")
    line = display.lines_["lowest scores first"]
    np.testing.assert_allclose(line.get_xdata(), [0, 10, 40])
    np.testing.assert_allclose(line.get_ydata(), curve.lowest_first.mean(0))
    assert list(display.bands_) == (list(display.lines_) if n_seeds > 1 else [])
    if n_seeds > 1:
        corners = display.bands_["random"].get_paths()[0].get_extents()
        mean, deviation = curve.random.mean(0), curve.random.std(0, ddof=1)
        assert corners.y0 == pytest.approx((mean - deviation).min())
        assert corners.y1 == pytest.approx((mean + deviation).max())
    assert display.ax_.get_xlabel() == "training rows removed (%)"
    assert display.ax_.get_ylabel() == "accuracy"
    assert_readable(display.figure_)


def test_orders_differ_in_more_than_colour():
    lines = RemovalCurveDisplay.from_curve(curve_of(2)).lines_.values()
    assert len({(line.get_marker(), line.get_linestyle()) for line in lines}) == 3
    assert len({to_rgb(line.get_color()) for line in lines}) == 3


def test_curves_of_any_name_and_a_unit():
    display = RemovalCurveDisplay(
        SHARES, {"ours": [1, 2, 3], "theirs": [3, 2, 1]}, quantity="error", unit="mg/dl"
    ).plot()
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels == ["ours", "theirs"]
    assert display.ax_.get_ylabel() == "error (mg/dl)"
    assert_readable(display.figure_)


@pytest.mark.parametrize("values", [[1.0, 2.0], np.zeros((2, 4)), np.zeros((1, 2, 3))])
def test_a_curve_of_another_length_is_refused(values):
    with pytest.raises(ValueError, match=r"curves\['ours'\] must have shape \(3,\) or"):
        RemovalCurveDisplay(SHARES, {"ours": values}).plot()


def test_it_draws_on_given_axes():
    _, ax = plt.subplots()
    assert RemovalCurveDisplay.from_curve(curve_of(2), ax=ax).ax_ is ax
