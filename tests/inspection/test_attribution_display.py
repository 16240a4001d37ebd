import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib import colormaps
from matplotlib.colors import to_rgb
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sklearn_synset import SynsetAttributor
from sklearn_synset.inspection import AttributionDisplay
from sklearn_synset.inspection._attribution_display import notes_on_groups
from sklearn_synset.inspection._plotting import HELPS, HURTS
from tests.fitted import OPTIONS, fitted
from tests.inspection.reading import assert_readable, lightness

SIZES = [(n_queries, n_groups) for n_queries in (1, 10, 200) for n_groups in (2, 100)]
LONG_NAMES = np.array([f"outpatient clinic number {i} of the county" for i in range(100)])


def effects_of(n_queries, n_groups, scale=1.0):
    return scale * np.random.RandomState(0).normal(size=(n_queries, n_groups))


@pytest.mark.parametrize("n_queries, n_groups", SIZES)
@pytest.mark.parametrize("groups", [np.arange(100), LONG_NAMES], ids=["numbers", "words"])
def test_every_size_is_readable(n_queries, n_groups, groups):
    effects = effects_of(n_queries, n_groups, scale=300)
    queries = [f"patient number {i}" for i in range(n_queries)]
    display = AttributionDisplay(effects, groups=groups[:n_groups], queries=queries).plot()
    assert display.figure_.get_size_inches()[0] * 100 == 800
    assert_readable(display.figure_)


@pytest.mark.parametrize("n_queries, n_groups", SIZES[2:])
def test_the_map_shows_the_effects_on_a_scale_around_zero(n_queries, n_groups):
    effects = effects_of(n_queries, n_groups)
    display = AttributionDisplay(effects, groups=np.arange(n_groups)).plot()
    np.testing.assert_array_equal(display.im_.get_array(), effects)
    low, high = display.im_.get_clim()
    assert low == -high and np.mean(np.abs(effects) <= high) >= 0.99
    assert (display.colorbar_.extend == "both") == (np.abs(effects).max() > high)
    assert display.bars_ is None


def test_the_map_darkens_all_the_way_from_hurting_to_helping():
    display = AttributionDisplay(effects_of(10, 3), groups=range(3)).plot()
    shades = lightness(display.im_.cmap(np.linspace(0, 1, 50)))
    assert (np.diff(shades) < 0).all()


def test_a_user_chooses_the_colours():
    display = AttributionDisplay(effects_of(10, 3), groups=range(3)).plot(cmap="RdBu")
    assert display.im_.cmap.name == colormaps["RdBu"].name


def test_a_small_map_says_the_effects_in_numbers():
    display = AttributionDisplay([[1.25, -0.5], [-1234.0, 0.001]], groups=["a", "b"]).plot()
    texts = [[text.get_text() for text in row] for row in display.text_]
    assert texts == [["+1.2", "-0.5"], ["-1234", "+0.001"]]
    assert AttributionDisplay(effects_of(10, 100), groups=range(100)).plot().text_ is None


def test_axes_have_names_and_units():
    display = AttributionDisplay(
        effects_of(2, 3), groups=["a", "b", "c"], quantity="prediction", unit="mg/dl"
    ).plot()
    assert display.ax_.get_xlabel() == "group of training rows"
    assert display.ax_.get_ylabel() == "query"
    assert "effect on the prediction (mg/dl)" in display.colorbar_.ax.get_ylabel()
    display.plot(query=1)
    assert "effect on the prediction (mg/dl)" in display.ax_.get_xlabel()
    display.unit = None
    assert "effect on the prediction   " in display.plot(query=1).ax_.get_xlabel()


@pytest.mark.parametrize("n_groups, n_bars", [(2, 2), (100, 10)])
def test_bars_are_the_strongest_groups_from_helping_to_hurting(n_groups, n_bars):
    effects = effects_of(3, n_groups)
    display = AttributionDisplay(effects, groups=np.arange(n_groups)).plot(query=1)
    widths = [bar.get_width() for bar in display.bars_]
    assert len(widths) == n_bars
    assert widths == sorted(widths, reverse=True)
    np.testing.assert_array_equal(widths, effects[1, display.shown_groups_])
    others = np.delete(effects[1], display.shown_groups_)
    assert not len(others) or np.abs(others).max() <= np.abs(widths).min()
    labels = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert labels == [f"group {group}" for group in display.shown_groups_]
    for bar in display.bars_:
        assert bar.get_facecolor()[:3] == to_rgb(HELPS if bar.get_width() > 0 else HURTS)


