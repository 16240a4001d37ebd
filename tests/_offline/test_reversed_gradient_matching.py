import pytest
import torch

from sklearn_synset._offline import _reversed_gradient_matching as module
from sklearn_synset._offline._anchors import Anchor, Norm, TrainingRows
from sklearn_synset._offline._gradient_distance import squared_error
from sklearn_synset._offline._reversed_gradient_matching import Matching, row_bounds
from sklearn_synset._synset import Synset
from tests.problems import classification_model


@pytest.fixture
def problem():
    """Return a network, a synset of a mean row for each of six groups, and two anchors."""
    model, X, targets = classification_model(30, 0.01)
    rows = [torch.arange(30)[k::6] for k in range(6)]
    start = Synset(
        torch.stack([X[members].mean(0) for members in rows]),
        torch.stack([targets[members].mean(0) for members in rows]),
        torch.full((6,), 5.0).double(),
        torch.arange(6),
        torch.full((6,), 5.0).double(),
    )
    training = TrainingRows(X, targets, rows, 100)
    norm = Norm(lambda gradients: gradients, squared_error)
    points = (model.theta.detach(), 0.7 * model.theta.detach())
    anchors = [Anchor(model, point, training.gradients(model, point), norm) for point in points]
    return model, start, row_bounds(X, targets, model), anchors


def run(problem, n_iter, max_iter=None):
    model, start, bounds, anchors = problem
    matching = Matching(model, start, bounds, 0.05, max_iter or n_iter)
    matching.run(anchors, n_iter, torch.Generator().manual_seed(0), lambda distance: None)
    return matching


def distance(problem, synset):
    """Distance over all groups, mean over anchors, by a loop over groups."""
    model, _, _, anchors = problem
    values = []
    for anchor in anchors:
        gradients = []
        for k in range(6):
            point = anchor.theta.detach().requires_grad_()
            own = synset.group == k
            outputs = model(point, synset.X[own]).log_softmax(-1)
            loss = (synset.weight[own] * -(synset.y[own] * outputs).sum(-1)).sum() / 30
            gradients.append(torch.autograd.grad(loss, point)[0])
        values.append(squared_error(torch.stack(gradients), anchor.gradients))
    return float(torch.stack(values).mean())


@pytest.mark.parametrize("rows_per_step", [500, 4])
def test_matching_makes_the_distance_small(problem, monkeypatch, rows_per_step):
    monkeypatch.setattr(module, "_ROWS_PER_STEP", rows_per_step)
    matching = run(problem, 150)
    before, after = distance(problem, problem[1]), distance(problem, matching.result)
    assert after < 0.5 * before


def test_the_first_distance_is_that_of_the_starting_rows(problem):
    # Of their targets, no probability is below 0.001.
    expected = distance(problem, problem[1])
    assert run(problem, 1).loss_curve[0] == pytest.approx(expected, rel=0.02)


def test_a_step_on_some_groups_moves_their_rows_alone(problem, monkeypatch):
    monkeypatch.setattr(module, "_ROWS_PER_STEP", 4)
    start, result = problem[1], run(problem, 1, max_iter=10).result
    moved = (result.X != start.X).any(1)
    assert int(moved.sum()) == 4
    torch.testing.assert_close(moved, (result.weight != start.weight))
