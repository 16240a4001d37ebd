from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from sklearn_synset._retraining import removal as module
from sklearn_synset._retraining.preconditioning.preconditioner import Preconditioner
from sklearn_synset._retraining.removal import Retraining, displacements, mean_loss, removal_path
from sklearn_synset._retraining.rewinding import rewound
from sklearn_synset._retraining.synset import Synset
from tests.problems import classification_model, regression_model
from tests.reference import nesterov_by_loop, training_objective

CODES = torch.tensor([0, 0, 1, 1, 1, 2, 2, 2, 3, 3])


def problem(build, weight_decay=0.01):
    """Return a network, and its training rows as a synset of four groups."""
    model, X, targets = build(len(CODES), weight_decay)
    weight = torch.ones(len(X), dtype=X.dtype)
    return model, Synset(X, targets, weight, CODES, CODES.bincount().to(X))


def masks(*removed):
    kept = torch.ones(len(removed), 4, dtype=torch.float64)
    for row, groups in enumerate(removed):
        kept[row, list(groups)] = 0
    return kept


@pytest.mark.parametrize("rewind", [0.0, 0.5])
@pytest.mark.parametrize("build", [classification_model, regression_model])
def test_displacements_equal_plain_loops_of_nesterov_steps(build, rewind):
    model, synset = problem(build)
    retraining = Retraining(rewind, n_steps=7, step_size=0.1)
    removed = [(0,), (2,), (1, 3)]
    paths = []
    for groups in [(), *removed]:
        kept = torch.tensor([int(code) not in groups for code in CODES])

        def gradient(theta, kept=kept):
            point = theta.detach().requires_grad_()
            loss = training_objective(
                model, synset.X[kept], synset.y[kept], point, model.weight_decay
            )
            return torch.autograd.grad(loss, point)[0]

        start = rewound(model, rewind)
        ends = [nesterov_by_loop(gradient, start, n_steps, 0.1) for n_steps in range(1, 8)]
        paths.append(torch.stack(ends))
    moved = torch.stack(paths[1:]) - paths[0]
    expected, mean = moved[:, -1], moved.mean(1)
    if rewind:
        mean = mean * expected.norm(dim=1, keepdim=True) / mean.norm(dim=1, keepdim=True)
        expected = (expected + mean) / 2
    actual = displacements(model, synset, masks(*removed), retraining)
    torch.testing.assert_close(actual, expected)
    assert (actual.abs().amax(1) > 1e-4).all()


def test_removing_nothing_displaces_nothing_exactly():
    model, synset = problem(classification_model)
    moved = displacements(model, synset, masks((1,), (), (0,)), Retraining(0.5, 5, 0.1))
    assert not moved[1].any()
    assert moved[0].any() and moved[2].any()


def test_removals_do_not_see_each_other():
    model, synset = problem(classification_model)
    kept, retraining = masks((0,), (1,), (2, 3)), Retraining(0.5, 5, 0.1)
    together = displacements(model, synset, kept, retraining)
    alone = torch.cat([displacements(model, synset, part, retraining) for part in kept.split(1)])
    torch.testing.assert_close(together, alone)


def test_permuting_the_groups_permutes_the_displacements():
    model, synset = problem(classification_model)
    order = torch.tensor([2, 0, 3, 1])
    renamed = Synset(
        synset.X,
        synset.y,
        synset.weight,
        torch.argsort(order)[synset.group],
        synset.group_size[order],
    )
    kept, retraining = masks((0,), (1,), (2,), (3,)), Retraining(0.5, 5, 0.1)
    before = displacements(model, synset, kept, retraining)
    torch.testing.assert_close(displacements(model, renamed, kept, retraining), before[order])


def test_the_loss_is_a_mean_over_the_rows_that_are_kept():
    model, synset = problem(classification_model, weight_decay=0.1)
    theta = 0.5 * model.theta
    rows = CODES != 1
    expected = training_objective(model, synset.X[rows], synset.y[rows], theta, 0.1)
    torch.testing.assert_close(mean_loss(model, synset, 0.0, theta, masks((1,))[0]), expected)


