from dataclasses import replace

import pytest
import torch
from torch import nn

from sklearn_synset._curvature.group_gradient import training_gradients
from sklearn_synset._data.training_data import TrainingRows
from sklearn_synset._distillation.anchors import Anchor, Norm
from sklearn_synset._distillation.distance import squared_error
from sklearn_synset._distillation.matching import Matching, input_unit, row_bounds
from sklearn_synset._retraining.synset import Synset
from tests.problems import classification_model, mean_rows, regression_model, seeded


@pytest.fixture
def problem():
    """Return a network, a synset of a mean row for each of six groups, and two anchors."""
    model, X, targets = classification_model(30, 0.01)
    rows = [torch.arange(30)[k::6] for k in range(6)]
    start = mean_rows(X, targets, rows)
    training = TrainingRows(X, targets, rows, 100)
    norm = Norm(lambda gradients: gradients, squared_error)
    points = (model.theta.detach(), 0.7 * model.theta.detach())
    anchors = [
        Anchor(model, point, training_gradients(model, point, training), norm) for point in points
    ]
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


def test_matching_makes_the_distance_small(problem):
    matching = run(problem, 150)
    before, after = distance(problem, problem[1]), distance(problem, matching.result)
    assert after < 0.5 * before


def test_the_first_distance_is_that_of_the_starting_rows(problem):
    # Of their targets, no probability is below 0.001.
    expected = distance(problem, problem[1])
    assert run(problem, 1).loss_curve[0] == pytest.approx(expected, rel=0.02)


def test_a_group_of_fewer_rows_than_others_counts_by_its_own(problem):
    model, X, targets = classification_model(30, 0.01)
    group = torch.arange(6).repeat_interleave(torch.tensor([1, 2, 4, 6, 8, 9]))
    size = group.bincount().to(X)
    synset = Synset(X, targets, 2 * torch.ones(30).to(X), group, size)
    matching = run((model, synset, *problem[2:]), 1)
    assert matching.loss_curve[0] == pytest.approx(distance(problem, synset), rel=0.02)


def test_a_step_on_some_groups_moves_their_rows_alone():
    model, X, targets = classification_model(1200, 0.01)
    group, weight = torch.arange(1200) // 100, 2 * torch.ones(1200).double()
    start = Synset(X, targets, weight, group, torch.full((12,), 200.0).double())
    rows = TrainingRows(X, targets, list(torch.arange(1200).split(100)), 100)
    norm, point = Norm(lambda gradients: gradients, squared_error), model.theta.detach()
    anchors = [Anchor(model, point, training_gradients(model, point, rows) + 0.1, norm)]
    bounds = row_bounds(X, targets, model)
    result = run((model, start, bounds, anchors), 1, max_iter=10).result
    moved = (result.X != start.X).any(1).reshape(12, 100).double().mean(1)
    # 500 rows are looked at: five groups of twelve.
    assert (moved > 0.9).sum() == 5 and (moved == 0).sum() == 7


# What rows may be


def test_bounds_are_those_of_the_rows():
    model, X, targets = classification_model(30)
    X = X[:, :3] * torch.tensor([1.0, 10.0, 0.0]).to(X) + 5
    bounds = row_bounds(X, targets, model)
    torch.testing.assert_close(bounds.lower, X.min(0).values)
    torch.testing.assert_close(bounds.upper, X.max(0).values)
    torch.testing.assert_close(bounds.scale, torch.from_numpy(X.numpy().std(0)))
    assert bounds.target_scale == 1.0 and bounds.is_probability


def test_the_scale_of_values_is_their_standard_deviation_or_1():
    model, X, targets = regression_model(30, n_targets=1)
    bounds = row_bounds(X, 7 * targets, model)
    assert bounds.target_scale == pytest.approx(7 * float(targets.numpy().std()))
    assert not bounds.is_probability
    assert row_bounds(X, torch.ones_like(targets), model).target_scale == 1.0


def steps_of_unit(model, synset, bounds):
    """Return what a step of a unit in each feature, in its worst direction, does to each row."""
    unit = input_unit(model, synset, bounds)
    weight = model.theta[: -synset.y.shape[1]].reshape(synset.y.shape[1], -1)
    rows = []
    for x, target in zip(synset.X, synset.y, strict=True):
        if bounds.is_probability:
            label, others = int(target.argmax()), target < target.max()
            shares = model(model.theta, x[None])[0][others].softmax(-1)
            slope = weight[label] - shares @ weight[others]
        else:
            slope = weight.sum(0) / bounds.target_scale
        rows.append(slope)
    return unit, torch.stack(rows)


