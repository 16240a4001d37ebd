"""The check of readability sees what it is meant to see."""

import matplotlib.pyplot as plt
import pytest

from tests.inspection.reading import assert_readable


def test_a_plain_figure_is_readable():
    figure, ax = plt.subplots(layout="constrained")
    ax.set(title="title", xlabel="x", ylabel="y")
    assert_readable(figure)


def test_text_upon_text_is_seen():
    figure, ax = plt.subplots(layout="constrained")
    ax.text(0.5, 0.5, "one")
    ax.text(0.51, 0.5, "two")
    with pytest.raises(AssertionError, match="'one' and 'two' overlap"):
        assert_readable(figure)


def test_crowded_tick_labels_are_seen():
    figure, ax = plt.subplots(layout="constrained")
    ax.set_xticks([0, 0.001], ["left", "right"])
    with pytest.raises(AssertionError, match="'left' and 'right' overlap"):
        assert_readable(figure)


def test_text_outside_the_figure_is_seen():
    figure, _ = plt.subplots()
    figure.text(0.98, 0.5, "a long text")
    with pytest.raises(AssertionError, match="'a long text' at .* leaves the figure"):
        assert_readable(figure)
