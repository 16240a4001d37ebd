import numpy as np
import pytest
import torch

from sklearn_synset._data.spread import target_scale
from sklearn_synset._distillation import initialization as module
from sklearn_synset._distillation.initialization import (
    INITIALIZATIONS,
    _append_targets,
    auto_sizes,
    starting_rows,
)

GROUPS = [torch.tensor([0, 4, 5, 9]), torch.tensor([1]), torch.tensor([2, 3, 6, 7, 8, 10, 11])]
RESIDUAL = torch.linspace(0, 1, 12, dtype=torch.float64).flip(0) ** 2
X = torch.randn(12, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TARGETS = torch.nn.functional.one_hot(torch.arange(12) % 3).double()
# Every group of a single class.
PURE = torch.zeros(12, 3, dtype=torch.float64)
for code, members in enumerate(GROUPS):
    PURE[members, code] = 1


def started(initialization, size, seed=0, X=X, targets=TARGETS):
    """Return inputs, targets and weights of the starting rows, group by group."""
    *parts, group = starting_rows(
        X,
        targets,
        GROUPS,
        RESIDUAL,
        np.full(3, size),
        initialization,
        torch.Generator().manual_seed(seed),
    )
    assert (group.diff() >= 0).all()
    counts = group.bincount(minlength=3).tolist()
    return list(zip(*(part.split(counts) for part in parts), strict=True))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 100])
@pytest.mark.parametrize("initialization", INITIALIZATIONS)
def test_weights_add_up_to_the_group_sizes(initialization, size):
    for members, (inputs, targets, weight) in zip(
        GROUPS, started(initialization, size), strict=True
    ):
        assert len(inputs) == len(targets) == len(weight) == min(size, len(members))
        assert float(weight.sum()) == pytest.approx(len(members))
        assert (weight > 0).all()
        torch.testing.assert_close(targets.sum(1), torch.ones_like(weight))


@pytest.mark.parametrize("initialization", INITIALIZATIONS)
def test_a_size_beyond_the_groups_gives_all_rows_a_weight_of_one(initialization):
    for members, (inputs, targets, weight) in zip(GROUPS, started(initialization, 7), strict=True):
        assert (weight == 1).all()
        order = inputs[:, 0, 0].argsort()
        expected = members[X[members, 0, 0].argsort()]
        torch.testing.assert_close(inputs[order], X[expected])
        torch.testing.assert_close(targets[order], TARGETS[expected])


def test_centroids_keep_the_means_of_their_groups():
    outcome = started("centroid", 3, targets=PURE)
    for members, (inputs, targets, weight) in zip(GROUPS, outcome, strict=True):
        for synset, real in ((inputs, X[members]), (targets, PURE[members])):
            torch.testing.assert_close(torch.tensordot(weight, synset, dims=1), real.sum(0))


def test_the_worst_fitted_rows_stand_for_themselves():
    inputs, targets, weight = started("centroid", 3, targets=PURE)[2]
    assert torch.equal(inputs[:2], X[[2, 3]]) and torch.equal(targets[:2], PURE[[2, 3]])
    assert weight.tolist() == [1, 1, 5]
    torch.testing.assert_close(inputs[2], X[[6, 7, 8, 10, 11]].mean(0))


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_no_row_is_a_mean_over_classes(size):
    for members, (inputs, targets, _) in zip(GROUPS, started("centroid", size), strict=True):
        assert ((targets == 0) | (targets == 1)).all()
        for row, target in zip(inputs, targets, strict=True):
            same = members[(TARGETS[members] == target).all(1)]
            assert ((X[same].amin(0) <= row) & (row <= X[same].amax(0))).all()


def test_rows_that_repeat_still_add_up():
    for members, (_, _, weight) in zip(
        GROUPS, started("centroid", 4, X=torch.ones_like(X)), strict=True
    ):
        assert float(weight.sum()) == pytest.approx(len(members))
        assert (weight > 0).all()


def test_random_rows_are_different_real_rows():
    for members, (inputs, _, _) in zip(GROUPS, started("random", 3), strict=True):
        is_row = (inputs[:, None] == X[members]).all(-1).all(-1)
        assert (is_row.sum(1) == 1).all() and (is_row.sum(0) <= 1).all()


@pytest.mark.parametrize("initialization", INITIALIZATIONS)
def test_the_same_generator_starts_from_the_same_rows(initialization):
    first, again = (started(initialization, 3, seed=5)[2][0] for _ in range(2))
    assert torch.equal(first, again)


def test_another_generator_draws_other_rows():
    first = started("random", 3)[2][0]
    assert any(not torch.equal(started("random", 3, seed)[2][0], first) for seed in range(1, 5))