def test_the_number_of_bars_is_chosen():
    display = AttributionDisplay(effects_of(1, 20), groups=range(20)).plot(n_groups=4)
    assert len(display.bars_) == 4


def test_real_retraining_is_drawn_where_it_was_done():
    effects = np.array([[3.0, 2.0, -1.0]])
    retrained = np.array([[[2.5, np.nan, -2.0]], [[3.5, np.nan, -1.0]]])
    display = AttributionDisplay(effects, groups=["a", "b", "c"], retrained=retrained).plot()
    line, _, (whiskers,) = display.errorbar_
    np.testing.assert_allclose(line.get_xdata(), [3.0, -1.5])
    assert line.get_ydata().tolist() == [0, 2]
    deviation = np.std([2.5, 3.5], ddof=1)
    np.testing.assert_allclose(whiskers.get_segments()[0][:, 0], [3 - deviation, 3 + deviation])
    assert "mean ± deviation of 2 seeds" in display.ax_.get_xlabel()
    assert_readable(display.figure_)


def test_one_seed_has_no_deviation():
    display = AttributionDisplay([[3.0, 2.0]], groups="ab", retrained=[[[1.0, 1.0]]]).plot()
    assert not display.errorbar_.has_xerr
    assert display.ax_.get_xlabel().endswith("◇ by retraining")


@pytest.mark.parametrize("query", [2, -3])
def test_an_unknown_query_is_refused(query):
    with pytest.raises(ValueError, match=f"a position among 2, got {query}"):
        AttributionDisplay(effects_of(2, 3), groups=range(3)).plot(query=query)


@pytest.mark.parametrize("effects", [np.zeros((2, 4)), np.zeros(3), np.zeros((0, 3))])
def test_effects_that_do_not_fit_the_groups_are_refused(effects):
    with pytest.raises(ValueError, match=r"shape \(n_queries, 3\)"):
        AttributionDisplay(effects, groups=range(3)).plot()


def test_it_draws_on_given_axes():
    _, (left, right) = plt.subplots(1, 2)
    display = AttributionDisplay(effects_of(5, 3), groups=range(3))
    assert display.plot(left) is display and display.ax_ is left
    assert display.plot(right, query=0).ax_ is right


def test_from_estimator_attributes_the_queries(digits):
    display = AttributionDisplay.from_estimator(digits.attributor, digits.X_query)
    effects = digits.attributor.transform(digits.X_query)
    np.testing.assert_array_equal(display.im_.get_array(), effects)
    given = AttributionDisplay.from_estimator(
        digits.attributor, digits.X_query, digits.y_query, objective="probability"
    )
    expected = digits.attributor.attribute(digits.X_query, digits.y_query, objective="probability")
    np.testing.assert_array_equal(given.attributions, expected)
    assert (given.quantity, given.unit) == ("probability", None)
    assert_readable(given.figure_)


def test_pictures_of_typical_rows_stand_beside_the_bars(digits):
    display = AttributionDisplay.from_estimator(
        digits.attributor,
        digits.X_query,
        X_train=digits.X,
        y_train=digits.y,
        image_shape=(8, 8),
        n_typical=3,
        query=0,
    )
    assert len(display.thumbnails_) == len(display.bars_) == 10
    group = digits.attributor.groups_[display.shown_groups_[0]]
    members = digits.X[digits.attributor.group_labels_ == group].reshape(-1, 8, 8)
    for thumbnail in display.thumbnails_[0]:
        shown = 16 * np.asarray(thumbnail.offsetbox.get_data())
        assert any(np.allclose(shown, member) for member in members)
    query = np.asarray(display.query_picture_.offsetbox.get_data())
    np.testing.assert_allclose(16 * query.ravel(), digits.X_query[0])
    assert display.table_ is None
    assert_readable(display.figure_)


def test_the_heading_says_what_is_predicted_and_how_surely(digits):
    display = AttributionDisplay.from_estimator(digits.attributor, digits.X_query, digits.y_query)
    note = display.query_notes[3]
    assert f"given {digits.y_query[3]}" in note
    assert f"log-odds of {digits.y_query[3]}: " in note and note.endswith(" nats")
    texts = [text.get_text() for text in display.plot(query=3).ax_.texts]
    assert f"query 3: {note}" in texts


