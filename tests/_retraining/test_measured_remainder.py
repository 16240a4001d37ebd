from dataclasses import replace

import pytest
import torch

from sklearn_synset._data.training_data import TrainingRows
from sklearn_synset._retraining import measured_remainder as measured_remainder_file
from sklearn_synset._retraining.measured_remainder import affordable_steps, measured_remainder
from sklearn_synset._retraining.removal import Retraining, displacements
from sklearn_synset._retraining.rewinding import rewound
from sklearn_synset._retraining.row_sample import sample_of_rows
from sklearn_synset._retraining.synset import Synset
from tests.problems import classification_model, regression_model
from tests.problems import seeded as seeded_module
from tests.reference import gauss_newton_matrix

GROUP = torch.arange(12) // 3


def seeded():
    return torch.Generator().manual_seed(0)


def linear_regression(n_rows=12):
    module = seeded_module(lambda: torch.nn.Linear(4, 2).double())
    return regression_model(n_rows, weight_decay=0.1, module=module)


def softmax_regression(n_rows=12):
    module = seeded_module(lambda: torch.nn.Linear(4, 3).double())
    return classification_model(n_rows, weight_decay=0.1, module=module)


def everything(X, targets, group=GROUP):
    """Return all rows as a synset."""
    size = group.bincount().to(X)
    return Synset(X, targets, torch.ones(len(X)).to(X), group, size)


def means(X, targets):
    """Return a synset of one row a group: the mean of its three rows."""
    X, targets = (values.reshape(-1, 3, values.shape[1]).mean(1) for values in (X, targets))
    size = torch.full((len(X),), 3.0).to(X)
    return Synset(X, targets, size.clone(), torch.arange(len(X)), size)


def rows_of(X, targets, group=GROUP):
    members = [(group == k).nonzero()[:, 0] for k in range(int(group.max()) + 1)]
    return TrainingRows(X, targets, members, 100)


def leave_one_out(synset):
    return 1 - torch.eye(synset.n_groups).to(synset.weight)


def measured(model, synset, rows, plan):
    moves = displacements(model, synset, leave_one_out(synset), plan)
    sample = sample_of_rows(rows, 1000, seeded())
    return measured_remainder(model, synset, rows, sample, plan, moves, seeded())


@pytest.mark.parametrize("rewind", [0.0, 0.5])
def test_groups_with_the_wrong_rows_are_put_right_in_linear_regression(rewind):
    # All rows are in the synset, so that the path with all groups is right; some are in wrong
    # groups. The loss is quadratic: corrected to first order, each network is trained exactly.
    model, X, targets = linear_regression()
    real = everything(X, targets)
    shuffled = torch.tensor([0, 5, 9, 3, 1, 8, 6, 2, 11, 4, 10, 7])
    wrong = replace(real, X=X[shuffled], y=targets[shuffled])
    plan = Retraining(rewind, n_steps=5, step_size=0.05)
    remainder = measured(model, wrong, rows_of(X, targets), plan)
    assert remainder.steps.tolist() == [0, 1, 2, 3, 4]  # all: nothing is interpolated
    kept = leave_one_out(real)
    expected = displacements(model, real, kept, plan)
    uncorrected = displacements(model, wrong, kept, plan)
    found = displacements(model, wrong, kept, replace(plan, remainder=remainder))
    assert (uncorrected - expected).norm() > 0.3 * expected.norm()
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("problem", [linear_regression, softmax_regression])
def test_means_of_rows_are_put_right(problem):
    model, X, targets = problem(60)
    group = torch.arange(60) // 3
    real, synset = everything(X, targets, group), means(X, targets)
    plan = Retraining(0.5, n_steps=60, step_size=0.1)
    kept = leave_one_out(real)
    expected = displacements(model, real, kept, plan)
    uncorrected = displacements(model, synset, kept, plan)
    remainder = measured(model, synset, rows_of(X, targets, group), plan)
    found = displacements(model, synset, kept, plan.with_remainder(remainder))
    assert (found - expected).norm() < 0.4 * (uncorrected - expected).norm()


@pytest.mark.parametrize("problem", [linear_regression, softmax_regression])
def test_all_rows_lack_nothing(problem):
    model, X, targets = problem()
    synset, plan = everything(X, targets), Retraining(0.5, n_steps=5, step_size=0.1)
    remainder = measured(model, synset, rows_of(X, targets), plan)
    for part in (remainder.gradient, remainder.curvature, remainder.own_curvature):
        torch.testing.assert_close(part, torch.zeros_like(part), atol=1e-12, rtol=0)


