import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_digits, load_wine
from sklearn.preprocessing import StandardScaler

from sklearn_synset._data import group_assignment as module
from sklearn_synset._data.group_assignment import group_centres
from sklearn_synset._data.partition import class_wise_kmeans


def clustered(load, n_groups, classification):
    X, y = load(return_X_y=True)
    X, y = X[:600], y[:600]
    groups = class_wise_kmeans(
        X, y, n_groups, classification=classification, random_state=np.random.RandomState(0)
    )
    return X, y, groups, len(np.unique(y)) if classification else None


@pytest.mark.parametrize(
    ("load", "n_groups", "classification"),
    [
        (load_digits, 30, True),
        (load_wine, 9, True),
        (load_diabetes, 15, False),
    ],
)
def test_training_rows_fall_into_their_own_group(load, n_groups, classification):
    X, y, groups, n_classes = clustered(load, n_groups, classification)
    assigned = group_centres(X, y, groups, n_classes).assign(X, y)
    assert (assigned == groups).mean() > 0.9


def test_a_row_falls_into_a_group_that_holds_its_class():
    X, y, groups, n_classes = clustered(load_wine, 9, True)
    other = (y + 1) % 3
    assigned = group_centres(X, y, groups, n_classes).assign(X, other)
    for row, group in enumerate(assigned):
        assert other[row] in y[groups == group]


def test_rows_are_assigned_one_by_one():
    X, y, groups, n_classes = clustered(load_wine, 9, True)
    centres = group_centres(X, y, groups, n_classes)
    together = centres.assign(X[:20], y[:20])
    alone = [centres.assign(X[[i]], y[[i]])[0] for i in range(20)]
    np.testing.assert_array_equal(together, alone)


def test_the_unit_of_a_feature_does_not_matter():
    X, y, groups, n_classes = clustered(load_wine, 9, True)
    unit = np.geomspace(1e-3, 1e3, X.shape[1])
    expected = group_centres(X, y, groups, n_classes).assign(X, y)
    actual = group_centres(X * unit, y, groups, n_classes).assign(X * unit, y)
    np.testing.assert_array_equal(actual, expected)


def test_images_are_assigned_as_their_flat_rows():
    X, y, groups, n_classes = clustered(load_digits, 20, True)
    images = X.reshape(-1, 8, 8)
    np.testing.assert_array_equal(
        group_centres(images, y, groups, n_classes).assign(images, y),
        group_centres(X, y, groups, n_classes).assign(X, y),
    )


def test_targets_weigh_as_much_together_as_all_features():
    rng = np.random.RandomState(0)
    X, y = rng.normal(size=(40, 6)) * 5 + 1, rng.normal(size=(40, 3))
    scaler = StandardScaler().fit(np.hstack([X, y]))
    rows = module.standardised(scaler, X, y)
    np.testing.assert_allclose(rows[:, :6], StandardScaler().fit_transform(X))
    np.testing.assert_allclose(rows[:, 6:], StandardScaler().fit_transform(y) * 2**0.5)
    assert rows[:, 6:].var(0).sum() == pytest.approx(rows[:, :6].var(0).sum())