def test_a_table_of_telling_features_stands_beside_the_bars(wine):
    display = AttributionDisplay.from_estimator(
        wine.estimator, wine.X_query, wine.y_query, X_train=wine.X, y_train=wine.y, query=2
    )
    assert len(display.table_) == 4
    assert {len(column) for column in display.table_} == {1 + 1 + 3}
    labels = [label.get_text().split("\n") for label in display.ax_.get_yticklabels()]
    assert labels[0] == ["this query"]
    assert {name for name, *_ in labels[1:]} == {"north slope", "south slope", "cellar of the old…"}
    header, of_query, *_ = [cell.get_text() for cell in display.table_[0]]
    column = next(name for name in wine.X.columns if name.replace("_", " ")[:8] == header[:8])
    assert float(of_query) == pytest.approx(wine.X_query[column].iloc[2], rel=5e-3)
    assert display.thumbnails_ is None
    assert_readable(display.figure_)


def test_queries_of_a_table_go_by_its_index(wine):
    display = AttributionDisplay.from_estimator(wine.estimator, wine.X_query)
    labels = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert labels == list(wine.X_query.index)


def test_effects_on_a_regression_are_in_the_unit_of_the_target(diabetes):
    display = AttributionDisplay.from_estimator(
        *(diabetes.estimator, diabetes.X_query, diabetes.y_query),
        X_train=diabetes.X,
        y_train=diabetes.y,
        unit="points",
        query=0,
    )
    assert "effect on the prediction (points)" in display.ax_.get_xlabel()
    assert display.query_notes[0].startswith("prediction ")
    assert display.query_notes[0].endswith(f" points, given {diabetes.y_query.iloc[0]:.0f}")
    assert "mean y" in display.group_notes[0]
    assert_readable(display.figure_)


def test_columns_of_words_are_shown_as_they_are():
    rng = np.random.RandomState(0)
    X = pd.DataFrame({"colour": np.array(["red", "white"])[rng.randint(2, size=40)]})
    X["acid"] = rng.normal(size=40)
    y = np.where(X["acid"] > 0, "good", "bad")
    encode = ColumnTransformer(
        [
            ("word", OneHotEncoder(sparse_output=False), ["colour"]),
            ("number", StandardScaler(), ["acid"]),
        ]
    )
    pipeline = make_pipeline(encode, SynsetAttributor(n_groups=4, **OPTIONS))
    case = fitted(pipeline, X[:30], y[:30], X[30:], y[30:])
    display = AttributionDisplay.from_estimator(pipeline, case.X_query, X_train=case.X, query=0)
    cells = [cell.get_text() for cell in display.table_[0]]
    assert cells[0] == "colour" and set(cells[1:]) <= {"red", "white"}


def test_rows_that_are_not_those_of_fit_are_refused(digits):
    with pytest.raises(ValueError, match="X_train must be the 200 rows .*; got 10"):
        AttributionDisplay.from_estimator(digits.attributor, digits.X_query, X_train=digits.X_query)


def test_notes_say_how_large_groups_are_and_what_they_hold(digits):
    labels = digits.attributor.group_labels_
    first = labels == digits.attributor.groups_[0]
    plain, named = notes_on_groups(digits.attributor), notes_on_groups(digits.attributor, digits.y)
    assert plain[0] == f"{first.sum()} rows"
    assert named[0] == f"{first.sum()} rows of {digits.y[first][0]}"
    mixed = np.where(np.cumsum(first) == 1, 99, digits.y)
    assert f"{first.sum()} rows, " in notes_on_groups(digits.attributor, mixed)[0]


def test_bars_below_two_standard_errors_are_pale():
    effects, errors = np.array([[1.0, -0.3, 0.25]]), np.array([[0.2, 0.1, 0.2]])
    display = AttributionDisplay(effects, standard_errors=errors, groups=np.arange(3)).plot(query=0)
    assert list(display.shown_groups_) == [0, 2, 1]
    assert [bar.get_alpha() is not None for bar in display.bars_] == [False, True, False]


def test_several_networks_give_whiskers(wine):
    X = StandardScaler().fit_transform(wine.X)
    attributor = SynsetAttributor(n_groups=4, n_models=2, **OPTIONS)
    fitted(attributor, X, wine.y, X, wine.y)
    display = AttributionDisplay.from_estimator(attributor, X[:2], query=1)
    effects, errors = attributor.attribute(X[:2], return_std=True)
    np.testing.assert_array_equal(display.attributions, effects)
    whiskers = display.bars_.errorbar[2][0].get_segments()
    lengths = [0.5 * np.ptp(segment[:, 0]) for segment in whiskers]
    np.testing.assert_allclose(lengths, errors[1, display.shown_groups_])
    assert "standard error by the training's seed" in display.ax_.get_xlabel()
    assert_readable(display.figure_)