def test_directions_are_orthonormal_and_hold_the_moves():
    model, X, targets = regression_model(12)
    synset, plan = means(X, targets), Retraining(0.5, n_steps=4, step_size=0.05)
    moves = displacements(model, synset, leave_one_out(synset), plan)
    directions = measured(model, synset, rows_of(X, targets), plan).directions
    torch.testing.assert_close(directions @ directions.T, torch.eye(len(directions)).to(X))
    torch.testing.assert_close(moves @ directions.T @ directions, moves)


def test_as_many_steps_as_memory_allows(monkeypatch):
    model, X, targets = regression_model(12)
    synset, plan = means(X, targets), Retraining(0.5, n_steps=50, step_size=0.01)
    numbers = synset.n_groups * model.n_parameters
    for allowed, steps in ((3 * numbers, [0, 7, 49]), (2 * numbers, [0, 49])):
        monkeypatch.setattr(measured_remainder_file, "_MAX_NUMBERS", allowed)
        found = measured(model, synset, rows_of(X, targets), plan)
        assert found.steps.tolist() == steps
        assert found.gradient.numel() <= allowed
        assert affordable_steps(model, synset) == len(steps)


def test_the_same_seed_gives_the_same_bits():
    model, X, targets = regression_model(12)
    synset, plan = means(X, targets), Retraining(0.5, n_steps=6, step_size=0.05)
    first, second = (measured(model, synset, rows_of(X, targets), plan) for _ in range(2))
    for name in ("gradient", "directions", "curvature", "own_vectors", "own_curvature"):
        assert torch.equal(getattr(first, name), getattr(second, name))


@pytest.mark.parametrize("problem", [regression_model, softmax_regression])
@pytest.mark.parametrize("rewind", [0.0, 0.5])
def test_curvature_is_measured_in_the_leading_directions_of_both_ends(monkeypatch, problem, rewind):
    for name, rank in (("_RANK", 3), ("_RANK_OF_A_LAYER", 4)):
        monkeypatch.setattr(measured_remainder_file, name, rank)
    model, X, targets = problem(12)
    n_directions = 4 if problem is softmax_regression else 3
    ends = [rewound(model, rewind), model.theta]
    matrix = sum(gauss_newton_matrix(model, end, X) for end in ends) / 2
    values, vectors = torch.linalg.eigh(matrix)
    sample = everything(X, targets)
    found = measured_remainder_file._curved_directions(model, sample, rewind, seeded())
    assert found.shape == (n_directions, model.n_parameters)
    captured = (found @ matrix @ found.T).trace() / values[-n_directions:].sum()
    assert captured == pytest.approx(1, abs=1e-3)
    torch.testing.assert_close(found @ found.T, torch.eye(n_directions).to(X))


def test_a_move_of_no_length_is_no_direction():
    moves = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, 3.0, 0.0, 4.0], [1e-9, 0.0, 0.0, 0.0]])
    found = measured_remainder_file._orthonormal(moves.double())
    assert found.isfinite().all()
    torch.testing.assert_close(found @ found.T, torch.eye(3).double())
    torch.testing.assert_close(moves.double() @ found.T @ found, moves.double())
    assert len(measured_remainder_file._orthonormal(torch.randn(9, 4, generator=seeded()))) == 4


def test_the_largest_own_curvatures_of_either_sign_are_kept():
    basis = torch.linalg.qr(torch.randn(2, 20, 20, generator=seeded(), dtype=torch.float64))[0]
    large = torch.tensor([9.0, -8, 7, -6, 5, -4, 3, -2]).double()
    values = torch.full((2, 20), 1e-3, dtype=torch.float64)
    values[0, :8], values[1, 5:13] = large, large.flip(0)
    matrices = (basis * values[:, None]) @ basis.mT
    vectors, found = measured_remainder_file._leading_part(matrices, seeded())
    torch.testing.assert_close(found, large.expand(2, -1))
    rebuilt = (vectors.mT * found[:, None]) @ vectors
    torch.testing.assert_close(rebuilt, matrices, atol=2e-3, rtol=0)
