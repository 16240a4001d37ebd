import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from sklearn_synset.inspection import MislabelDisplay
from sklearn_synset.inspection._mislabel_display import _unusual_features
from tests.inspection.reading import assert_readable


def made_up(n_rows, image_shape=None, label="a rather long name"):
    rng = np.random.RandomState(0)
    return MislabelDisplay(
        rng.normal(size=(n_rows, 12)),
        np.sort(rng.normal(scale=50, size=n_rows)),
        given=[label] * n_rows,
        suggested=[f"other {label}"] * n_rows,
        names=[f"a rather long name of row {i}" for i in range(n_rows)],
        feature_names=[f"a rather long name of feature {i}" for i in range(12)],
        image_shape=image_shape,
    )


@pytest.mark.parametrize("n_rows", [1, 10, 30])
@pytest.mark.parametrize("image_shape", [None, (3, 4), (6, 2)])
def test_every_size_is_readable(n_rows, image_shape):
    display = made_up(n_rows, image_shape).plot()
    assert len(display.bars_ if image_shape is None else display.images_) == n_rows
    assert_readable(display.figure_)


def test_captions_say_the_labels_the_row_and_its_score():
    display = MislabelDisplay(
        np.zeros((2, 4)),
        [-2.345, 0.5],
        given=["cat", 7],
        suggested=["dog", 7.25],
        names=["x", 11],
        image_shape=(2, 2),
    ).plot()
    assert [text.get_text() for text in display.captions_] == [
        "cat → dog\nx: -2.3",
        "7 → 7.25\n11: +0.5",
    ]


def test_bars_are_the_scores_in_their_order_with_both_labels_beside_them():
    display = made_up(5, label="cat").plot()
    assert [bar.get_width() for bar in display.bars_] == list(display.scores)
    assert [cell.get_text() for cell in display.table_[0]] == ["given", *["cat"] * 5]
    assert [cell.get_text() for cell in display.table_[1]] == ["suggested", *["other cat"] * 5]
    assert len(display.table_) == 2 + 3
    assert "out-of-fold log-odds of the given label (nats)" in display.ax_.get_xlabel()


def test_the_probability_of_a_wrong_label_is_shown_where_it_is_known():
    given, X = {"given": ["cat", "cow"], "suggested": ["dog", "cow"]}, np.zeros((2, 4))
    wrong = np.array([0.974, 0.126])
    sheet = MislabelDisplay(X, [-2, 1], **given, wrong_probability=wrong, image_shape=(2, 2))
    captions = [text.get_text() for text in sheet.plot().captions_]
    assert captions == ["cat → dog\n0: 97%", "cow → cow\n1: 13%"]
    table = MislabelDisplay(X, [-2, 1], **given, wrong_probability=wrong).plot().table_
    assert [cell.get_text() for cell in table[2]] == ["wrong", "97%", "13%"]


def test_from_estimator_shows_the_lowest_scores(digits):
    display = MislabelDisplay.from_estimator(
        digits.attributor, digits.X, digits.y, n_rows=7, image_shape=(8, 8)
    )
    scores = digits.attributor.score_samples(digits.X, digits.y)
    lowest = np.argsort(scores)[:7]
    np.testing.assert_array_equal(display.names, lowest)
    np.testing.assert_array_equal(display.scores, scores[lowest])
    np.testing.assert_array_equal(display.given, digits.y[lowest])
    found = digits.attributor.suggest_labels(digits.X, digits.y)
    np.testing.assert_array_equal(display.suggested, found.label[lowest])
    np.testing.assert_array_equal(display.wrong_probability, found.wrong_probability[lowest])
    image = np.asarray(display.images_[3].get_array())
    np.testing.assert_allclose(16 * image, digits.X[lowest[3]].reshape(8, 8))
    assert_readable(display.figure_)


def test_planted_wrong_labels_come_first_and_are_mended(wine):
    X, y = wine.X, wine.y.to_numpy().copy()
    scores = wine.estimator[-1].score_samples(wine.estimator[0].transform(X), y)
    planted = np.argsort(-scores)[:3]
    right = y[planted]
    y[planted] = np.where(right == "barolo", "barbera", "barolo")
    display = MislabelDisplay.from_estimator(wine.estimator, X, pd.Series(y, X.index), n_rows=3)
    assert set(display.names) == set(X.index[planted])
    order = [list(X.index[planted]).index(name) for name in display.names]
    assert list(display.suggested) == list(right[order])
    assert_readable(display.figure_)


def test_a_regression_shows_the_prediction_instead(diabetes):
    display = MislabelDisplay.from_estimator(
        diabetes.estimator, diabetes.X, diabetes.y, n_rows=200, unit="points"
    )
    assert len(display.bars_) == len(diabetes.X)
    assert display.table_[1][0].get_text() == "predicted"
    assert "out-of-fold negative half squared error (points²)" in display.ax_.get_xlabel()
    errors = np.abs(np.asarray(display.given) - display.suggested)
    assert errors[:20].mean() > errors[-20:].mean()


def test_unusual_features_are_those_far_from_the_mean_of_the_label():
    X = np.array([[0.0, 0.0], [0.1, 9.0], [0.0, 0.0], [0.1, 9.0], [9.0, 9.0]])
    y = np.array([0, 1, 0, 1, 1])
    X = np.column_stack([X, np.ones((5, 2))])
    assert 0 in _unusual_features(X, y, np.array([4]), [0, 1])
    words = np.array([["a", 1.0], ["b", 2.0]], dtype=object)
    assert _unusual_features(words, np.array([0, 0]), np.array([0]), [0]).tolist() == [0, 1]


def test_labels_of_another_number_and_no_rows_are_refused():
    with pytest.raises(ValueError, match="of one length, at least 1; got 2, 1, 2, 2"):
        MislabelDisplay(np.eye(2), [1.0], given="ab", suggested="ab").plot()
    with pytest.raises(ValueError, match="got 0, 0, 0, 0"):
        MislabelDisplay(np.empty((0, 2)), [], given="", suggested="").plot()


def test_it_draws_on_given_axes():
    _, (left, right) = plt.subplots(1, 2)
    assert made_up(2).plot(left).ax_ is left
    assert made_up(2, (3, 4)).plot(right).ax_ is right
