import pytest
import torch

from sklearn_synset._online._missing_curvature import MissingCurvature, missing_curvature
from sklearn_synset._online._removal import Retraining, displacements
from sklearn_synset._online._rewinding import rewound
from sklearn_synset._synset import Synset
from tests.problems import classification_model, regression_model
from tests.problems import seeded as seeded_module
from tests.reference import gauss_newton_matrix, nesterov_by_loop, training_objective

N_ROWS = 12
GROUP = torch.arange(N_ROWS) // 3


def everything(X, targets):
    """Return all rows as a synset of groups of three."""
    group = torch.arange(len(X)) // 3
    return Synset(X, targets, torch.ones(len(X)).to(X), group, group.bincount().to(X))


def means(X, targets):
    """Return a synset of one row a group: the mean of its three rows."""
    X, targets = (values.reshape(-1, 3, values.shape[1]).mean(1) for values in (X, targets))
    size = torch.full((len(X),), 3.0).to(X)
    return Synset(X, targets, size.clone(), torch.arange(len(X)), size)


def seeded():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("rewind", [0.0, 0.5])
def test_it_is_the_positive_part_of_the_difference_of_dense_matrices(rewind):
    model, X, targets = regression_model(N_ROWS)
    synset = means(X, targets)
    start, end = rewound(model, rewind), model.theta
    points = [start, (start + end) / 2, end] if rewind else [end]
    dense = sum(
        gauss_newton_matrix(model, point, X) - gauss_newton_matrix(model, point, synset.X)
        for point in points
    ) / len(points)
    eigenvalues, vectors = torch.linalg.eigh(dense)
    assert eigenvalues.min() < -1e-3  # there is a part to leave out
    expected = (vectors * eigenvalues.clamp(min=0)) @ vectors.T
    missing = missing_curvature(model, synset, X, rewind, seeded())
    found = missing.times(torch.eye(len(dense)).to(dense))
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-3)


def test_nothing_is_missing_where_the_synset_is_all_rows():
    model, X, targets = regression_model(N_ROWS)
    assert missing_curvature(model, everything(X, targets), X, 0.5, seeded()) is None


def test_nothing_is_put_back_in_classification():
    model, X, targets = classification_model(N_ROWS)
    assert missing_curvature(model, means(X, targets), X, 0.5, seeded()) is None


def test_networks_are_pulled_towards_the_one_with_all_groups():
    model, X, targets = regression_model(N_ROWS, weight_decay=0.01)
    missing = missing_curvature(model, means(X, targets), X, 0.5, seeded())
    assert missing.curvature.max() > 0.1
    plan = Retraining(0.5, n_steps=6, step_size=0.05, missing=missing)
    start, path = rewound(model, 0.5), []

    def gradient(theta, kept):
        point = theta.detach().requires_grad_()
        loss = training_objective(model, X[kept], targets[kept], point, model.weight_decay)
        return torch.autograd.grad(loss, point)[0]

    def with_all(theta):
        path.append(theta)
        return gradient(theta, torch.ones(N_ROWS, dtype=torch.bool))

    ends = [nesterov_by_loop(with_all, start, 6, 0.05)]
    all_path = iter(path)

    def without_first(theta):
        return gradient(theta, GROUP != 0) + missing.times((theta - next(all_path))[None])[0]

    ends.append(nesterov_by_loop(without_first, start, 6, 0.05))
    kept = torch.tensor([[0.0, 1.0, 1.0, 1.0]]).to(X)
    moved = displacements(model, everything(X, targets), kept, plan)[0]
    free = displacements(
        model, everything(X, targets), kept, Retraining(0.5, n_steps=6, step_size=0.05)
    )[0]
    expected = ends[1] - ends[0]
    # The displacement is half the end and half the mean direction, both as long as the end.
    assert torch.nn.functional.cosine_similarity(moved, expected, dim=0) > 0.97
    assert (moved - free).norm() > 1e-3 * free.norm()
    plan_without_rewind = Retraining(0.0, n_steps=6, step_size=0.05, missing=missing)
    start, path[:] = model.theta, []
    first = nesterov_by_loop(with_all, start, 6, 0.05)
    all_path = iter(path)
    second = nesterov_by_loop(without_first, start, 6, 0.05)
    moved = displacements(model, everything(X, targets), kept, plan_without_rewind)[0]
    torch.testing.assert_close(moved, second - first)


def test_a_large_curvature_is_put_back_in_shorter_steps_and_the_same_time():
    directions = torch.eye(3)[:1]
    large = MissingCurvature(directions, torch.tensor([100.0]))
    plan = Retraining(0.5, n_steps=10, step_size=0.1).with_missing(large)
    assert plan.step_size * 100 == pytest.approx(0.5)
    assert plan.n_steps * plan.step_size == pytest.approx(1.0)
    small = MissingCurvature(directions, torch.tensor([1.0]))
    plan = Retraining(0.5, n_steps=10, step_size=0.1).with_missing(small)
    assert (plan.n_steps, plan.step_size, plan.missing) == (10, 0.1, small)


def test_in_linear_regression_it_makes_displacements_as_long_as_of_rows():
    module = seeded_module(lambda: torch.nn.Linear(4, 2).double())
    model, X, noise = regression_model(120, weight_decay=0.1, module=module)
    # Residuals are equal within a group: the mean row has the rows' gradient, but bends less.
    targets = model(model.theta, X) + noise[torch.arange(120) // 3]
    synset, plan = means(X, targets), Retraining(0.0, n_steps=400, step_size=0.1)
    kept = 1 - torch.eye(40).to(X)
    real = displacements(model, everything(X, targets), kept, plan)
    missing = missing_curvature(model, synset, X, 0.0, seeded())
    without = displacements(model, synset, kept, plan)
    put_back = displacements(model, synset, kept, plan.with_missing(missing))
    assert (put_back - real).norm() < (without - real).norm() / 4