def test_damping_pulls_towards_the_trained_weights():
    model, synset = problem(classification_model)
    kept = masks(())[0]
    theta = 0.5 * model.theta
    plain, damped = (mean_loss(model, synset, mu, theta, kept) for mu in (0.0, 3.0))
    torch.testing.assert_close(damped - plain, 1.5 * (theta - model.theta).square().sum())
    moves = [
        displacements(model, synset, masks((0,)), Retraining(0.0, 50, 0.02, mu)).norm()
        for mu in (0.0, 3.0)
    ]
    assert moves[1] < 0.9 * moves[0]


def test_a_path_yields_every_step_and_starts_at_the_rewound_weights():
    model, synset = problem(regression_model)
    path = list(removal_path(model, synset, masks((), (0,)), Retraining(0.5, 4, 1e-12)))
    assert len(path) == 4
    for theta in path:
        start = rewound(model, 0.5).expand(2, -1)
        torch.testing.assert_close(theta, start, rtol=0, atol=1e-9)


def test_time_that_is_too_short_for_a_step_is_a_step():
    plan, other = Retraining(0.5, 10, 0.1), Retraining(0.5, 2, 0.001)
    assert plan.as_long_as(other, 100).n_steps == 1
    assert plan.as_long_as(Retraining(0.5, 7, 0.3), 100).n_steps == 21
    assert plan.as_long_as(Retraining(0.5, 7, 0.3), 12).n_steps == 12


def test_no_direction_is_stretched_to_none():
    length, direction = torch.tensor([[3.0, 4.0], [0.0, 2.0]]), torch.tensor([[0.0, 0.1], [0, 0]])
    found = module._as_long_as(length, direction)
    torch.testing.assert_close(found, torch.tensor([[0.0, 5.0], [0.0, 0.0]]))


def scaled_by(scale):
    return Preconditioner(scale, None)


def test_a_preconditioner_scales_the_steps_of_each_weight():
    model, synset = problem(classification_model)
    generator = torch.Generator().manual_seed(0)
    scale = torch.rand(model.n_parameters, generator=generator, dtype=torch.float64)
    plan = Retraining(0.5, 7, 0.1, 0.02, preconditioner=scaled_by(scale))

    def gradient(theta):
        point = theta.detach().requires_grad_()
        loss = training_objective(model, synset.X, synset.y, point, model.weight_decay)
        loss = loss + 0.01 * (point - model.theta).square().sum()
        return scale * torch.autograd.grad(loss, point)[0]

    expected = nesterov_by_loop(gradient, rewound(model, 0.5), 7, 0.1)
    *_, last = removal_path(model, synset, masks(()), plan)
    torch.testing.assert_close(last[0], expected)


def test_beyond_the_fit_only_directions_follow():
    model, synset = problem(classification_model)
    kept = masks((0,), (1,), ())
    plain = Retraining(0.5, 9, 0.1)
    path = torch.stack(list(removal_path(model, synset, masks((), (0,), (1,), ()), plain)))
    moved = path[:, 1:] - path[:, :1]
    longer = displacements(model, synset, kept, replace(plain, n_fitted=6))
    whole = displacements(model, synset, kept, plain)
    factor = moved[5].norm(dim=1) / moved[8].norm(dim=1)
    torch.testing.assert_close(longer[:2], factor[:2, None] * whole[:2])
    assert (longer[2] == 0).all() and (factor[:2] < 0.99).all()
    torch.testing.assert_close(
        displacements(model, synset, kept, replace(plain, n_fitted=9)), whole
    )


def test_steps_that_are_shortened_for_a_remainder_cover_the_time():
    asked = []
    remainder = SimpleNamespace(
        largest_curvature=11.5, slower=lambda factor: asked.append(factor) or "slower"
    )
    plan = Retraining(0.5, n_steps=5, step_size=0.1).with_remainder(remainder)
    factor = 0.1 * 11.5 / module._REMAINDER_STEP
    assert asked == [pytest.approx(factor)] and factor > 1 and (5 * factor) % 1 > 0.1
    assert plan.n_steps == int(5 * factor) + 1
    assert plan.step_size == pytest.approx(0.1 / factor)
    assert plan.remainder == "slower"
