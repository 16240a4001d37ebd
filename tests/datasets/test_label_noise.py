import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.stats import chisquare

from sklearn_synset.datasets import flip_labels


@pytest.fixture
def y():
    return np.random.RandomState(0).permutation(np.repeat([0, 1, 2], [50, 31, 19]))


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.1, 0.2, 0.333, 1.0])
def test_the_rate_is_exact_in_all_and_in_every_class(y, rate):
    noisy, flipped = flip_labels(y, rate=rate, random_state=0)
    assert flipped.sum() == round(rate * 100)
    for label, size in enumerate((50, 31, 19)):
        assert abs(flipped[y == label].sum() - rate * size) < 1
    assert_array_equal(flipped, noisy != y)


def test_a_rate_for_each_class(y):
    _, flipped = flip_labels(y, rate=[0.5, 0.0, 1.0], random_state=0)
    assert [flipped[y == label].sum() for label in range(3)] == [25, 0, 19]


def test_uniform_noise_gives_every_other_label_alike():
    y = np.repeat([0, 1, 2, 3], 900)
    noisy, flipped = flip_labels(y, rate=1.0, random_state=0)
    assert flipped.all()
    for label in range(4):
        counts = np.bincount(noisy[y == label], minlength=4)
        assert counts[label] == 0
        assert chisquare(np.delete(counts, label)).pvalue > 0.001


def test_next_is_the_class_that_follows(y):
    noisy, flipped = flip_labels(y, rate=0.3, transition="next", random_state=0)
    assert_array_equal(noisy[flipped], (y[flipped] + 1) % 3)


def test_a_transition_matrix_is_followed_but_for_its_diagonal():
    y = np.repeat([0, 1, 2], 3000)
    transition = [[9, 1, 3], [0, 0, 2], [5, 0, 0]]
    noisy, flipped = flip_labels(y, rate=0.4, transition=transition, random_state=0)
    assert flipped.sum() == 3600
    assert chisquare(np.bincount(noisy[flipped & (y == 0)])[1:], [300, 900]).pvalue > 0.001
    assert (noisy[flipped & (y == 1)] == 2).all()
    assert (noisy[flipped & (y == 2)] == 0).all()


def test_rows_are_drawn_at_random_and_repeatably(y):
    before = y.copy()
    first, again, other = (flip_labels(y, random_state=seed) for seed in (0, 0, 1))
    assert_array_equal(first[0], again[0])
    assert_array_equal(first[1], again[1])
    assert (first[1] != other[1]).any()
    assert_array_equal(y, before)
    chances = np.mean([flip_labels(y, rate=0.5, random_state=seed)[1] for seed in range(400)], 0)
    assert np.abs(chances - 0.5).max() < 5 * 0.5 / np.sqrt(400)


def test_strings_stay_strings():
    y = np.array(["a", "bb", "ccc"] * 10, dtype=object)
    noisy, flipped = flip_labels(y, rate=0.5, random_state=0)
    assert noisy.dtype == y.dtype
    assert set(noisy) == {"a", "bb", "ccc"}
    assert flipped.sum() == 15


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": np.zeros(5)}, "at least 2 classes"),
        ({"y": np.linspace(0, 1, 9)}, "Unknown label type"),
        ({"y": np.array([0, 1, np.nan])}, "NaN"),
        ({"rate": -0.1}, "rate"),
        ({"rate": 1.1}, "rate"),
        ({"rate": [0.1, 0.2]}, "one for each of the 3 classes"),
        ({"rate": [0.1, 0.2, 1.2]}, "one for each of the 3 classes"),
        ({"rate": [0.1, np.nan, 0.2]}, "rate contains NaN"),
        ({"transition": "pair"}, "transition must be"),
        ({"transition": np.ones((2, 2))}, r"\(n_classes, n_classes\) = \(3, 3\)"),
        ({"transition": -np.ones((3, 3))}, "no negative value"),
        ({"transition": np.eye(3)}, r"classes \[0, 1, 2\] no wrong label"),
    ],
)
def test_wrong_input_is_refused(y, change, message):
    with pytest.raises(ValueError, match=message):
        flip_labels(**({"y": y} | change))
