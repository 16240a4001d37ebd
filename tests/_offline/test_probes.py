"""Probes on the real rows."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sklearn_synset._offline import _probes as module
from sklearn_synset._offline._anchors import TrainingRows
from sklearn_synset._offline._probes import (
    affordable_rows,
    probes_of_networks,
    rewound_probes,
    sample_of_rows,
)
from sklearn_synset._online._leave_out import LeaveOut
from sklearn_synset._online._objective import margin
from sklearn_synset._online._removal import displacements
from tests.problems import functional, mlp, small_conv

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
    ("flops", "n_gradients", "expected"),
    [(4e8, 1, 1000), (4e8, 2, 500), (4e8, 4, 500), (4e6, 1, 2000), (4e6, 100, 1000)],
)
def test_as_many_rows_are_probed_as_can_be_afforded(
    problem, monkeypatch, flops, n_gradients, expected
):
    model, rows, _ = problem
    monkeypatch.setattr(module, "flops_of_gradient", lambda model, X: flops)
    assert affordable_rows(model, rows.X, n_gradients) == expected


def test_every_step_of_every_network_is_counted(problem, monkeypatch):
    model, rows, _ = problem
    asked = []

    def watched(model, X, n_gradients):
        asked.append(n_gradients)
        return 12

    monkeypatch.setattr(module, "affordable_rows", watched)
    kept = torch.eye(4)[:3]
    leave_out = LeaveOut("gradient_descent", seed=0, **SETTINGS)
    rewound_probes([model, model], rows, leave_out, kept, torch.Generator().manual_seed(0))
    assert asked == [(3 + 1) * 5 * 2]  # with the network that keeps all groups


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
