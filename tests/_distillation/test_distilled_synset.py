"""From training rows to a synset: how many rows it starts from, and its progress bar."""

import numpy as np
import pytest
import torch

from sklearn_synset._data.training_data import TrainingRows
from sklearn_synset._distillation import distilled_synset as module
from sklearn_synset._distillation.distilled_synset import (
    Distillation,
    distil_synset,
    starting_synset,
    whole_synset,
)
from sklearn_synset._retraining.leave_out import LeaveOut
from tests.problems import classification_model

SIZES = [1, 5, 9, 33]
LEAVE_OUT = LeaveOut(0.5, 5, batch_size=100, seed=0)


def problem():
    model, X, targets = classification_model(48, 0.01)
    return model, TrainingRows(X, targets, list(torch.arange(48).split(SIZES)), 100)


def distilled(max_iter=3, size="auto", verbose=0, tol=0.0):
    model, rows = problem()
    how = Distillation(size, "centroid", "squared_error", max_iter, 0.05, tol, verbose)
    generator = torch.Generator().manual_seed(0)
    start = starting_synset(model, rows, how, generator)
    return distil_synset([model], rows, start, LEAVE_OUT, how, generator)


def test_the_whole_synset_is_the_rows_in_their_order():
    _, rows = problem()
    synset = whole_synset(rows)
    assert torch.equal(synset.X, rows.X) and torch.equal(synset.y, rows.targets)
    assert (synset.weight == 1).all() and synset.group_size.tolist() == SIZES
    for group, members in enumerate(rows.rows_by_group):
        assert (synset.group[members] == group).all()


@pytest.mark.parametrize(
    ("size", "expected"), [("auto", [1, 2, 3, 6]), (2, [1, 2, 2, 2]), (9, [1, 5, 9, 9])]
)
def test_a_group_has_as_many_synset_rows_as_asked_for(size, expected):
    # By default a quarter of the rows, shared out by the roots of the sizes.
    synset = distilled(0, size).synset
    assert synset.group.bincount().tolist() == expected
    assert synset.group_size.tolist() == SIZES


@pytest.mark.parametrize(("n_groups", "expected"), [(5, 250), (40, 125), (200, 50)])
def test_few_groups_have_more_rows_each(n_groups, expected):
    how = Distillation("auto", "centroid", "cosine", 0, 0.05, 0.0, 0)
    sizes = module._synset_sizes(np.full(n_groups, 2000), how)
    assert sizes.tolist() == [expected] * n_groups


def test_no_bar_is_drawn_unless_asked_for(capsys):
    distilled()
    assert capsys.readouterr() == ("", "")


def test_a_bar_counts_the_steps_and_shows_the_distance(capsys):
    found = distilled(3, verbose=1)
    shown = capsys.readouterr().err
    assert "Distilling:   0%|          | 0/3 [" in shown
    assert "Distilling: 100%|██████████| 3/3 [" in shown
    assert f"distance={found.loss_curve[-1]:.3g}]" in shown


def test_a_bar_of_steps_that_tol_ended_comes_to_its_end(capsys):
    n_taken = len(distilled(400, verbose=1, tol=1e9).loss_curve)
    assert n_taken < 400
    assert f"Distilling: 100%|██████████| {n_taken}/{n_taken} [" in capsys.readouterr().err
