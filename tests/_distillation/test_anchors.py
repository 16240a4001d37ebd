from dataclasses import replace

import pytest
import torch

from sklearn_synset._data.training_data import TrainingRows
from sklearn_synset._distillation.anchors import Norm, draw_anchors
from sklearn_synset._distillation.distance import squared_error
from sklearn_synset._retraining import checkpoints as module
from sklearn_synset._retraining.removal import Retraining, removal_path
from sklearn_synset._retraining.rewinding import rewound
from sklearn_synset._retraining.synset import Synset
from tests.problems import classification_model

RETRAINING = Retraining(rewind=0.5, n_steps=9, step_size=0.3)
N_GROUPS = 10


@pytest.fixture
def problem():
    """Return a network, a synset that is all rows in ten groups, and the rows."""
    model, X, targets = classification_model(30, 0.01)
    group = torch.arange(30) % N_GROUPS
    size = torch.full((N_GROUPS,), 3.0).double()
    synset = Synset(X, targets, torch.ones(30).double(), group, size)
    rows = [(group == k).nonzero()[:, 0] for k in range(N_GROUPS)]
    return model, synset, TrainingRows(X, targets, rows, 7)


def draw(problem, n_anchors, seed=0, whiten=lambda gradients: gradients):
    generator = torch.Generator().manual_seed(seed)
    norm = Norm(whiten, squared_error)
    return draw_anchors(*problem, RETRAINING, norm, n_anchors, generator)


@pytest.mark.parametrize("n_anchors", [1, 2, 3, 8])
def test_the_first_anchors_are_the_rewound_and_the_trained_weights(problem, n_anchors):
    anchors = draw(problem, n_anchors)
    assert len(anchors) == n_anchors
    fixed = [rewound(problem[0], 0.5), problem[0].theta]
    for anchor, theta in zip(anchors, fixed, strict=False):
        torch.testing.assert_close(anchor.theta, theta)


def test_an_anchor_holds_the_whitened_gradient_of_every_group_there(problem):
    model, _, rows = problem
    for anchor in draw(problem, 4, whiten=lambda gradients: 3 * gradients):
        for k, members in enumerate(rows.rows_by_group):
            point = anchor.theta.detach().requires_grad_()
            log_p = model(point, rows.X[members]).log_softmax(-1)
            loss = -(rows.targets[members] * log_p).sum() / 30
            expected = 3 * torch.autograd.grad(loss, point)[0]
            torch.testing.assert_close(anchor.gradients[k], expected)


@pytest.mark.parametrize("seed", range(5))
def test_drawn_anchors_are_spread_over_the_paths_in_the_logarithm_of_time(problem, seed):
    model, synset, _ = problem
    everything = synset.group_size.new_ones(1, N_GROUPS)
    path = [theta[0].clone() for theta in removal_path(model, synset, everything, RETRAINING)]
    steps = [
        step
        for anchor in draw(problem, 8, seed)[2:]
        for step, theta in enumerate(path, 1)
        if torch.allclose(anchor.theta, theta)
    ]
    # Anchors 0, 2 and 4 of six are on this path, each within its sixth of log(9).
    assert len(steps) >= 3
    bounds = [(1, 9 ** (1 / 6)), (9 ** (2 / 6), 9 ** (3 / 6)), (9 ** (4 / 6), 9 ** (5 / 6))]
    for low, high in bounds:
        assert any(round(low) <= step <= round(high) for step in steps)


@pytest.mark.parametrize(("norms", "n_found"), [(1e6, 2), (5, 8)])
def test_points_of_paths_that_diverge_are_left_out(problem, monkeypatch, norms, n_found):
    theta = 5 * problem[0].theta  # far from small
    problem = replace(problem[0], theta=theta), *problem[1:]
    point = norms * theta[None]

    def path(model, synset, kept, retraining):
        for _ in range(retraining.n_steps):
            yield point.expand(len(kept), -1)

    monkeypatch.setattr(module, "removal_path", path)
    assert len(draw(problem, 8)) == n_found
