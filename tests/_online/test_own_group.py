from dataclasses import replace

import numpy as np
import pytest
import torch

from sklearn_synset._online._leave_out import LeaveOut
from sklearn_synset._online._objective import margin
from sklearn_synset._online._own_group import own_group_objectives
from sklearn_synset._online._rewinding import rewound
from sklearn_synset._synset import Synset
from tests.problems import classification_model, mlp, train
from tests.reference import nesterov_by_loop, training_objective

LEAVE_OUT = LeaveOut(
    solver="gradient_descent",
    rewind=0.5,
    n_steps=24,
    step_size=0.1,
    damping=0.0,
    batch_size=4096,
    seed=0,
)


@pytest.fixture(scope="module")
def problem():
    """Return a network, twelve rows as a synset of four groups, their labels and groups."""
    _, X, targets = classification_model(12)
    loss = torch.nn.CrossEntropyLoss()
    module = train(mlp(), X.numpy(), targets.argmax(1).numpy(), loss, weight_decay=0.01)
    model = classification_model(12, 0.01, module)[0]
    group = torch.arange(12) % 4
    synset = Synset(X, targets, torch.ones(12, dtype=X.dtype), group, group.bincount().to(X))
    return model, synset, targets.argmax(1), group


def objectives(problem, group=None, leave_out=LEAVE_OUT, rows=slice(None)):
    model, synset, y, own = problem
    group = own if group is None else group
    return own_group_objectives(
        model, synset, leave_out, synset.X[rows], y[rows], group[rows], margin
    )


def test_objectives_are_the_mean_of_three_networks_trained_by_a_plain_loop(problem):
    model, synset, y, group = problem
    n_steps = round(0.25 * replace(LEAVE_OUT, rewind=0.95).plan(model, synset).n_steps)
    steps = sorted(set(np.geomspace(3, n_steps, 8).round().astype(int).tolist()))
    assert len(steps) > 3

    def margins_early(kept):
        def gradient(theta):
            point = theta.detach().requires_grad_()
            loss = training_objective(model, synset.X[kept], synset.y[kept], point, 0.01)
            return torch.autograd.grad(loss, point)[0]

        start = rewound(model, 0.95)
        path = [nesterov_by_loop(gradient, start, n, 0.1) for n in steps]
        return torch.stack([margin(model(theta, synset.X), y) for theta in path]).mean(0)

    everything = margins_early(torch.ones(12, dtype=bool))
    without_own = torch.stack([margins_early(group != k) for k in range(4)])[group, range(12)]
    expected = (margin(model(model.theta, synset.X), y) + everything + without_own) / 3
    torch.testing.assert_close(objectives(problem), expected)
    assert (everything - without_own).abs().min() > 1e-3


def test_a_row_is_scored_alike_whatever_the_others_and_the_batches(problem):
    whole = objectives(problem)
    parts = [objectives(problem, rows=rows) for rows in ([0, 5], [7])]
    torch.testing.assert_close(torch.cat(parts), whole[[0, 5, 7]])
    torch.testing.assert_close(
        objectives(problem, leave_out=replace(LEAVE_OUT, batch_size=5)), whole
    )


def test_only_the_own_group_is_left_out(problem):
    group = problem[3].clone()
    before = objectives(problem)
    group[5] = (group[5] + 1) % 4
    changed = (objectives(problem, group) - before).abs() > 1e-9
    assert changed.tolist() == [row == 5 for row in range(12)]


def test_a_solver_of_ones_own_gives_the_ends(problem):
    model, synset, y, group = problem

    def halve(model, synset, kept, retraining):
        return -0.5 * model.theta * (1 - kept).sum(1, keepdim=True)

    scores = objectives(problem, leave_out=replace(LEAVE_OUT, solver=halve))
    ends = [margin(model(share * model.theta, synset.X), y) for share in (1.0, 0.5)]
    torch.testing.assert_close(scores, (2 * ends[0] + ends[1]) / 3)
