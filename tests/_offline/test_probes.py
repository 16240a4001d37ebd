"""Probes on the real rows."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sklearn_synset._offline._anchors import TrainingRows
from sklearn_synset._offline._probes import probes_of_networks, rewound_probes, sample_of_rows
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
