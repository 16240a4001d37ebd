from dataclasses import replace

import numpy as np
import pytest
import torch

from sklearn_synset._labels.out_of_fold_scores import _in_folds, _Mean, own_group_objectives
from sklearn_synset._objective.objective import margin
from sklearn_synset._retraining.leave_out import LeaveOut
from sklearn_synset._retraining.rewinding import rewound
from sklearn_synset._retraining.rows_left_out import nearest_in_group
from sklearn_synset._retraining.synset import Synset
from tests.problems import classification_model, mlp, train
from tests.reference import nesterov_by_loop, training_objective

LEAVE_OUT = LeaveOut(rewind=0.5, n_steps=24, batch_size=4096, seed=0)


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


def log_odds(margins_and_shares):
    """Return the log-odds of the mean probability of labels."""
    p = sum(share * torch.sigmoid(values) for values, share in margins_and_shares)
    return torch.logit(p)


def folds_of(problem):
    """Return the fold of each row of the synset, which represents itself."""
    folds = _in_folds(problem[1], LEAVE_OUT.seed)
    return folds.group


def test_objectives_are_of_the_mean_probability_of_networks_trained_by_a_plain_loop(problem):
    model, synset, y, _ = problem
    fold = folds_of(problem)
    plan = replace(LEAVE_OUT, rewind=0.95).plan(model, synset)
    n_steps = round(0.5 * plan.n_steps)
    steps = sorted(set(np.geomspace(3, n_steps, 8).round().astype(int).tolist()))
    assert len(steps) > 3

    def margins_early(kept):
        def gradient(theta):
            point = theta.detach().requires_grad_()
            loss = training_objective(model, synset.X[kept], synset.y[kept], point, 0.01)
            return torch.autograd.grad(loss, point)[0]

        start = rewound(model, 0.95)
        path = [nesterov_by_loop(gradient, start, n, plan.step_size) for n in steps]
        return torch.stack([margin(model(theta, synset.X), y) for theta in path])

    early = torch.stack([margins_early(fold != k) for k in range(int(fold.max()) + 1)])
    without = early[fold, :, range(12)].T
    trained = margin(model(model.theta, synset.X), y)
    parts = [(trained, 2 / 3), *((values, 1 / (3 * len(steps))) for values in without)]
    torch.testing.assert_close(objectives(problem), log_odds(parts))
    assert (without[-1] - margins_early(fold >= 0)[-1]).abs().min() > 1e-4


def test_folds_part_every_group_evenly():
    group = torch.tensor([0] * 16 + [1] * 8 + [2] * 4 + [3] * 2)
    zeros = torch.zeros(30, 1)
    synset = Synset(zeros, zeros, torch.arange(30.0), group, torch.ones(4))
    folds = _in_folds(synset, 0)
    counts = torch.stack([folds.group[group == k].bincount(minlength=8) for k in range(4)])
    assert (counts.max(1).values - counts.min(1).values <= 1).all()
    assert float(folds.group_size.sum()) == float(synset.weight.sum())
    assert folds.n_groups == 8


def test_a_score_stays_finite_where_a_network_is_sure():
    mean = _Mean(2, torch.device("cpu"), is_log_odds=True)
    mean.add(torch.arange(2), torch.tensor([80.0, -1e5]), 1.0)
    assert mean.value[0] == pytest.approx(80.0)
    assert mean.value[1] < -700 and mean.value.isfinite().all()


def test_a_row_is_scored_alike_whatever_the_others_and_the_batches(problem):
    whole = objectives(problem)
    parts = [objectives(problem, rows=rows) for rows in ([0, 5], [7])]
    torch.testing.assert_close(torch.cat(parts), whole[[0, 5, 7]])
    torch.testing.assert_close(
        objectives(problem, leave_out=replace(LEAVE_OUT, batch_size=5)), whole
    )


def test_what_is_left_out_is_next_to_the_row_in_its_own_group(problem):
    _, synset, _, group = problem
    other = (group + 1) % 4
    nearest = nearest_in_group(synset.X, synset.y, other, synset)
    assert (group[nearest] == other).all()
    assert (nearest_in_group(synset.X, synset.y, group, synset) == torch.arange(12)).all()
    fold = folds_of(problem)
    before, after = objectives(problem), objectives(problem, other)
    same = fold[nearest] == fold
    torch.testing.assert_close(after[same], before[same])
    assert ((after - before).abs() > 1e-9).tolist() == (~same).tolist()
