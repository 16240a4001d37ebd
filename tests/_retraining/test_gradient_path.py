"""Points of the retraining path, and gradients of rows and groups along it."""

import pytest
import torch

from sklearn_synset._data.training_data import TrainingRows
from sklearn_synset._retraining.gradient_path import retraining_path, row_gradients
from sklearn_synset._retraining.removal import Retraining, removal_path
from sklearn_synset._retraining.rewinding import rewound
from sklearn_synset._retraining.synset import Synset
from tests.problems import classification_model, regression_model
from tests.reference import gradients_by_loop, nesterov_by_loop

N_ROWS = 12
CODES = torch.arange(N_ROWS) % 3


def problem(build):
    """Return a network, its rows as a synset, and as training rows of three groups."""
    model, X, targets = build(N_ROWS, 0.01)
    synset = Synset(X, targets, torch.ones(N_ROWS).to(X), CODES, CODES.bincount().to(X))
    by_group = [(CODES == code).nonzero()[:, 0] for code in range(3)]
    return model, synset, TrainingRows(X, targets, by_group, 5)


@pytest.mark.parametrize("build", [classification_model, regression_model])
def test_gradients_of_rows_equal_a_loop(build):
    model, X, targets = build(N_ROWS)
    actual = row_gradients(model, 0.7 * model.theta, X, targets)
    expected = gradients_by_loop(model, 0.7 * model.theta, X, targets)
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("n_steps", [1, 2, 7, 20])
def test_each_step_of_the_path_counts_by_what_it_can_still_move(n_steps):
    model, synset, rows = problem(classification_model)
    retraining = Retraining(0.5, n_steps, 0.05)
    X, targets = rows.X, rows.targets
    path = retraining_path(model, synset, retraining)
    points = [rewound(model, 0.5)]
    everything = torch.ones(1, 3, dtype=X.dtype)
    points += [theta[0] for theta in removal_path(model, synset, everything, retraining)]
    # Where plain descent ends that is pushed by one unit in one step only.
    reach = []
    for pushed in range(n_steps):
        step = iter(range(n_steps))
        push = lambda _, step=step, pushed=pushed: torch.tensor(float(next(step) == pushed))  # noqa: E731
        reach.append(-float(nesterov_by_loop(push, torch.tensor(0.0), n_steps, 0.05)))
    assert path.damping == pytest.approx(2 / sum(reach))
    times = sorted({0} | {round(n_steps ** (part / 5)) for part in range(1, 6)})
    at_anchors = {time: gradients_by_loop(model, points[time], X, targets) for time in times}
    expected = torch.zeros_like(at_anchors[0])
    for step, weight in enumerate(reach):
        before = max(time for time in times if time <= step)
        after = min(time for time in times if time > step)
        part = (step - before) / (after - before)
        between = (1 - part) * at_anchors[before] + part * at_anchors[after]
        expected += weight / sum(reach) * between
    torch.testing.assert_close(path.gradients(model, X, targets), expected)


@pytest.mark.parametrize("build", [classification_model, regression_model])
def test_gradients_of_groups_are_sums_over_their_rows(build):
    model, synset, rows = problem(build)
    path = retraining_path(model, synset, Retraining(0.5, 9, 0.05))
    of_rows = path.gradients(model, rows.X, rows.targets)
    expected = torch.stack([of_rows[CODES == code].sum(0) / N_ROWS for code in range(3)])
    torch.testing.assert_close(path.group_gradients(model, rows), expected)