@pytest.mark.parametrize("kind", ["labels", "values"])
def test_a_unit_of_input_moves_the_output_by_one_unit(kind):
    linear = seeded(lambda: nn.Linear(4, 3 if kind == "labels" else 2).double())
    make = classification_model if kind == "labels" else regression_model
    model, X, targets = make(9, module=linear)
    X = X * torch.tensor([1.0, 10.0, 0.1, 3.0]).to(X)
    bounds = row_bounds(X, targets, model)
    ones = torch.ones(9, dtype=X.dtype)
    unit, slope = steps_of_unit(model, Synset(X, targets, ones, torch.arange(9), ones), bounds)
    moved = (unit * slope.abs()).sum(1)
    # Rows to which the network is less than half as sensitive as to the middle one move it less.
    sensitivity = (slope.abs() * bounds.scale).sum(1)
    expected = (sensitivity / (sensitivity.median() / 2)).clamp(max=1)
    torch.testing.assert_close(moved, expected)
    torch.testing.assert_close(unit / unit[:, :1], (bounds.scale / bounds.scale[0]).expand(9, -1))


def test_inputs_that_a_network_does_not_look_at_move_by_a_thousand_spreads_at_most():
    linear = seeded(lambda: nn.Linear(4, 3).double())
    nn.init.zeros_(linear.weight)
    model, X, targets = classification_model(9, module=linear)
    bounds = row_bounds(X, targets, model)
    ones = torch.ones(9, dtype=X.dtype)
    unit = input_unit(model, Synset(X, targets, ones, torch.arange(9), ones), bounds)
    torch.testing.assert_close(unit, (1000 * bounds.scale).expand(9, -1))


# What moves


def test_rows_stay_within_the_range_of_the_training_rows(problem):
    model, start, bounds, anchors = problem
    centre = start.X.mean(0)
    tight = replace(bounds, lower=centre - 0.3, upper=centre + 0.3)
    inside = replace(start, X=start.X.clamp(tight.lower, tight.upper))
    matching = run((model, inside, tight, anchors), 40)
    result = matching.result.X
    assert ((result >= tight.lower - 1e-12) & (result <= tight.upper + 1e-12)).all()
    touching = torch.isclose(result, tight.lower) | torch.isclose(result, tight.upper)
    assert touching.any() and not touching.all()


@pytest.mark.parametrize("hidden", [True, False])
def test_a_row_that_represents_itself_keeps_input_and_weight_unless_there_are_no_kinks(hidden):
    network = None if hidden else seeded(lambda: nn.Linear(4, 3).double())
    model, X, targets = classification_model(6, module=network)
    weight = torch.tensor([1.0, 2, 1, 2, 1, 1]).double()
    start = Synset(X, targets, weight, torch.arange(6) // 2, torch.tensor([3.0, 3, 2]).double())
    rows = TrainingRows(X, targets, [torch.arange(2 * k, 2 * k + 2) for k in range(3)], 100)
    norm = Norm(lambda gradients: gradients, squared_error)
    point = model.theta.detach()
    anchors = [Anchor(model, point, training_gradients(model, point, rows) + 0.1, norm)]
    result = run((model, start, row_bounds(X, targets, model), anchors), 3).result
    moved = (result.X != X).any(1)
    assert moved.tolist() == ((weight > 1) | (not hidden)).tolist()
    assert (result.weight != weight).tolist() == moved.tolist()
    assert (result.y != targets).any(1).all()


def test_steps_of_values_are_in_their_unit():
    model, X, targets = regression_model(12, n_targets=1)
    weight = torch.full((12,), 2.0).double()
    start = Synset(X, targets, weight, torch.arange(12) // 4, torch.full((3,), 8.0).double())
    bounds = row_bounds(X, 50 * targets, model)
    matching = Matching(model, start, bounds, 0.05, 10)
    matching._set_learning_rate()
    assert [group["lr"] for group in matching._adam.param_groups] == pytest.approx(
        [0.05, 0.05 * bounds.target_scale]
    )