def test_a_callable_is_called_for_every_group():
    seen = []

    def first_rows(rows, targets, residual, size, generator):
        assert len(targets) == len(rows)
        seen.append((rows, residual, size))
        return torch.eye(len(rows)).double()[:size], torch.full((size,), len(rows) / size)

    outcome = started(first_rows, 2)
    for members, (rows, residual, size), (inputs, _, weight) in zip(
        GROUPS, seen, outcome, strict=True
    ):
        assert torch.equal(rows, X[members]) and torch.equal(residual, RESIDUAL[members])
        assert size == min(2, len(members)) == len(inputs)
        assert torch.equal(inputs, X[members[:2]])
        assert float(weight[0]) == len(members) / size


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_sizes_grow_with_the_groups_and_stay_within_their_limits(share):
    group_sizes = np.array([1, 2, 7, 20, 40, 300])
    sizes = auto_sizes(group_sizes, share, 10)
    assert (sizes >= 1).all() and (sizes <= np.minimum(group_sizes, 10)).all()
    assert (np.diff(sizes) >= 0).all()
    assert sizes.sum() <= max(share * group_sizes.sum(), len(sizes))


def test_equal_groups_share_alike():
    assert auto_sizes(np.full(5, 20), 0.25, 10).tolist() == [5] * 5
    assert auto_sizes(np.full(5, 20), 0.25, 3).tolist() == [3] * 5
    assert auto_sizes(np.full(5, 2), 0.25, 10).tolist() == [1] * 5


def test_targets_are_appended_with_the_spread_of_the_rows():
    rows, targets = X[:6] + 50, TARGETS[:6] + 7
    appended = _append_targets(rows, targets, target_scale(rows, targets))
    parts = [part - part.mean(0) for part in (appended[:, :6], appended[:, 6:])]
    spreads = [float(part.square().sum(1).mean()) for part in parts]
    assert spreads[1] == pytest.approx(spreads[0])
    assert torch.equal(appended[:, :6], rows.flatten(1))


@pytest.mark.parametrize("share", [0.05, 0.25, 0.6])
def test_sizes_are_those_of_the_largest_factor_that_keeps_to_the_share(share):
    group_sizes, largest = np.array([2, 20, 14, 33, 5]), 10

    def sizes(factor):
        return np.clip(np.floor(factor * np.sqrt(group_sizes)), 1, np.minimum(group_sizes, largest))

    fitting = [
        found
        for found in map(sizes, np.linspace(0, 12, 24001))
        if found.sum() <= share * group_sizes.sum()
    ]
    expected = fitting[-1] if fitting else np.ones(5)
    assert auto_sizes(group_sizes, share, largest).tolist() == expected.tolist()


GOOD = torch.full((2, 5), 0.2), torch.tensor([2.0, 3.0])
WRONG = {
    "a weight in two dimensions": (GOOD[0], GOOD[1][:, None]),
    "averages of other rows": (GOOD[0][:, :4], GOOD[1]),
    "another number of weights": (GOOD[0], GOOD[1][:1]),
    "no rows": (GOOD[0][:0], GOOD[1][:0]),
    "too many rows": (GOOD[0].repeat(2, 1), GOOD[1].repeat(2)),
    "an average that is not finite": (GOOD[0] * torch.tensor([[1.0], [torch.nan]]), GOOD[1]),
    "a weight of 0": (GOOD[0], torch.tensor([5.0, 0.0])),
    "a negative weight": (GOOD[0], torch.tensor([6.0, -1.0])),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_no_average_of_rows_is_refused(what):
    module._check_rows(*GOOD, size=2, n_rows=5)
    module._check_rows(*GOOD, size=3, n_rows=5)
    with pytest.raises(ValueError, match="initialization must return averages of shape"):
        module._check_rows(*WRONG[what], size=2 + (what == "too many rows"), n_rows=5)


def test_a_callable_that_returns_no_averages_is_refused():
    with pytest.raises(ValueError, match=r"averages of shape \(m, 4\) and m positive weights"):
        started(lambda rows, *_: (torch.eye(len(rows)), -torch.ones(len(rows))), 4)


def test_three_clusters_are_found():
    generator = torch.Generator().manual_seed(0)
    labels = module._cluster(X, TARGETS, torch.arange(12), 3, generator)
    assert set(labels.tolist()) == {0, 1, 2}


def test_only_one_hot_targets_are_labels():
    average = torch.full((1, 4), 0.25)
    generator = torch.Generator().manual_seed(0)

    def replaced(targets):
        return module._means_of_equal_targets(average.clone(), targets, generator)

    labels = torch.eye(2)[[0, 1, 0, 1]]
    assert sorted(replaced(labels)[0].tolist()) == [0, 0, 0, 1]
    for targets in (torch.eye(2)[[0, 0, 0, 0]], labels[:, :1], labels + 0.5, labels * 0.5):
        assert torch.equal(replaced(targets), average)
