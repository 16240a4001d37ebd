"""Networks that are trained from new initial weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn_synset._probes.restart import initial_weights, restartable, restarts
from torch import nn

from sklearn_synset._curvature.power_iteration import largest_curvature
from sklearn_synset._probes import restart as module
from sklearn_synset._retraining.synset import Synset
from tests.problems import classification_model, functional, mlp, seeded, small_conv, train
from tests.reference import loss_of_row, training_objective

N = 60
GROUP = torch.arange(N) % 4


@pytest.fixture(scope="module")
def problem():
    """Return a trained network, and its rows in four groups."""
    rng = np.random.RandomState(0)
    X, y = rng.randn(N, 4), np.arange(N) % 3
    X[np.arange(N), y] += 2
    module = train(mlp(), X, y, nn.CrossEntropyLoss(), n_steps=60)
    model = functional(module, X, y, np.arange(3), weight_decay=0.01)
    targets = torch.eye(3, dtype=torch.float64)[torch.from_numpy(y)]
    rows = Synset(
        torch.from_numpy(X), targets, torch.ones(N).to(targets), GROUP, GROUP.bincount().to(targets)
    )
    return model, rows


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def loss_of(model, rows, theta):
    losses = [loss_of_row(model, model(theta, rows.X[[i]])[0], rows.y[i]) for i in range(N)]
    return float(torch.stack(losses).mean())


def leave_one_out(rows):
    return 1 - torch.eye(4).to(rows.weight)


def test_initial_weights_are_those_of_a_new_module():
    model = classification_model(6)[0]
    expected = seeded(mlp, seed=7)
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    found = initial_weights(model, 7)
    assert torch.equal(torch.random.get_rng_state(), before)
    # `reset_parameters` draws in float64 here, the constructor in float32 before the conversion.
    sizes = [parameter.detach().std() for parameter in expected.parameters()]
    for own, size in zip(model.unflatten(found).values(), sizes, strict=True):
        assert 0.3 < float(own.std() / size) < 3
    assert torch.equal(found, initial_weights(model, 7))
    assert not torch.equal(found, initial_weights(model, 8))
    assert not torch.equal(found, model.theta)


def test_what_was_not_trained_stays_as_it_is():
    module = mlp()
    module[0].requires_grad_(False)
    model = classification_model(6, module=module)[0]
    assert model.names == ("2.weight", "2.bias")
    assert initial_weights(model, 0).shape == model.theta.shape
    assert torch.equal(model.module[0].weight, module[0].weight)


class Scaled(nn.Module):
    """A layer with a weight of its own and no way to draw it again."""

    def __init__(self):
        super().__init__()
        self.layer, self.scale = nn.Linear(4, 3), nn.Parameter(torch.ones(3))

    def forward(self, X):
        return self.layer(X) * self.scale


def can_restart(module):
    model, X, _ = classification_model(6, module=seeded(module).double())
    return restartable(model, X) is model


def test_layers_without_initial_weights_are_refused():
    assert can_restart(mlp)
    assert not can_restart(Scaled)
    assert can_restart(lambda: nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.Linear(5, 3)))
    # What gathers statistics but does not normalise rows by them in training is not known.
    assert not can_restart(
        lambda: nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5, affine=False), nn.Linear(5, 3))
    )


def test_batch_normalisation_is_restarted_as_it_is_in_training():
    X = np.random.RandomState(0).randn(6, 1, 4, 4)
    conv = functional(small_conv(), X, np.arange(6) % 3, np.arange(3))
    network = restartable(conv, torch.from_numpy(X))
    assert network.live_norms == ("1",) and conv.live_norms == ()


def test_a_scale_that_was_not_trained_needs_no_initial_weights():
    scaled = seeded(Scaled).double()
    scaled.scale.requires_grad_(False)
    model, X, _ = classification_model(6, module=scaled)
    assert restartable(model, X) is model


def normalised():
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3)).double()


@pytest.fixture
def with_norm(problem):
    _, rows = problem
    X, y = rows.X.numpy(), rows.y.argmax(1).numpy()
    module = train(seeded(normalised).train(), X, y, nn.CrossEntropyLoss(), n_steps=60)
    return functional(module, X, y, np.arange(3), weight_decay=0.01), rows


def test_restarted_networks_are_given_with_the_statistics_of_their_rows(with_norm):
    model, rows = with_norm
    network = restartable(model, rows.X)
    kept = leave_one_out(rows)
    before, networks = restarts(network, rows, kept, generator(), n_networks=3)
    thetas = torch.cat(list(networks))
    assert thetas.shape == (4, model.n_parameters)
    # In evaluation the explained network's own statistics give way to those of the kept rows: the
    # normalised values have mean 0 and variance 1 there, scaled and shifted by weights.
    for theta, own in zip([*before, *thetas], [torch.ones(4).double(), *kept], strict=True):
        is_kept = own[GROUP].bool()
        goal = loss_of(model, rows, model.theta)
        loss = module._data_loss(model, replace(rows, weight=is_kept.double()), theta)
        assert loss < 2.5 * goal
        inputs = model.unflatten(theta)
        hidden = rows.X @ inputs["0.weight"].T + inputs["0.bias"]
        norm = model.module[1]
        values = (hidden - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
        shown = values[is_kept] * inputs["1.weight"] + inputs["1.bias"]
        own_values = hidden[is_kept]
        spread = (own_values.var(0, correction=0) + norm.eps).sqrt()
        # Each channel is an increasing or a decreasing image of its own normalised values.
        z = (own_values - own_values.mean(0)) / spread
        slope = (shown * z).mean(0) / z.square().mean(0)
        torch.testing.assert_close(shown, shown.mean(0) + slope * z)


def test_normalised_networks_take_larger_minibatches_and_their_curvature_at_the_end(with_norm):
    model, rows = with_norm
    network = restartable(model, rows.X)
    seen = []
    objective = module._batch_objective

    def watched(model, batch, theta, kept):
        seen.append(len(batch.weight))
        return objective(model, batch, theta, kept)

    kept, start = torch.ones(1, 4).double(), initial_weights(network, 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_batch_objective", watched)
        next(module._averaged_descent(network, rows, kept, start[None], 0.1, 0))
    assert seen == [N]

    def loss(theta):
        return module.mean_loss(network, rows, 0.0, theta, torch.ones(4).double())

    draw = generator()
    points = (model.theta + (start - model.theta) / 4, model.theta)
    curvature = max(largest_curvature(loss, point, draw) for point in points)
    size = module._step_size(network, rows, start, generator())
    assert size * curvature == pytest.approx(0.4 / 2 / 2)


def by_loop(model, rows, kept, seed, step_size, n_epochs):
    """Average the weights of one network, trained on the kept rows of each minibatch."""
    theta = initial_weights(model, seed)
    average, velocity = theta.clone(), torch.zeros_like(theta)
    draw, step = torch.Generator().manual_seed(seed), 0
    for _ in range(n_epochs):
        for batch in torch.randperm(N, generator=draw).chunk(3):
            step += 1
            own = batch[kept[GROUP[batch]] > 0]
            ahead = (theta + 0.9 * velocity).requires_grad_()
            loss = training_objective(model, rows.X[own], rows.y[own], ahead, 0.01)
            velocity = 0.9 * velocity - step_size * torch.autograd.grad(loss, ahead)[0]
            theta = theta + velocity
            average = average + 4 / (step + 3) * (theta - average)
    return average


def test_networks_equal_a_loop_over_single_ones(problem):
    model, rows = problem
    kept = leave_one_out(rows)
    before, networks = restarts(model, rows, kept, generator(), n_networks=3)
    parts = list(networks)
    assert len(before) == 1 and [len(part) for part in parts] == [3, 1]
    draw = generator()
    seed = int(torch.randint(2**31, (1,), generator=draw))
    start = initial_weights(model, seed)

    def loss(theta):
        return training_objective(model, rows.X, rows.y, theta, 0.01)

    points = (start, (start + model.theta) / 2, model.theta)
    step_size = 0.2 / max(largest_curvature(loss, point, draw) for point in points)
    goal, n_epochs = loss_of(model, rows, model.theta), 0
    while True:
        n_epochs += 1
        average = by_loop(model, rows, torch.ones(4), seed, step_size, n_epochs)
        if loss_of(model, rows, average) <= goal:
            break
    assert n_epochs > 1
    torch.testing.assert_close(before[0], average)
    for group in (0, 3):
        expected = by_loop(model, rows, kept[group], seed, step_size, n_epochs)
        torch.testing.assert_close(torch.cat(parts)[group], expected)


def everything_of(found):
    """Return all networks of some restarts, those with all groups first."""
    before, networks = found
    return torch.cat([before, *networks])


def test_networks_side_by_side_do_not_change_them(problem):
    model, rows = problem
    alone, together = (
        restarts(model, rows, leave_one_out(rows), generator(), n_restarts=2, n_networks=n)
        for n in (1, 16)
    )
    torch.testing.assert_close(everything_of(alone), everything_of(together))


def test_the_networks_with_all_groups_fit_as_the_explained_one(problem):
    model, rows = problem
    goal = loss_of(model, rows, model.theta)
    before, networks = restarts(model, rows, leave_one_out(rows), generator(), n_restarts=3)
    losses = [loss_of(model, rows, theta) for theta in before]
    assert 0.5 * goal < np.mean(losses) <= goal
    # Each restart has weights of its own, and the networks without a group are near them.
    found = torch.cat(list(networks)).reshape(3, 4, -1)
    distance = (found[:, :, None] - before).norm(dim=-1)
    assert (distance.argmin(-1) == torch.arange(3)[:, None]).all()
    assert ((before - model.theta).norm(dim=1) > 0.5 * model.theta.norm()).all()


@pytest.mark.parametrize(("fit_enough", "is_enough"), [(1000.0, True), (1.0, False)])
def test_a_network_that_cannot_fit_as_well_is_none(problem, fit_enough, is_enough, monkeypatch):
    model, rows = problem
    monkeypatch.setattr(module, "_FIT_ENOUGH", fit_enough)
    found = restarts(model, rows, leave_one_out(rows), generator(), max_epochs=1)
    assert (found is not None) is is_enough


def test_a_loss_of_twice_that_of_the_explained_network_is_enough(problem, monkeypatch):
    model, rows = problem
    for reached, is_enough in ((1.99, True), (2.01, False)):
        losses = iter([1.0, reached])
        monkeypatch.setattr(module, "_data_loss", lambda *_, losses=losses: next(losses))
        found = restarts(model, rows, leave_one_out(rows), generator(), max_epochs=1)
        assert (found is not None) is is_enough


def test_a_network_that_fits_exactly_may_be_reached_within_rounding(problem, monkeypatch):
    model, rows = problem
    losses = iter([0.0, 1e-7])
    monkeypatch.setattr(module, "_data_loss", lambda *_: next(losses))
    found = restarts(model, rows, leave_one_out(rows), generator(), max_epochs=1)
    assert found is not None


def test_the_loss_is_a_weighted_mean(problem):
    model, rows = problem
    twice = replace(rows, weight=2 * rows.weight)
    expected = loss_of(model, rows, model.theta)
    for each in (rows, twice):
        assert module._data_loss(model, each, model.theta) == pytest.approx(expected)


def test_a_descent_that_diverges_is_none(problem, monkeypatch):
    monkeypatch.setattr(module, "_STEP_TIMES_LAYERS", 1e6)
    model, rows = problem
    assert restarts(model, rows, leave_one_out(rows), generator()) is None


def test_the_best_epoch_is_taken_where_none_fits_as_well(problem, monkeypatch):
    model, rows = problem
    # The explained network's loss, and that after each epoch.
    first, second = iter([1.0, 3, 2, 2.5]), iter([1.0, 3, 0.5])
    monkeypatch.setattr(module, "_data_loss", lambda *_: next(first))
    monkeypatch.setattr(module, "_FIT_ENOUGH", 5.0)
    found = restarts(model, rows, leave_one_out(rows), generator(), max_epochs=3)
    monkeypatch.setattr(module, "_data_loss", lambda *_: next(second))
    expected = restarts(model, rows, leave_one_out(rows), generator(), max_epochs=2)
    torch.testing.assert_close(everything_of(found), everything_of(expected))


@pytest.mark.parametrize(
    ("losses", "n_epochs"),
    [
        ([1.0, 3, 0.9], 2),
        # Until the third epoch, 1.3 times the explained network's loss is not enough.
        ([1.0, 1.2, 1.2, 1.31, 1.29], 4),
        ([1.0, 3, 2, 1.3], 3),
    ],
)
def test_from_some_epochs_on_close_is_enough(problem, monkeypatch, losses, n_epochs):
    model, rows = problem
    given = iter(losses)
    monkeypatch.setattr(module, "_data_loss", lambda *_: next(given))
    monkeypatch.setattr(module, "_PATIENCE", 3)
    restarts(model, rows, leave_one_out(rows), generator())
    assert len(losses) == n_epochs + 1 and not list(given)


@pytest.mark.parametrize("n_layers", [2, 3, 5])
def test_deeper_networks_take_shorter_steps(problem, n_layers):
    _, rows = problem
    deep = nn.Sequential(*(nn.Linear(4, 4) for _ in range(n_layers - 1)), nn.Linear(4, 3))
    model = classification_model(6, module=deep.double())[0]
    everything = torch.ones_like(rows.group_size)

    def loss(theta):
        return module.mean_loss(model, rows, 0.0, theta, everything)

    start, draw = initial_weights(model, 0), generator()
    points = (start, (start + model.theta) / 2, model.theta)
    curvature = max(largest_curvature(loss, point, draw) for point in points)
    size = module._step_size(model, rows, start, generator())
    assert size * curvature == pytest.approx(0.4 / n_layers)


@pytest.mark.parametrize(("n_rows", "n_batches"), [(30, 2), (400, 16), (4000, 40)])
def test_an_epoch_is_sixteen_minibatches_of_twenty_to_a_hundred_rows(
    n_rows, n_batches, monkeypatch
):
    model, X, targets = classification_model(n_rows)
    group = torch.arange(n_rows) % 4
    rows = Synset(X, targets, torch.ones(n_rows).to(X), group, group.bincount().to(X))
    seen = []
    monkeypatch.setattr(
        module,
        "_batch_objective",
        lambda model, batch, theta, kept: (seen.append(1), theta.sum())[1],
    )
    kept, start = torch.ones(1, 4).to(X), model.theta[None]
    epochs = module._averaged_descent(model, rows, kept, start, 0.1, 0)
    next(epochs)
    assert len(seen) == n_batches
