"""Probes on the real rows."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn_synset._probes.restarted_probes import restarted_probes
from torch import nn

from sklearn_synset._data.training_data import TrainingRows
from sklearn_synset._objective.objective import margin
from sklearn_synset._probes import restarted_probes as restarting
from sklearn_synset._probes import rewound_probes as rewinding
from sklearn_synset._probes.probes import Probes, probes_of_networks
from sklearn_synset._probes.rewound_probes import rewound_probes
from sklearn_synset._retraining import row_sample
from sklearn_synset._retraining.leave_out import LeaveOut
from sklearn_synset._retraining.removal import displacements
from sklearn_synset._retraining.row_sample import affordable_rows, sample_of_rows
from tests.problems import functional, mlp, seeded, small_conv, train

SETTINGS = {"rewind": 0.5, "n_steps": 5, "step_size": 0.1, "damping": 0.0, "batch_size": 7}


@pytest.fixture
def problem():
    rng = np.random.RandomState(0)
    X, y = rng.randn(12, 4), np.arange(12) % 3
    model = functional(mlp(), X, y, np.arange(3), weight_decay=0.01)
    targets = torch.eye(3, dtype=torch.float64)[torch.from_numpy(y)]
    members = [torch.arange(k, 12, 4) for k in range(4)]
    return model, TrainingRows(torch.from_numpy(X), targets, members, 7), torch.from_numpy(y)


def test_a_probe_is_the_network_trained_again_without_its_groups(problem):
    model, rows, y = problem
    kept = torch.tensor([[1.0, 0, 1, 1], [0, 1, 1, 0]], dtype=torch.float64)
    leave_out = LeaveOut("gradient_descent", seed=0, **SETTINGS)
    probes = rewound_probes([model], rows, leave_out, kept, torch.Generator().manual_seed(0))
    everything = sample_of_rows(rows, 12, torch.Generator().manual_seed(1))
    moves = displacements(model, everything, kept, leave_out.plan(model, everything))
    torch.testing.assert_close(probes.theta[0], model.theta + moves)
    assert list(probes.groups) == [0, 1, 3]
    assert list(probes.take(slice(1)).groups) == [1]
    effects = probes.effects([model], rows.X, y, margin, batch_size=5)
    with torch.no_grad():
        before = margin(model(model.theta, rows.X), y)
        after = [margin(model(model.theta + move, rows.X), y) for move in moves]
    np.testing.assert_allclose(effects, (before[:, None] - torch.stack(after, 1)).numpy())


def test_effects_are_the_mean_over_networks(problem):
    model, rows, y = problem
    rng = torch.Generator().manual_seed(0)

    def moved():
        noise = torch.randn(model.theta.shape, generator=rng, dtype=torch.float64)
        return replace(model, theta=model.theta + 0.1 * noise)

    models = [moved(), moved()]
    kept = torch.ones(1, 4)
    networks = [moved(), moved()]
    single = [
        probes_of_networks(kept, [m], [network]).effects([m], rows.X, y, margin, 100)
        for m, network in zip(models, networks, strict=True)
    ]
    both = probes_of_networks(kept, models, networks).effects(models, rows.X, y, margin, 100)
    np.testing.assert_allclose(both, np.mean(single, axis=0))
    assert np.abs(single[0] - single[1]).max() > 1e-3


def test_without_probes_nothing_is_trained(problem):
    model, rows, y = problem
    leave_out = LeaveOut("gradient_descent", seed=0, **SETTINGS | {"rewind": "no number"})
    probes = rewound_probes([model], rows, leave_out, torch.ones(0, 4), torch.Generator())
    assert len(probes) == 0 and probes.effects([model], rows.X, y, margin, 5).shape == (12, 0)


def test_every_second_probe_is_made_where_all_would_take_long(problem, monkeypatch):
    model, rows, _ = problem
    leave_out = LeaveOut("gradient_descent", seed=0, **SETTINGS)
    asked = []

    def go(cost, **may):
        monkeypatch.setattr(
            rewinding,
            "operations",
            lambda models, sample, plans: asked.append(plans) or [cost / 2] * 2,
        )
        generator = torch.Generator().manual_seed(0)
        probes = rewound_probes([model] * 2, rows, leave_out, 1 - torch.eye(4), generator, **may)
        return probes.groups.tolist(), [len(theta) for theta in probes.theta]

    assert go(1.3e11, may_halve=True) == ([0, 2], [2, 2])
    assert go(1.2e11, may_halve=True) == ([0, 1, 2, 3], [4, 4])
    assert [len(plans) for plans in asked] == [2, 2]
    assert go(1.3e11) == ([0, 1, 2, 3], [4, 4])


def test_probes_have_the_statistics_of_their_own_normalisation():
    X, y = np.random.RandomState(0).randn(6, 1, 4, 4), np.arange(6) % 3
    model, other = (functional(small_conv(), X, y, np.arange(3)) for _ in range(2))
    other.module[1].running_mean.add_(1.0)
    probes = probes_of_networks(torch.ones(2, 4), [model], [model, other])
    assert list(probes.buffers[0]) == ["1.running_mean"]
    rows, labels = torch.from_numpy(X), torch.from_numpy(y)
    effects = probes.effects([model], rows, labels, margin, 4)
    with torch.no_grad():
        outputs = [each(each.theta, rows) for each in (model, other)]
    assert (effects[:, 0] == 0).all()
    expected = (margin(outputs[0], labels) - margin(outputs[1], labels)).numpy()
    np.testing.assert_allclose(effects[:, 1], expected)
    np.testing.assert_array_equal(
        probes.take(slice(1, None)).effects([model], rows, labels, margin, 4)[:, 0], effects[:, 1]
    )


@pytest.mark.parametrize(
    ("width", "widest", "is_steady", "expected"),
    [
        (4, 10, False, 10_000),
        (4, 10, True, 2000),
        (2**12, 10, False, 1928),
        (4, 2**12, False, 1928),
        (2**12, 10, True, 1928),
        (2**20, 10, False, 500),
    ],
)
def test_as_many_rows_are_probed_as_can_be_afforded(
    problem, monkeypatch, width, widest, is_steady, expected
):
    model, _, _ = problem
    monkeypatch.setattr(row_sample, "curves_steadily", lambda asked: is_steady)
    monkeypatch.setattr(row_sample, "widest_output", lambda asked, rows: widest)
    assert affordable_rows(model, torch.empty(1, width, 1)) == expected


def test_many_rows_are_probed_by_a_sample(problem, monkeypatch):
    model, rows, _ = problem
    asked = []

    def watched(rows, max_rows, generator):
        asked.append(max_rows)
        return sample_of_rows(rows, max_rows, generator)

    monkeypatch.setattr(rewinding, "sample_of_rows", watched)
    monkeypatch.setattr(rewinding, "affordable_rows", lambda model, X: 12)
    leave_out = LeaveOut("gradient_descent", seed=0, **SETTINGS)
    generator = torch.Generator().manual_seed(0)
    probes = rewound_probes([model, model], rows, leave_out, torch.eye(4)[:3], generator)
    assert asked == [12] and len(probes) == 3


def test_a_sample_takes_the_same_share_of_every_group_and_one_row_at_least():
    X = torch.arange(44.0)[:, None]
    members = [torch.arange(0, 40), torch.arange(40, 43), torch.arange(43, 44)]
    rows = TrainingRows(X, torch.eye(44), members, 7)
    sample = sample_of_rows(rows, 11, torch.Generator().manual_seed(0))
    assert sample.group.bincount().tolist() == [10, 1, 1]
    assert sample.weight.tolist() == [4.0] * 10 + [3.0, 1.0]
    assert sample.group_size.tolist() == [40, 3, 1]
    chosen = sample.X[:, 0].long()
    assert len(set(chosen.tolist())) == 12 and (chosen.diff() > 0).all()
    assert torch.equal(sample.y, torch.eye(44)[chosen])
    assert (chosen[:10] != torch.arange(10)).any()
    everything = sample_of_rows(rows, 100, torch.Generator())
    assert torch.equal(everything.X, X) and (everything.weight == 1).all()


def test_no_networks_are_no_probes(problem):
    model, rows, y = problem
    probes = probes_of_networks(torch.ones(0, 4), [model], [])
    assert probes.effects([model], rows.X, y, margin, 5).shape == (12, 0)


def test_rewound_probes_tell_no_size_and_retrained_ones_do(problem):
    model, rows, _ = problem
    leave_out = LeaveOut("gradient_descent", seed=0, **SETTINGS)
    kept = torch.eye(4)[:3]
    assert not rewound_probes([model], rows, leave_out, kept, torch.Generator()).tells_size
    assert probes_of_networks(kept, [model], [model] * 3).tells_size


# From new initial weights


@pytest.fixture
def fitted():
    """Return a network of two layers, its rows in four groups, and their labels."""
    rng = np.random.RandomState(0)
    X, y = rng.randn(60, 4), np.arange(60) % 3
    X[np.arange(60), y] += 2
    model = functional(train(mlp(), X, y, nn.CrossEntropyLoss(), n_steps=60), X, y, np.arange(3))
    targets = torch.eye(3, dtype=torch.float64)[torch.from_numpy(y)]
    members = [torch.arange(k, 60, 4) for k in range(4)]
    rows = TrainingRows(torch.from_numpy(X), targets, members, 100)
    return model, rows, torch.from_numpy(y)


def restarted(models, rows, kept, **settings):
    leave_out = LeaveOut("gradient_descent", seed=0, **SETTINGS | settings)
    return restarted_probes(models, rows, leave_out, kept, torch.Generator().manual_seed(0))


def test_each_network_is_probed_from_three_initial_weights(fitted):
    model, rows, y = fitted
    kept = torch.eye(4)[:2]
    probes = restarted([model, model], rows, kept)
    assert len(probes) == 2 and probes.tells_size
    assert [theta.shape for theta in probes.theta] == [(2, model.n_parameters)] * 6
    assert len(torch.stack(probes.before).unique(dim=0)) == 6
    effects = probes.effects([model, model], rows.X, y, margin, batch_size=7)
    expected = torch.zeros(60, 2, dtype=torch.float64)
    with torch.no_grad():
        for before, thetas in zip(probes.before, probes.theta, strict=True):
            start = margin(model(before, rows.X), y)
            for probe, theta in enumerate(thetas):
                expected[:, probe] += (start - margin(model(theta, rows.X), y)) / 6
    np.testing.assert_allclose(effects, expected.numpy())
    # They are those of `restarts`, whatever the networks that are trained side by side.
    alone = restarted([model, model], rows, kept, batch_size=1)
    np.testing.assert_allclose(
        alone.effects([model, model], rows.X, y, margin, 100), effects, rtol=1e-6
    )


@pytest.mark.parametrize("n_first", [0, 1, 3])
def test_probes_that_were_split_are_joined_again(fitted, n_first):
    model, rows, y = fitted
    probes = restarted([model], rows, torch.eye(4)[:3])
    first, others = probes.split(n_first)
    assert (len(first), len(others)) == (n_first, 3 - n_first)
    joined = first.joined(others)
    assert torch.equal(joined.kept, probes.kept) and joined.tells_size
    effects = [each.effects([model], rows.X, y, margin, 100) for each in (probes, joined)]
    np.testing.assert_array_equal(*effects)


def test_buffers_of_probes_are_joined(problem):
    model, _, _ = problem
    probes = [
        Probes(torch.ones(n, 4), [torch.zeros(n, 3)], [{"mean": torch.full((n, 2), 1.0 * n)}])
        for n in (1, 2)
    ]
    assert probes[0].joined(probes[1]).buffers[0]["mean"][:, 0].tolist() == [1, 2, 2]


@pytest.mark.parametrize(
    ("name", "value", "is_done"),
    [
        ("_MAX_RESTARTED_ROWS", 60, True),
        ("_MAX_RESTARTED_ROWS", 59, False),
        # 1,000 operations a row, 60 rows, 3 restarts of 2 probes: 360,000 an epoch.
        ("_MAX_FLOPS", 15 * 360_000, True),
        ("_MAX_FLOPS", 15 * 360_000 - 1, False),
    ],
)
def test_what_cannot_be_afforded_is_not_restarted(fitted, monkeypatch, name, value, is_done):
    model, rows, _ = fitted
    monkeypatch.setattr(restarting, "flops_of_gradient", lambda model, X: 1000)
    monkeypatch.setattr(restarting, name, value)
    asked = []
    run = restarting.restarts

    def watched(*args, **kwargs):
        asked.append(kwargs["max_epochs"])
        return run(*args, **kwargs)

    monkeypatch.setattr(restarting, "restarts", watched)
    assert (restarted([model], rows, torch.eye(4)[:2]) is not None) is is_done
    assert asked == ([] if not is_done else [15 if name == "_MAX_FLOPS" else 400])


@pytest.mark.parametrize(("missing", "is_tried"), [(0, True), (1, False)])
def test_the_work_of_every_network_is_counted(fitted, monkeypatch, missing, is_tried):
    model, rows, _ = fitted
    tried = []
    monkeypatch.setattr(restarting, "flops_of_gradient", lambda model, X: 1000)
    monkeypatch.setattr(restarting, "_MAX_FLOPS", 15 * 2 * 360_000 - missing)
    monkeypatch.setattr(restarting, "restarts", lambda *args, **kwargs: tried.append(1))
    assert restarted([model, model], rows, torch.eye(4)[:2]) is None
    assert bool(tried) is is_tried


def test_neither_single_layers_nor_unknown_statistics_nor_nothing_is_restarted(fitted, problem):
    _, rows, _ = fitted
    X, y = rows.X.numpy(), np.arange(60) % 3
    layer = functional(seeded(lambda: nn.Linear(4, 3).double()), X, y, np.arange(3))
    assert restarted([layer], rows, torch.eye(4)[:2]) is None
    assert restarted([fitted[0]], rows, torch.ones(0, 4)) is None
    norm = nn.BatchNorm1d(5, affine=False)
    module = seeded(lambda: nn.Sequential(nn.Linear(4, 5), norm, nn.Linear(5, 3)))
    with_norm = functional(module.double(), X, y, np.arange(3))
    assert restarted([with_norm], rows, torch.eye(4)[:2]) is None


@pytest.mark.parametrize(("n_epochs", "is_tried"), [(40, True), (39, False)])
def test_normalised_networks_are_given_more_passes(fitted, monkeypatch, n_epochs, is_tried):
    _, rows, _ = fitted
    X, y = rows.X.numpy(), np.arange(60) % 3
    norm = seeded(lambda: nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)))
    with_norm = functional(norm.double(), X, y, np.arange(3))
    tried = []
    monkeypatch.setattr(restarting, "flops_of_gradient", lambda model, X: 1000)
    monkeypatch.setattr(restarting, "_MAX_FLOPS", n_epochs * 360_000)
    monkeypatch.setattr(restarting, "restarts", lambda *args, **kwargs: tried.append(args[0]))
    assert restarted([with_norm], rows, torch.eye(4)[:2]) is None
    assert [network.live_norms for network in tried] == [("1",)] * is_tried


def test_a_network_that_restarts_do_not_reach_is_not_restarted(fitted, monkeypatch):
    model, rows, _ = fitted
    monkeypatch.setattr(restarting, "restarts", lambda *args, **kwargs: None)
    assert restarted([model], rows, torch.eye(4)[:2]) is None


def test_a_bar_counts_the_networks_that_are_asked_for(fitted, capsys):
    model, rows, _ = fitted
    restarted([model], rows, torch.eye(4)[:2])
    assert capsys.readouterr().err == ""
    restarted([model], rows, torch.eye(4)[:2], verbose=1)
    assert "Probing: 100%" in (err := capsys.readouterr().err) and "6/6" in err
