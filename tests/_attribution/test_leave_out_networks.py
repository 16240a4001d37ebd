"""What queries are answered from: rows left out, effects and predictions of several networks."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sklearn_synset._attribution.choose_plan import Plan, choose_rewinding
from sklearn_synset._attribution.datamodel import datamodel_weights
from sklearn_synset._attribution.group_effects import attribution_matrix
from sklearn_synset._attribution.leave_out_networks import (
    leave_groups_out,
    removals,
)
from sklearn_synset._data.training_data import TrainingRows
from sklearn_synset._labels.out_of_fold_scores import own_group_objectives
from sklearn_synset._network.training_loss import encoded_labels
from sklearn_synset._objective.objective import margin, prediction
from sklearn_synset._retraining.leave_out import LeaveOut, leave_one_out
from sklearn_synset._retraining.rows_left_out import in_two_groups
from sklearn_synset._retraining.synset import Synset
from tests.problems import classification_model, regression_model

N = 24
HOW = LeaveOut(0.5, 6, 4096, seed=0)
# Groups of four rows of a class each, but for the last two: one has two rows more.
LABEL = torch.arange(N) // 8
GROUP = (torch.arange(N) // 4).clamp(max=5)
GROUP[18:20] = 5


def everything(X, targets):
    sizes = GROUP.bincount().to(X)
    return Synset(X, targets, torch.ones(N).to(X), GROUP, sizes)


def classifier():
    model, X, _ = classification_model(N, 0.01)
    return model, everything(X, torch.eye(3).to(X)[LABEL])


def rows_of(synset):
    members = [(synset.group == k).nonzero()[:, 0] for k in range(synset.n_groups)]
    return TrainingRows(synset.X, synset.y, members, 100)


def stage_of(model, synset, rows=None, models=None, n_halves=None, how=HOW):
    """Leave groups out of rewound networks."""
    kept = removals(synset, n_halves, seed=0)
    rows = rows_of(synset) if rows is None else rows
    plan = Plan("rewind", 0, False, 0, 0, n_halves, how.rewind, ())
    models = models or [model]
    plan = choose_rewinding(plan, models[0], synset, how.seed)
    return leave_groups_out(models, synset, how, None, kept, rows, plan)[0]


def without(stage, removed):
    rows = np.isin(np.arange(N), removed)
    return stage.without_rows(np.arange(N), GROUP.numpy(), rows)[0], rows


@pytest.mark.parametrize("groups", [[0, 3], [2, 4]])
def test_all_rows_of_groups_are_these_groups(groups):
    model, synset = classifier()
    stage = stage_of(model, synset)
    found, _ = without(stage, np.flatnonzero(np.isin(GROUP.numpy(), groups)))
    kept = torch.ones(1, 6).to(synset.weight)
    kept[0, groups] = 0
    torch.testing.assert_close(found, HOW.displacements(model, synset, kept, stage.plans[0]))


@pytest.mark.parametrize("group", [0, 1, 5])
def test_a_whole_group_is_the_removal_that_its_effects_are_of(group):
    model, synset = classifier()
    marked = [torch.arange(6.0)[:, None].expand(6, model.n_parameters)]
    stage = replace(stage_of(model, synset), displacements=marked)
    rows = np.flatnonzero(GROUP.numpy() == group)
    assert (without(stage, rows)[0] == group).all()
    # Not so of a part of it, with another one, or where removals are halves.
    assert not (without(stage, rows[1:])[0] == group).all()
    assert not (without(stage, [*rows, 12])[0] == group).all()
    halves = replace(stage, is_datamodel=True)
    assert not (without(halves, rows)[0] == group).all()


@pytest.mark.parametrize("removed", [[5], [0, 4, 5, 12], [16, 17, 20]])
def test_some_rows_are_left_out_of_their_groups(removed):
    model, synset = classifier()
    stage = stage_of(model, synset)
    found, rows = without(stage, removed)
    parted = in_two_groups(synset, np.arange(N), GROUP.numpy(), rows)
    kept = torch.tensor([[1.0, 0.0]]).to(synset.weight)
    torch.testing.assert_close(found, HOW.displacements(model, parted, kept, stage.plans[0]))


@pytest.mark.parametrize(
    ("removed", "goes_back"),
    [(range(8), True), (range(4), False), (range(16), True), (range(2, 10), False)],
)
def test_without_a_class_of_several_groups_networks_go_back_further(removed, goes_back):
    model, synset = classifier()
    stage = stage_of(model, synset)
    found, rows = without(stage, list(removed))
    group = GROUP.numpy()
    n_removed = np.bincount(group[rows], minlength=6)
    if (n_removed > 0).sum() == 1:
        return torch.testing.assert_close(found[0], stage.displacements[0][group[rows][0]])
    plan, kept = stage.plans[0], torch.as_tensor(n_removed == 0)[None].to(synset.weight)
    if not np.isin(n_removed / np.bincount(group), (0, 1)).all():
        synset = in_two_groups(synset, np.arange(N), group, rows)
        kept = torch.tensor([[1.0, 0.0]]).to(synset.weight)
    further = HOW.without_a_class(model, synset, plan)
    moves = [HOW.displacements(model, synset, kept, each) for each in (plan, further)]
    torch.testing.assert_close(found, moves[int(goes_back)])
    assert not torch.allclose(*moves)


def test_a_class_in_a_single_group_is_left_out_as_any_group(monkeypatch):
    model, synset = classifier()
    group = torch.tensor([0, 0, 1, 2, 3, 3])[torch.arange(N) // 4]
    synset = replace(synset, group=group, group_size=group.bincount().to(synset.weight))
    stage = stage_of(model, synset)
    rows = group.numpy() == 0
    found = stage.without_rows(np.arange(N), group.numpy(), rows)[0]
    torch.testing.assert_close(found[0], stage.displacements[0][0])


def test_rows_are_left_out_with_their_share_of_the_remainder():
    model, X, targets = regression_model(N, 0.1, n_targets=1)
    # Other rows than the groups have, also together: the remainder is what puts them right.
    synset = everything(X.roll(5, 0), 1.5 * targets.roll(5, 0))
    stage = stage_of(model, synset, rows=rows_of(everything(X, targets)))
    assert stage.plans[0].remainder.gradient.abs().max() > 1e-3
    found, removed = without(stage, [0, 1, 8])
    share = torch.tensor([0.5, 0, 0.25, 0, 0, 0]).to(X)
    plan = stage.plans[0].regrouped(torch.stack([1 - share, share]))
    parted = in_two_groups(synset, np.arange(N), GROUP.numpy(), removed)
    kept = torch.tensor([[1.0, 0.0]]).to(X)
    torch.testing.assert_close(found, HOW.displacements(model, parted, kept, plan))


def test_a_remainder_is_measured_where_it_can_be():
    deep, synset = classifier()
    assert stage_of(deep, synset).plans[0].remainder is None
    model, X, targets = regression_model(N, 0.1, n_targets=1)
    other = everything(X.roll(5, 0), targets)
    assert stage_of(model, other, rows_of(everything(X, targets))).plans[0].remainder is not None


def test_effects_are_the_mean_of_networks_and_of_halves():
    model, synset = classifier()
    other = replace(model, theta=1.2 * model.theta)
    stage = stage_of(None, synset, models=[model, other], n_halves=12)
    X, y = synset.X[:5].numpy(), LABEL[:5].numpy()
    found = stage.attributions_by_network(X, y, margin)
    assert found.shape == (2, 5, 6)
    for network, moves, effects in zip([model, other], stage.displacements, found, strict=True):
        matrix = attribution_matrix(network, moves, synset.X[:5], LABEL[:5], margin, 4096)
        weights = datamodel_weights(stage.kept)
        np.testing.assert_allclose(effects, (matrix @ weights.to(matrix)).numpy())
    np.testing.assert_allclose(stage.attributions(X, y, margin), found.mean(0))
    expected = [margin(m(m.theta, synset.X[:5]), LABEL[:5]).numpy() for m in (model, other)]
    np.testing.assert_allclose(stage.objectives(X, y, margin), np.mean(expected, axis=0))


def test_effects_that_are_not_finite_are_refused():
    model, synset = classifier()
    stage = stage_of(model, synset)
    moves = stage.displacements[0].clone()
    moves[2] = torch.nan
    broken = replace(stage, displacements=[moves])
    with pytest.raises(ValueError, match="hold NaN or infinity"):
        broken.attributions(synset.X[:5].numpy(), LABEL[:5].numpy(), margin)


def test_queries_whose_effects_are_not_finite_are_named():
    model, synset = classifier()

    def of_two_classes(outputs, y):
        return torch.where(y == 1, torch.nan, margin(outputs, y))

    queries, y = synset.X[[0, 1, 2, 9, 8, 3]].numpy(), LABEL[[0, 1, 2, 9, 8, 3]].numpy()
    with pytest.raises(ValueError, match="of 2 of 6 queries, the first of them row 3, hold NaN"):
        stage_of(model, synset).attributions(queries, y, of_two_classes)


@pytest.mark.parametrize("n_targets", [1, 2])
def test_values_are_predicted_in_the_shape_of_the_targets(n_targets):
    model, X, targets = regression_model(N, 0.1, n_targets=n_targets)
    stage = stage_of(model, everything(X, targets))
    found = stage.predictions(X[:7].numpy())
    expected = model(model.theta, X[:7]).numpy()
    np.testing.assert_allclose(found, expected[:, 0] if n_targets == 1 else expected)
    if n_targets == 1:
        y = targets[:7, 0].numpy()
        np.testing.assert_allclose(
            stage.objectives(X[:7].numpy(), y, prediction), expected[:, 0], rtol=1e-12
        )


def test_classes_are_predicted_by_the_mean_outputs_of_networks():
    model, synset = classifier()
    other = replace(model, theta=-0.5 * model.theta)
    stage = stage_of(None, synset, models=[model, other])
    outputs = [each(each.theta, synset.X) for each in (model, other)]
    expected = torch.stack(outputs).mean(0).argmax(1)
    assert len(expected.unique()) > 1
    np.testing.assert_array_equal(stage.predictions(synset.X.numpy()), expected.numpy())


def test_labels_are_whole_numbers_and_values_as_exact_as_the_network():
    classes, values = classifier()[0], regression_model(N, n_targets=1)[0]
    labels = encoded_labels(classes, np.array([2.0, 0.0]))
    assert labels.dtype == torch.long and labels.tolist() == [2, 0]
    targets = encoded_labels(values, np.array([0.1, 2.5]))
    assert targets.dtype == torch.float64 and targets.tolist() == [0.1, 2.5]


def test_objectives_of_networks_without_the_queries_are_the_mean_over_networks():
    model, synset = classifier()
    models = [model, replace(model, theta=1.2 * model.theta)]
    X, y, group = synset.X[:9], LABEL[:9], GROUP[:9]
    stages = [stage_of(model, synset) for model in models]
    together = stage_of(None, synset, models=models)
    each = [own_group_objectives(m, synset, HOW, X, y, group, margin).numpy() for m in models]
    for stage, expected in [(stages[0], each[0]), (together, np.mean(each, axis=0))]:
        found = stage.out_of_fold_objectives(X.numpy(), y.numpy(), group.numpy(), margin)
        np.testing.assert_allclose(found, expected)


def test_what_rows_do_needs_the_rows():
    model, synset = classifier()
    with pytest.raises(ValueError, match="need the training rows, and they were dropped"):
        _ = replace(stage_of(model, synset), rows=None).row_effects


def test_effects_of_rows_follow_a_path_of_plain_steps():
    model, few = classifier()
    again = torch.arange(N).repeat(20)  # 480 rows are several minibatches
    rows = few.X[again], few.y[again], few.weight[again]
    synset = replace(few.with_rows(*rows), group=GROUP[again], group_size=20 * few.group_size)
    stage = stage_of(model, synset, how=replace(HOW, is_preconditioned=True))
    assert stage.plans[0].preconditioner is not None
    assert stage.row_effects[0].retraining == HOW.plan(model, synset)


def test_each_group_is_left_out_alone_unless_halves_are_asked_for():
    model, synset = classifier()
    stage = stage_of(model, synset)
    assert not stage.is_datamodel
    torch.testing.assert_close(stage.kept, leave_one_out(synset))
