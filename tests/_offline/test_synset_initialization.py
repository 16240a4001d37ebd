import pytest
import torch

from sklearn_synset._offline._synset_initialization import INITIALIZATIONS, choose_rows

GROUPS = [torch.tensor([0, 4, 5, 9]), torch.tensor([1]), torch.tensor([2, 3, 6, 7, 8, 10, 11])]
RESIDUAL = torch.linspace(0, 1, 12).flip(0) ** 2


def chosen(initialization, size, seed=0):
    """Return the chosen rows and their weights, group by group."""
    rows, weight = choose_rows(
        GROUPS, RESIDUAL, size, initialization, torch.Generator().manual_seed(seed)
    )
    counts = [min(size, len(members)) for members in GROUPS]
    return rows.split(counts), weight.split(counts)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 100])
@pytest.mark.parametrize("initialization", INITIALIZATIONS)
def test_weights_add_up_to_the_group_sizes(initialization, size):
    rows, weights = chosen(initialization, size)
    for members, row, weight in zip(GROUPS, rows, weights, strict=True):
        assert set(row.tolist()) <= set(members.tolist())
        assert len(set(row.tolist())) == len(row) == min(size, len(members))
        assert float(weight.sum()) == pytest.approx(len(members))
        assert (weight > 0).all()


@pytest.mark.parametrize("initialization", INITIALIZATIONS)
def test_a_size_beyond_the_groups_gives_all_rows_a_weight_of_one(initialization):
    rows, weights = chosen(initialization, 7)
    assert [sorted(row.tolist()) for row in rows] == [group.tolist() for group in GROUPS]
    assert all((weight == 1).all() for weight in weights)


def test_the_worst_fitted_rows_come_first_and_stand_for_themselves():
    rows, weights = chosen("residual", 3)
    assert rows[2][:2].tolist() == [2, 3]
    assert weights[2].tolist() == [1, 1, 5]


def test_the_same_generator_chooses_the_same_rows():
    first, again, other = (chosen("random", 3, seed)[0][2].tolist() for seed in (0, 0, 1))
    assert first == again
    assert any(chosen("random", 3, seed)[0][2].tolist() != first for seed in range(1, 5)), other


def test_a_callable_is_asked_for_every_group():
    seen = []

    def first_rows(rows, residual, size, generator):
        seen.append((rows.tolist(), residual.tolist(), size))
        return rows[:size], torch.full((size,), len(rows) / size)

    rows, weights = chosen(first_rows, 2)
    assert [row.tolist() for row in rows] == [[0, 4], [1], [2, 3]]
    assert [float(weight[0]) for weight in weights] == [2, 1, 3.5]
    expected = [RESIDUAL[members].tolist() for members in GROUPS]
    assert seen == [
        (members.tolist(), values, size)
        for members, values, size in zip(GROUPS, expected, [2, 1, 2], strict=True)
    ]
