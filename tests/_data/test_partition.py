import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_synset._data.partition import (
    _proportional_shares,
    _StandardisedRows,
    auto_n_groups,
    class_wise_kmeans,
)


def partition(X, y, n_groups, *, classification=True, seed=0):
    rng = np.random.RandomState(seed)
    return class_wise_kmeans(X, y, n_groups, classification=classification, random_state=rng)


def blobs(n_per_blob=8):
    centres = np.array([[0, 0], [9, 0], [0, 9], [9, 9]], dtype=float)
    X = np.repeat(centres, n_per_blob, axis=0)
    X += np.random.RandomState(0).normal(scale=0.1, size=X.shape)
    return X, np.repeat(["low", "low", "high", "high"], n_per_blob)


def test_planted_clusters_are_found_and_classes_never_mix():
    X, y = blobs()
    labels = partition(X, y, 4)
    assert [len(np.unique(labels[start : start + 8])) for start in (0, 8, 16, 24)] == [1] * 4
    assert sorted(np.unique(labels)) == [0, 1, 2, 3]
    assert set(labels[y == "high"]) == {0, 1}


def test_the_unit_of_a_feature_does_not_matter():
    X, y = blobs()
    np.testing.assert_array_equal(partition(X, y, 4), partition(X * [1.0, 1024.0], y, 4))


def test_image_shaped_rows_are_flattened():
    X = np.random.RandomState(0).rand(20, 6)
    y = np.arange(20) % 2
    np.testing.assert_array_equal(partition(X, y, 4), partition(X.reshape(20, 1, 2, 3), y, 4))


def test_regression_groups_have_similar_targets():
    rng = np.random.RandomState(0)
    X, y = rng.normal(size=(60, 3)), np.repeat([0.0, 10.0, 20.0], 20)
    labels = partition(X, y, 3, classification=False)
    for group in range(3):
        assert len(np.unique(y[labels == group])) == 1


def test_regression_takes_several_targets():
    rng = np.random.RandomState(0)
    labels = partition(rng.normal(size=(30, 2)), rng.normal(size=(30, 2)), 5, classification=False)
    assert set(labels) == set(range(5))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 30), st.integers(1, 4), st.integers(0, 3), st.booleans(), st.data())
def test_exactly_the_groups_asked_for_and_none_empty(n, n_classes, seed, classification, data):
    rng = np.random.RandomState(seed)
    X, y = rng.randint(2, size=(n, 2)).astype(float), rng.randint(n_classes, size=n)
    fewest = len(np.unique(y)) if classification else 1
    n_groups = data.draw(st.integers(fewest, n))
    labels = partition(X, y, n_groups, classification=classification)
    assert labels.shape == (n,) and labels.dtype == np.int64
    np.testing.assert_array_equal(np.unique(labels), np.arange(n_groups))
    if classification:
        assert all(len(np.unique(y[labels == group])) == 1 for group in range(n_groups))


def test_rows_that_are_all_the_same_are_split_evenly():
    labels = partition(np.zeros((8, 2)), np.zeros(8), 4)
    assert np.bincount(labels).tolist() == [2, 2, 2, 2]


def test_same_seed_same_groups():
    X = np.random.RandomState(0).normal(size=(50, 3))
    y = np.arange(50) % 3
    np.testing.assert_array_equal(partition(X, y, 9), partition(X, y, 9))


@pytest.mark.parametrize(
    ("sizes", "total", "shares"),
    [
        ([50, 30, 20], 10, [5, 3, 2]),
        ([98, 1, 1], 10, [8, 1, 1]),
        ([2, 2, 2], 6, [2, 2, 2]),
        ([40, 40, 20], 4, [2, 1, 1]),
        ([7], 3, [3]),
    ],
)
def test_shares_are_proportional_by_largest_remainder(sizes, total, shares):
    assert _proportional_shares(np.array(sizes), total).tolist() == shares


def test_the_class_that_is_least_below_its_quota_gives_way():
    # Quotas are 2.67, 2.33 and 0.33 three times: rounded down, but at least 1, they are one too
    # many, and the second class is least below its quota of those that have one to give.
    assert _proportional_shares(np.array([8, 7, 1, 1, 1]), 6).tolist() == [2, 1, 1, 1, 1]


def test_the_largest_remainder_is_served_not_the_largest_class():
    assert _proportional_shares(np.array([5, 3, 2, 7]), 6).tolist() == [2, 1, 1, 2]


def test_a_number_of_groups_is_whole():
    assert [type(auto_n_groups(n_rows, 2)) for n_rows in (5, 7, 401)] == [int] * 3


def test_impossible_numbers_of_groups_are_refused():
    X, y = np.zeros((3, 1)), np.array([0, 1, 2])
    with pytest.raises(ValueError, match="fewer rows than groups: 3 rows, n_groups=4"):
        partition(X, y, 4)
    with pytest.raises(ValueError, match="fewer groups than classes: n_groups=2, 3 classes"):
        partition(X, y, 2)


@pytest.mark.parametrize(
    ("n_rows", "n_classes", "n_groups"),
    [(1000, 10, 50), (60000, 10, 100), (100, 10, 20), (12, 10, 10), (7, 1, 2), (1, 1, 1)],
)
def test_auto_n_groups_stays_within_its_limits(n_rows, n_classes, n_groups):
    assert auto_n_groups(n_rows, n_classes) == n_groups


@pytest.mark.parametrize("n_targets", [1, 3])
def test_a_target_weighs_as_much_as_all_features(n_targets):
    rng = np.random.RandomState(0)
    features, y = rng.normal(size=(50, 4)), 9 + 5 * rng.normal(size=(50, n_targets))
    appended = _StandardisedRows(features, y)[np.arange(50)]
    np.testing.assert_array_equal(appended[:, :4], _StandardisedRows(features, None)[np.arange(50)])
    assert appended[:, :4].var(0).sum() == pytest.approx(4)
    assert appended[:, 4:].var(0).sum() == pytest.approx(4)
