import matplotlib.pyplot as plt
import numpy as np
import pytest

from sklearn_synset.inspection import SynsetDisplay
from tests.inspection.reading import assert_readable


def legend_of(panel):
    return [text.get_text() for text in panel.get_legend().get_texts()]


def made_up(n_groups, n_rows, n_features, n_real=5, image_shape=None, long=False):
    rng = np.random.RandomState(0)
    classes = np.array(["a rather long name of a class", "b"] if long else ["a", "b"])
    return SynsetDisplay(
        [rng.normal(size=(n_rows, n_features)) for _ in range(n_groups)],
        [rng.dirichlet([1, 1], size=n_rows) for _ in range(n_groups)],
        [rng.exponential(size=n_rows) for _ in range(n_groups)],
        groups=[f"a rather long name of group {k}" if long else k for k in range(n_groups)],
        classes=classes,
        real_rows=[rng.normal(size=(n_real, n_features)) for _ in range(n_groups)],
        group_notes=["12 rows, 7 of a rather long" if long else "1 row"] * n_groups,
        feature_names=[f"a rather long name of feature {i}" for i in range(n_features)],
        image_shape=image_shape,
    )


@pytest.mark.parametrize("n_groups", [1, 2, 6])
@pytest.mark.parametrize("n_rows", [1, 5])
@pytest.mark.parametrize("long", [False, True])
def test_pictures_are_readable(n_groups, n_rows, long):
    display = made_up(n_groups, n_rows, 12, n_real=4, image_shape=(3, 4), long=long).plot()
    assert [len(images) for images in display.synset_images_] == [n_rows] * n_groups
    assert [len(images) for images in display.real_images_] == [4] * n_groups
    assert_readable(display.figure_)


@pytest.mark.parametrize("n_groups", [1, 4])
@pytest.mark.parametrize("n_features", [1, 10, 300])
def test_profiles_are_readable(n_groups, n_features):
    display = made_up(n_groups, 4, n_features, long=True).plot()
    assert len(display.panels_) == n_groups
    assert [len(lines) for lines in display.synset_lines_] == [4] * n_groups
    assert [len(lines) for lines in display.real_lines_] == [5] * n_groups
    assert_readable(display.figure_)


def test_profiles_are_in_standard_deviations_of_the_training_rows():
    display = made_up(1, 2, 3)
    display.mean, display.scale = np.array([1.0, 2.0, 3.0]), np.array([1.0, 0.5, 0.0])
    display.plot()
    expected = (display.synset_rows[0][1] - [1, 2, 3]) / [1, 0.5, 1]
    np.testing.assert_allclose(display.synset_lines_[0][1].get_ydata(), expected)


def test_synset_rows_differ_in_more_than_colour():
    lines = made_up(1, 4, 5).plot().synset_lines_[0]
    assert len({(line.get_marker(), line.get_linestyle()) for line in lines}) == 4


def test_captions_say_the_class_its_probability_and_the_weight():
    display = made_up(1, 1, 4, image_shape=(2, 2))
    display.targets, display.weights = [np.array([[0.25, 0.75]])], [np.array([3.21])]
    assert display.plot().captions_[0][0].get_text() == "b (0.75)\n× 3.2"
    display.classes = None
    assert display.plot().captions_[0][0].get_text() == "0.25, 0.75\n× 3.2"


def test_from_estimator_shows_the_heaviest_rows_of_groups_from_first_to_last(digits):
    attributor = digits.attributor
    display = SynsetDisplay.from_estimator(
        attributor, digits.X, digits.y, n_groups=3, n_rows=1, image_shape=(8, 8)
    )
    assert display.groups.tolist() == attributor.groups_[[0, 10, 19]].tolist()
    for k, group in enumerate(display.groups):
        rows = np.flatnonzero(attributor.synset_groups_ == group)
        heaviest = rows[attributor.sample_weight_synset_[rows].argmax()]
        np.testing.assert_array_equal(display.synset_rows[k], attributor.X_synset_[[heaviest]])
        of_group = digits.X[attributor.group_labels_ == group]
        assert (of_group == display.real_rows[k]).all(1).any()
    image = np.asarray(display.synset_images_[1][0].get_array())
    shown = display.synset_rows[1][0].reshape(8, 8)
    assert np.corrcoef(image.ravel(), shown.ravel())[0, 1] == pytest.approx(1)
    assert_readable(display.figure_)


def test_groups_are_chosen_by_their_labels(wine):
    display = SynsetDisplay.from_estimator(wine.estimator, groups=["south slope"])
    assert list(display.groups) == ["south slope"]
    with pytest.raises(ValueError, match=r"groups holds \['nowhere'\]"):
        SynsetDisplay.from_estimator(wine.estimator, groups=["nowhere", "south slope"])


def test_rows_of_a_pipeline_are_shown_as_the_attributor_sees_them(wine):
    display = SynsetDisplay.from_estimator(wine.estimator, wine.X, wine.y)
    scaled = wine.estimator[0].transform(wine.X)
    np.testing.assert_allclose(display.mean, scaled.mean(0), atol=1e-12)
    labels = [label.get_text() for label in display.panels_[-1].get_xticklabels()]
    assert labels[:2] == ["alcohol", "malic_acid"] and len(labels) == wine.X.shape[1]
    assert display.panels_[0].get_title(loc="left").startswith("cellar of the old…: ")
    assert legend_of(display.panels_[0])[0] == "real rows"
    assert_readable(display.figure_)


def test_a_regression_shows_values(diabetes):
    display = SynsetDisplay.from_estimator(diabetes.estimator, diabetes.X, diabetes.y)
    value, weight = display.targets[0][0, 0], display.weights[0][0]
    assert legend_of(display.panels_[0])[1] == f"{value:.3g} × {weight:.1f}"
    assert_readable(display.figure_)


def test_without_training_rows_the_synset_stands_alone(diabetes, digits):
    display = SynsetDisplay.from_estimator(diabetes.estimator)
    assert display.real_lines_[0] == [] and len(display.synset_lines_[0]) == 2
    assert_readable(display.figure_)
    display = SynsetDisplay.from_estimator(digits.attributor, image_shape=(8, 8))
    assert display.real_images_ is None and len(display.synset_images_) == 4
    assert_readable(display.figure_)


def test_colours_are_drawn_as_colours():
    display = made_up(1, 2, 3 * 4 * 5, image_shape=(3, 4, 5)).plot()
    assert display.synset_images_[0][0].get_array().shape == (4, 5, 3)


def test_it_draws_on_given_axes():
    _, (left, right) = plt.subplots(1, 2)
    assert made_up(1, 1, 4, image_shape=(2, 2)).plot(left).ax_ is left
    display = made_up(2, 1, 4).plot(right)
    assert display.ax_ is right and set(display.panels_) <= set(right.child_axes)
