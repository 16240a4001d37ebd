"""Plans to repeat a training without groups, and what that does to the explained network."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.base import clone
from skorch import NeuralNetClassifier
from skorch.callbacks import EarlyStopping
from skorch.dataset import ValidSplit
from torch import nn

from sklearn_synset import SynsetAttributor
from sklearn_synset._distillation.distilled_synset import whole_synset
from sklearn_synset._replay.leave_out import _replayed, replay_plans
from sklearn_synset._replay.lift import centred, lifted
from tests.problems import classification_model
from tests.reference import log_odds
from tests.replayed import N_GROUPS, SmallMLP, small_net, small_rows, trained_model, weights_of


def drop():
    return nn.Dropout(0.3)


def planned(n_starts=2, **params):
    """Return a trained network, its rows and its plan."""
    model, rows = trained_model(*small_net(**params))
    (plan,) = replay_plans([model], [model.recipe], rows, n_starts, 0, None, 0)
    return model, rows, plan


def leave_each_out(n=N_GROUPS):
    return (1 - torch.eye(n)).double()


def test_the_first_training_is_the_networks_own():
    model, _, plan = planned(n_starts=3)
    assert plan.seeds[0] == model.recipe.seed and len(set(plan.seeds)) == 3
    (alone,) = replay_plans([model], [replace(model.recipe, seed=None)], _, 2, 0, None, 0)
    assert model.recipe.seed not in alone.seeds


def test_nothing_left_out_moves_nothing():
    model, _, plan = planned()
    kept = torch.cat([torch.ones(1, N_GROUPS).double(), leave_each_out()])
    moves = plan.displacements(model, kept)
    assert (moves[0] == 0).all() and (moves[1:].abs().amax(1) > 1e-4).all()


def test_outputs_change_as_those_of_retrained_networks_mean_over_seeds():
    model, _, plan = planned()
    kept = leave_each_out()
    changes = []
    for networks, outputs in plan.networks(model, torch.cat([kept[:1] ** 0, kept]), plan.lifted_X):
        assert len(networks) == 1 + N_GROUPS
        changes.append(centred(model, outputs[1:] - outputs[:1]))
    wanted = torch.stack(changes).mean(0)
    moves = plan.displacements(model, kept)
    before = centred(model, model(model.theta, plan.lifted_X))
    found = torch.stack([centred(model, model(model.theta + m, plan.lifted_X)) for m in moves])
    error = (found - before - wanted).norm() / wanted.norm()
    assert error < 0.25


def test_the_lift_of_a_linear_network_is_ridge_regression_twice():
    layer = nn.Linear(4, 3).double()
    model, X, _ = classification_model(9, module=layer)
    change = torch.randn(2, 9, 3, generator=torch.Generator().manual_seed(0)).double()
    jacobian = torch.autograd.functional.jacobian(
        lambda theta: centred(model, model(theta, X)), model.theta
    ).flatten(0, 1)
    gram = jacobian @ jacobian.T
    ridge = 0.05 * gram.diagonal().mean() * torch.eye(len(gram)).double()
    expected = []
    for wanted in centred(model, change).flatten(1):
        moved = torch.zeros(model.n_parameters).double()
        for _ in range(2):
            moved = moved + jacobian.T @ torch.linalg.solve(gram + ridge, wanted - jacobian @ moved)
        expected.append(moved)
    start = torch.zeros(2, model.n_parameters).double()
    torch.testing.assert_close(lifted(model, X, change, start), torch.stack(expected))


def test_networks_of_several_seeds_in_one_stack_are_those_of_each_alone():
    model, _, plan = planned(module__between=(nn.ReLU, drop))
    kept = leave_each_out()
    together = list(plan.blocks(model, [(7, kept), (8, kept[:2])], plan.lifted_X))
    for (found, outputs), (seed, own) in zip(together, [(7, kept), (8, kept[:2])], strict=True):
        ((alone, expected),) = plan.blocks(model, [(seed, own)], plan.lifted_X)
        torch.testing.assert_close(found.theta, alone.theta, rtol=1e-7, atol=1e-9)
        torch.testing.assert_close(outputs, expected, rtol=1e-7, atol=1e-9)


def test_networks_that_cannot_be_one_stack_are_trained_seed_by_seed():
    model, _, plan = planned(module__between=(nn.Tanh, lambda: nn.GroupNorm(1, 6)))
    blocks = [(seed, leave_each_out()) for seed in plan.seeds]
    together = _replayed(plan, model, blocks, plan.lifted_X)
    for block, (networks, outputs) in zip(blocks, together, strict=True):
        ((own, expected),) = _replayed(plan, model, [block], plan.lifted_X)
        assert torch.equal(networks.theta, own.theta) and torch.equal(outputs, expected)


def test_rows_in_other_groups_are_left_out_with_these():
    model, _, plan = planned()
    group = torch.zeros(len(plan.rows.group), dtype=torch.long)
    group[plan.rows.group == 2] = 1
    moved = plan.of_groups(group).displacements(model, torch.tensor([[1.0, 0.0]]).double())
    torch.testing.assert_close(moved, plan.displacements(model, leave_each_out())[2:3])


def test_a_synset_of_all_rows_has_as_many_steps_and_near_effects():
    model, rows, plan = planned(n_starts=4, max_epochs=15)
    own = plan.of_synset(model, whole_synset(rows))
    assert not own.rows.is_training_data
    a, b = (each.displacements(model, leave_each_out()).flatten() for each in (plan, own))
    assert torch.corrcoef(torch.stack([a, b]))[0, 1] > 0.5


def test_a_training_that_diverges_is_reported():
    model, _, plan = planned()
    diverging = replace(model.recipe, net=model.recipe.net.set_params(lr=float("inf")))
    with pytest.raises(FloatingPointError, match="repeated without a group diverges"):
        replace(plan, recipe=diverging).displacements(model, leave_each_out())


# As seen from the estimator


@pytest.fixture(scope="module")
def fitted():
    net, X, y, groups = small_net(max_epochs=8)
    attributor = SynsetAttributor(net, n_probes=2, random_state=0).fit(X, y, groups=groups)
    return attributor, X, y


def outputs_of(network, X):
    with torch.no_grad():
        return network.module_.eval()(torch.as_tensor(X))


def test_effects_are_those_of_the_networks_that_leave_out_returns(fitted):
    attributor, X, y = fitted
    assert attributor.plan_.solver == "replay"
    effects = attributor.attribute(X, y)
    before = log_odds(outputs_of(attributor.estimator_, X), y)
    for column, group in enumerate(attributor.groups_):
        after = log_odds(outputs_of(attributor.leave_out([group]), X), y)
        np.testing.assert_allclose(effects[:, column], before - after, atol=1e-9)


def test_leaving_no_groups_out_gives_the_network_itself(fitted):
    attributor = fitted[0]
    same = attributor.leave_out([])
    assert torch.equal(weights_of(same.module_), weights_of(attributor.estimator_.module_))


def test_effects_agree_with_real_retraining(fitted):
    attributor, X, y = fitted
    net, _, _, groups = small_net(max_epochs=8)
    model, seed = attributor._online.models[0], attributor._online.plans[0].seeds
    assert model.recipe.seed == seed[0]
    predicted, measured = attributor.attribute(X, y), []
    full = [outputs_of(fit_from(net, X, y, each, None), X) for each in seed]
    for group in attributor.groups_:
        kept = groups != group
        nets = [outputs_of(fit_from(net, X, y, each, kept), X) for each in seed]
        pairs = zip(full, nets, strict=True)
        measured.append(np.mean([log_odds(a, y) - log_odds(b, y) for a, b in pairs], axis=0))
    measured = np.stack(measured, axis=1)
    assert np.corrcoef(predicted.ravel(), measured.ravel())[0, 1] > 0.8


def fit_from(net, X, y, seed, kept):
    """Train a net from a seed, with the left-out labels ignored."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return clone(net).fit(X, y if kept is None else np.where(kept, y, -100))


@pytest.mark.parametrize("n_groups", [3, 8])
def test_rows_are_scored_without_themselves_where_training_stops_early(n_groups):
    X, y, _ = small_rows()
    net = NeuralNetClassifier(
        SmallMLP,
        criterion=nn.CrossEntropyLoss,
        max_epochs=4,
        train_split=ValidSplit(4, stratified=False),
        callbacks=[("stop", EarlyStopping(patience=2))],
        verbose=0,
    )
    with pytest.warns(UserWarning, match="train_split"):
        attributor = SynsetAttributor(net, n_groups=n_groups, n_probes=0, random_state=0).fit(X, y)
    assert np.isfinite(attributor.score_samples(X, y)).all()
    network = attributor.leave_out(rows=[0, 1])
    assert all(each.isfinite().all() for each in network.module_.parameters())
