"""Probes on the real rows: which groups, and what leaving them out does."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_synset._data.training_data import TrainingRows
from sklearn_synset._objective.network_set import NetworkSet
from sklearn_synset._objective.objective import margin
from sklearn_synset._probes.probes import (
    Probes,
    draw_probes,
    no_probes,
    probe_blocks,
    replayed_probes,
)
from sklearn_synset._probes.rewound_probes import rewound_probes
from sklearn_synset._replay.leave_out import replay_plans
from sklearn_synset._retraining.leave_out import LeaveOut
from sklearn_synset._retraining.removal import displacements
from sklearn_synset._retraining.row_sample import affordable_rows, sample_of_rows
from tests.problems import functional, mlp, small_conv
from tests.replayed import fitted_by_hand, small_net, trained_model

HOW = LeaveOut(rewind=0.5, n_steps=5, batch_size=7, seed=0)


@pytest.fixture
def problem():
    rng = np.random.RandomState(0)
    X, y = rng.randn(12, 4), np.arange(12) % 3
    model = functional(mlp(), X, y, np.arange(3), weight_decay=0.01)
    targets = torch.eye(3, dtype=torch.float64)[torch.from_numpy(y)]
    members = [torch.arange(k, 12, 4) for k in range(4)]
    return model, TrainingRows(torch.from_numpy(X), targets, members, 7), torch.from_numpy(y)


def generator():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize(("n_probes", "n_drawn"), [(0, 0), (5, 5), (9, 9), (20, 17)])
def test_every_probe_leaves_out_a_group_of_its_own(n_probes, n_drawn):
    kept = draw_probes(17, n_probes, generator())
    assert kept.shape == (n_drawn, 17)
    assert ((1 - kept).sum(1) == 1).all() and ((1 - kept).sum(0) <= 1).all()
    assert (kept.argmin(1).diff() > 0).all()


def test_all_groups_are_drawn_sooner_or_later():
    draw = generator()
    assert sum(draw_probes(5, 2, draw) == 0 for _ in range(50)).any(0).all()


def test_a_probe_is_the_network_trained_again_without_its_groups(problem):
    model, rows, y = problem
    kept = torch.tensor([[1.0, 0, 1, 1], [0, 1, 1, 0]], dtype=torch.float64)
    probes = rewound_probes([model], rows, HOW, kept, generator())
    everything = sample_of_rows(rows, 12, torch.Generator().manual_seed(1))
    moves = displacements(model, everything, kept, HOW.plan(model, everything))
    expected = torch.cat([model.theta[None], model.theta + moves])
    torch.testing.assert_close(probes.networks[0].theta, expected)
    assert list(probes.groups) == [0, 1, 3] and len(probes) == 2
    effects = probes.effects([model], rows.X, y, margin, batch_size=5)
    with torch.no_grad():
        values = [margin(model(theta, rows.X), y) for theta in expected]
    found = torch.stack([values[0] - values[1], values[0] - values[2]], 1)
    np.testing.assert_allclose(effects, found.numpy()[None])


def test_effects_are_those_of_each_seed(problem):
    model, rows, y = problem
    rng = generator()

    def moved():
        noise = torch.randn(3, model.n_parameters, generator=rng, dtype=torch.float64)
        return NetworkSet(model.theta + 0.1 * noise)

    kept, sets = torch.ones(2, 4), [moved(), moved()]
    single = [
        Probes(kept, [each]).effects([model], rows.X, y, margin, batch_size=100) for each in sets
    ]
    for models in ([model], [model, model]):
        both = Probes(kept, sets).effects(models, rows.X, y, margin, batch_size=100)
        np.testing.assert_allclose(both, np.concatenate(single))
    assert np.abs(single[0] - single[1]).max() > 1e-3


def test_without_probes_nothing_is_trained(problem):
    model, rows, y = problem
    how = replace(HOW, rewind="no number")
    probes = rewound_probes([model], rows, how, torch.ones(0, 4), torch.Generator())
    for each in (probes, no_probes(torch.ones(0, 4), [model])):
        assert len(each) == 0 and each.effects([model], rows.X, y, margin, 5).shape == (1, 12, 0)
    assert probe_blocks(torch.ones(0, 4), 0, 2) == []


def test_probes_have_the_statistics_of_their_own_normalisation():
    X, y = np.random.RandomState(0).randn(6, 1, 4, 4), np.arange(6) % 3
    model, other = (functional(small_conv(), X, y, np.arange(3)) for _ in range(2))
    other.module[1].running_mean.add_(1.0)
    means = torch.stack([each.module[1].running_mean for each in (model, model, other)])
    thetas = model.theta.expand(3, -1)
    probes = Probes(torch.ones(2, 4), [NetworkSet(thetas, {"1.running_mean": means})])
    rows, labels = torch.from_numpy(X), torch.from_numpy(y)
    effects = probes.effects([model], rows, labels, margin, 4)
    with torch.no_grad():
        outputs = [each(each.theta, rows) for each in (model, other)]
    assert (effects[0, :, 0] == 0).all()
    expected = (margin(outputs[0], labels) - margin(outputs[1], labels)).numpy()
    np.testing.assert_allclose(effects[0, :, 1], expected)


def test_replayed_probes_are_nets_trained_without_their_groups_from_other_seeds():
    net, X, y, groups = small_net(batch_size=16)
    model, rows = trained_model(net, X, y, groups, seed=3)
    kept = draw_probes(4, 2, generator()).double()
    plans = replay_plans([model], [model.recipe], rows, 1, 0, None, 0)
    probes = replayed_probes(model, plans[0], kept, probe_blocks(kept, 11, 2))
    removed = [kept_groups == 0 for kept_groups in torch.cat([torch.ones(1, 4), kept])]
    assert len(probes.networks) == 2
    for seed, networks in zip((11, 12), probes.networks, strict=True):
        for theta, group in zip(networks.theta, removed, strict=True):
            is_kept = ~np.isin(groups, np.flatnonzero(group.numpy()))
            expected = fitted_by_hand(net, X, y, seed=seed, kept=is_kept)
            torch.testing.assert_close(theta, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(
    ("n_features", "hidden", "expected"), [(4, 5, 10_000), (2**12, 5, 1928), (4, 2**14, 500)]
)
def test_as_many_rows_are_probed_as_can_be_afforded(n_features, hidden, expected):
    X, y = np.zeros((6, n_features)), np.arange(6) % 3
    model = functional(mlp(n_features, n_hidden=hidden), X, y, np.arange(3))
    assert affordable_rows(model, torch.from_numpy(X)) == expected


def test_fewer_rows_are_probed_where_the_curvature_is_steady():
    X, y = np.zeros((6, 4)), np.zeros(6)
    layer = functional(nn.Linear(4, 1).double(), X, y, None)
    assert affordable_rows(layer, torch.from_numpy(X)) == 2000


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
