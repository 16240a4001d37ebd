from dataclasses import replace
from itertools import islice

import pytest
import torch

from sklearn_synset._retraining.minibatches import minibatches, n_minibatches
from sklearn_synset._retraining.removal import Retraining, displacements, removal_path
from sklearn_synset._retraining.retraining_plan import plan_retraining
from sklearn_synset._retraining.rewinding import rewound
from sklearn_synset._retraining.synset import Synset
from tests.problems import classification_model
from tests.reference import nesterov_by_loop, training_objective


def synset_of(n_rows, n_groups=4):
    rows = torch.arange(n_rows, dtype=torch.float64)[:, None]
    group = torch.arange(n_rows) % n_groups
    return Synset(rows, rows, rows[:, 0] + 1, group, group.bincount().double())


@pytest.mark.parametrize(("n_rows", "expected"), [(1, 1), (399, 1), (400, 2), (1000, 5)])
def test_minibatches_have_200_rows_or_some_more(n_rows, expected):
    assert n_minibatches(synset_of(n_rows)) == expected


def test_a_small_synset_is_its_own_minibatch():
    synset = synset_of(300)
    assert all(minibatch is synset for minibatch in islice(minibatches(synset, 0), 3))


def test_a_pass_deals_out_every_row_once_in_another_order_each_time():
    synset = synset_of(1000)
    dealt = [minibatch.X[:, 0] for minibatch in islice(minibatches(synset, 0), 10)]
    first, second = torch.cat(dealt[:5]), torch.cat(dealt[5:])
    assert not torch.equal(first, second)
    torch.testing.assert_close(first.sort().values, synset.X[:, 0])
    torch.testing.assert_close(second.sort().values, synset.X[:, 0])


def test_every_minibatch_has_its_share_of_each_group():
    group = torch.cat([torch.full((size,), k) for k, size in enumerate((1, 3, 296, 500))])
    order = torch.randperm(800, generator=torch.Generator().manual_seed(0))
    synset = replace(synset_of(800), group=group[order])
    dealt = list(islice(minibatches(synset, 1), 20))
    for minibatch in dealt:
        found = minibatch.group.bincount(minlength=4)
        assert ((found - torch.tensor([0.25, 0.75, 74, 125])).abs() < 2).all()
    # The start is drawn anew in each pass: a group of one row is not always seen at the same time.
    seen = [step % 4 for step, minibatch in enumerate(dealt) if (minibatch.group == 0).any()]
    assert len(seen) == 5 and len(set(seen)) > 1


def test_rows_keep_their_group_and_the_proportions_of_their_weights():
    synset = synset_of(1000)
    minibatch = next(minibatches(synset, 3))
    rows = minibatch.X[:, 0].long()
    torch.testing.assert_close(minibatch.group, synset.group[rows])
    factor = minibatch.weight / synset.weight[rows]
    torch.testing.assert_close(factor, factor[:1].expand(len(rows)))
    torch.testing.assert_close(minibatch.weight.sum(), synset.weight.sum())
    torch.testing.assert_close(minibatch.group_size, synset.group_size)


@pytest.fixture
def problem():
    """Return a network and a synset of 600 rows, split into three minibatches."""
    model, X, targets = classification_model(600, 0.01)
    group = torch.tensor([0, 0, 1, 1, 1, 2, 2, 2, 3, 3]).repeat(60)
    return model, Synset(X, targets, torch.ones(600).double(), group, group.bincount().to(X))


def test_a_path_equals_a_plain_loop_over_minibatches_without_the_group(problem):
    model, synset = problem
    retraining = Retraining(0.5, n_steps=7, step_size=0.1, seed=5)
    kept = torch.ones(1, 4).double()
    kept[0, 1] = 0
    dealt = minibatches(synset, 5)

    def gradient(theta):
        rows, point = next(dealt), theta.detach().requires_grad_()
        weight = rows.weight * (rows.group != 1)
        outputs = model(point, rows.X)
        losses = -(rows.y * outputs.log_softmax(-1)).sum(-1)
        loss = (weight * losses).sum() / 420 + 0.005 * point.square().sum()
        return torch.autograd.grad(loss, point)[0]

    expected = nesterov_by_loop(gradient, rewound(model, 0.5), 7, 0.1)
    *_, actual = removal_path(model, synset, kept, retraining)
    torch.testing.assert_close(actual[0], expected)


def test_the_last_pass_takes_the_place_of_the_end(problem):
    model, synset = problem
    kept = 1 - torch.eye(4).double()
    retraining = Retraining(0.0, n_steps=7, step_size=0.1)
    everything = torch.ones(1, 4).double()
    path = removal_path(model, synset, torch.cat([everything, kept]), retraining)
    moved = torch.stack([theta[1:] - theta[:1] for theta in path])
    actual = displacements(model, synset, kept, retraining)
    torch.testing.assert_close(actual, moved[-3:].mean(0))
    assert not torch.allclose(actual, moved[-1], rtol=1e-2)


def test_the_plan_stops_at_the_end_of_a_pass(problem):
    model, synset = problem
    plans = [
        plan_retraining(
            model,
            synset,
            rewind=0.5,
            n_steps=60,
            step_size=step_size,
            damping=0.0,
            generator=torch.Generator().manual_seed(7),
        )
        for step_size in (0.02, 0.05, 0.1, 0.2)
    ]
    assert {plan.seed for plan in plans} == {7}
    fitted = [plan.n_steps for plan in plans if plan.n_steps < 60]
    assert fitted
    assert all(n_steps % 3 == 0 for n_steps in fitted)


def test_minibatches_stand_for_all_rows(problem):
    model, synset = problem
    point = model.theta.detach()
    whole = training_objective(model, synset.X, synset.y, point, 0.0)
    parts = list(islice(minibatches(synset, 0), 3))
    losses = [
        (part.weight * -(part.y * model(point, part.X).log_softmax(-1)).sum(-1)).sum() / 600
        for part in parts
    ]
    sizes = torch.tensor([len(part.weight) / 600 for part in parts]).double()
    torch.testing.assert_close((torch.stack(losses) * sizes).sum(), whole)
