import numpy as np
import pytest
import torch

from sklearn_synset._retraining.rows_left_out import in_two_groups, representatives
from sklearn_synset._retraining.synset import Synset

GROUP = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2])
ROWS_BY_GROUP = [torch.tensor(np.flatnonzero(GROUP == k)) for k in range(3)]


@pytest.fixture
def rows():
    rng = np.random.RandomState(0)
    X = torch.tensor(rng.normal(size=(9, 2)))
    targets = torch.nn.functional.one_hot(torch.tensor(GROUP % 2), 2).double()
    return X, targets


@pytest.fixture
def synset(rows):
    """Return a synset of the first row of each group, and the mean of the others."""
    X, targets = rows
    picked = [member for members in ROWS_BY_GROUP for member in (members[:1], members[1:])]
    return Synset(
        torch.stack([X[members].mean(0) for members in picked]),
        torch.stack([targets[members].mean(0) for members in picked]),
        torch.tensor([float(len(members)) for members in picked], dtype=torch.float64),
        torch.arange(3).repeat_interleave(2),
        torch.tensor([4.0, 3.0, 2.0], dtype=torch.float64),
    )


def mask(*removed):
    return np.isin(np.arange(9), removed)


def test_a_copy_represents_its_row_and_none_for_another_group(rows, synset):
    nearest = representatives(*rows, ROWS_BY_GROUP, synset)
    assert (synset.group[nearest].numpy() == GROUP).all()
    assert [int(nearest[members[0]]) for members in ROWS_BY_GROUP] == [0, 2, 4]
    assert nearest[8] == 5


def test_among_equal_features_the_row_of_the_same_class_stands():
    X = torch.zeros(4, 3, dtype=torch.float64)
    X[:, 0] = torch.tensor([1.0, 1.01, 1.0, 0.99])
    targets = torch.eye(2, dtype=torch.float64)[[0, 0, 1, 1]]
    synset = Synset(
        X[[0, 3]],
        targets[[0, 3]],
        *[torch.tensor([2.0, 2.0])],
        torch.zeros(2).long(),
        torch.tensor([4.0]),
    )
    assert representatives(X, targets, [torch.arange(4)], synset).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("removed", [(0,), (1, 2), (0, 4), (4, 5, 6), (0, 1, 2, 3, 8)])
def test_the_parts_are_the_synset_and_each_group_loses_its_rows(rows, synset, removed):
    representative = representatives(*rows, ROWS_BY_GROUP, synset).numpy()
    parted = in_two_groups(synset, representative, GROUP, mask(*removed))
    weights = torch.zeros(2, len(synset.weight), dtype=torch.float64)
    for x, weight, part in zip(parted.X, parted.weight, parted.group, strict=True):
        index = int((synset.X == x).all(1).nonzero()[0, 0])
        weights[part, index] += weight
    torch.testing.assert_close(weights.sum(0), synset.weight)
    assert (parted.weight > 0).all()
    lost = [float(weights[1][synset.group == k].sum()) for k in range(3)]
    np.testing.assert_allclose(lost, np.bincount(GROUP[list(removed)], minlength=3))
    assert parted.group_size.tolist() == [9 - len(removed), len(removed)]


def test_the_row_that_represents_a_removed_one_loses_the_weight(rows, synset):
    representative = representatives(*rows, ROWS_BY_GROUP, synset).numpy()
    parted = in_two_groups(synset, representative, GROUP, mask(4))
    left_out = parted.group == 1
    torch.testing.assert_close(parted.X[left_out], rows[0][[4]])
    assert parted.weight[left_out].tolist() == [1.0]


def test_what_a_row_has_not_is_taken_from_the_rest_of_its_group(synset):
    every_row_on_the_copy = np.repeat([0, 2, 4], [4, 3, 2])
    parted = in_two_groups(synset, every_row_on_the_copy, GROUP, mask(0, 1))
    left_out = parted.group == 1
    torch.testing.assert_close(parted.weight[left_out], torch.ones(2, dtype=torch.float64))


def test_a_whole_group_loses_all_its_weight_even_if_learnt_weights_differ(rows, synset):
    heavier = synset.with_rows(synset.X, synset.y, synset.weight * 1.3)
    representative = representatives(*rows, ROWS_BY_GROUP, heavier).numpy()
    parted = in_two_groups(heavier, representative, GROUP, mask(4, 5, 6))
    assert float(parted.weight[parted.group == 1].sum()) == pytest.approx(1.3 * 3)
    assert float(parted.weight[parted.group == 0].sum()) == pytest.approx(1.3 * 6)
