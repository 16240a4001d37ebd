import numpy as np
import pandas as pd
import pytest

from sklearn_synset.inspection._shown_rows import (
    as_pictures,
    names_of_features,
    picture_shape,
    picture_style,
    take,
    telling_features,
    typical_rows,
)


def test_typical_rows_do_not_depend_on_the_unit_of_a_feature():
    X = np.random.RandomState(0).normal(size=(40, 3))
    labels, groups = np.arange(40) % 2, np.array([0, 1])
    one, other = (typical_rows(rows, labels, groups, 5) for rows in (X, X * [1, 1000, 0.001] + 7))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def test_typical_rows_belong_to_their_group_and_a_small_group_gives_what_it_has():
    X, labels = np.square(np.arange(6.0))[:, None], np.array(["b", "a", "a", "a", "a", "a"])
    rows = typical_rows(X, labels, np.array(["a", "b"]), 3)
    assert rows[0].tolist() == [3, 4, 2]
    assert rows[1].tolist() == [0]


@pytest.mark.parametrize(
    "X_shape, input_shape, given, expected",
    [
        ((2, 64), None, None, None),
        ((2, 64), None, (8, 8), (8, 8)),
        ((2, 64), (1, 8, 8), None, (1, 8, 8)),
        ((2, 64), (64,), None, None),
        ((2, 3, 4, 5), None, None, (3, 4, 5)),
        ((2, 4, 5, 3), None, None, (4, 5, 3)),
        ((2, 4, 5), None, None, (4, 5)),
        ((2, 2, 4, 5), None, None, None),
        ((2, 3), (1, 8, 8), None, None),
    ],
)
def test_shapes_of_pictures_are_recognised(X_shape, input_shape, given, expected):
    assert picture_shape(np.zeros(X_shape), input_shape, given) == expected


@pytest.mark.parametrize("given", [(8, 9), (64,), (2, 4, 8)])
def test_a_shape_that_is_no_picture_of_the_rows_is_refused(given):
    with pytest.raises(ValueError, match="image_shape must be .* with 64 values"):
        picture_shape(np.zeros((2, 64)), None, given)


def test_channels_go_last_and_a_single_one_goes():
    rows = np.arange(2 * 12.0).reshape(2, 12)
    first = as_pictures(rows, (3, 2, 2))
    assert first.shape == (2, 2, 2, 3)
    np.testing.assert_array_equal(first[0, :, :, 0], [[0, 1], [2, 3]])
    assert as_pictures(rows, (1, 3, 4)).shape == (2, 3, 4)
    np.testing.assert_array_equal(as_pictures(rows, (2, 2, 3))[0].ravel(), rows[0])


def test_pictures_share_one_scale_from_0_to_1():
    pictures, style = picture_style(np.array([[[-1.0, 1.0]], [[3.0, 1.0]]]))
    assert pictures.tolist() == [[[0, 0.5]], [[1, 0.5]]]
    assert (style["vmin"], style["vmax"]) == (0, 1)
    assert np.isfinite(picture_style(np.ones((1, 2, 2)))[0]).all()


def test_telling_features_are_those_that_differ_for_what_is_usual():
    all_rows = np.array([[0.0, 0.0, 5.0], [100.0, 1.0, 5.0], [50.0, 2.0, 5.0]])
    shown = np.array([[50.0, 0.0, 5.0], [60.0, 2.0, 5.0]])
    assert telling_features(shown, all_rows, 1).tolist() == [1]
    assert telling_features(shown, all_rows, 2).tolist() == [0, 1]


def test_words_tell_rows_apart_too():
    rows = np.array([["a", 1.0], ["b", 1.0]], dtype=object)
    assert telling_features(rows, rows, 1).tolist() == [0]


def test_rows_and_names_of_a_table_with_several_types():
    X = pd.DataFrame({"word": ["a", "b"], "number": [1.5, 2.5]})
    assert take(X, np.array([1])).tolist() == [["b", 2.5]]
    assert names_of_features(X, 2) == ["word", "number"]
    assert names_of_features(X, 2, ["p", "q"]) == ["p", "q"]
    assert names_of_features(X.to_numpy(), 2) == ["x0", "x1"]
