"""From training rows to a synset: how many rows it starts from, what it goes on from, its bar."""

import pytest
import torch
from sklearn_synset._probes.offline_stage import run_offline_stage

from sklearn_synset._data.training_data import TrainingRows
from sklearn_synset._distillation import distil
from sklearn_synset._distillation import distilled_synset as module
from sklearn_synset._distillation.distilled_synset import Distillation, will_distil
from sklearn_synset._objective.objective import margin
from sklearn_synset._probes.probes import Probes
from sklearn_synset._retraining.leave_out import LeaveOut
from tests.problems import classification_model

SIZES = [1, 5, 9, 33]
LEAVE_OUT = LeaveOut("gradient_descent", 0.5, 5, 0.1, 0.0, batch_size=100, seed=0)


def distilled(max_iter=3, size="auto", former=None, verbose=0, tol=0.0):
    model, X, targets = classification_model(48, 0.01)
    rows = TrainingRows(X, targets, list(torch.arange(48).split(SIZES)), 100)
    how = Distillation(size, "centroid", "squared_error", max_iter, 0.05, tol, verbose)
    nothing = Probes(torch.ones(0, 4), [torch.ones(0, model.n_parameters)], [{}])
    generator = torch.Generator().manual_seed(0)
    return run_offline_stage(
        [model], rows, targets.argmax(1), LEAVE_OUT, how, nothing, margin, generator, former
    )


@pytest.mark.parametrize(
    ("size", "expected"), [("auto", [1, 2, 3, 6]), (2, [1, 2, 2, 2]), (9, [1, 5, 9, 9])]
)
def test_a_group_has_as_many_synset_rows_as_asked_for(size, expected):
    # By default a quarter of the rows, shared out by the roots of the sizes.
    synset = distilled(0, size).synset
    assert synset.group.bincount().tolist() == expected
    assert synset.group_size.tolist() == SIZES


@pytest.mark.parametrize(
    ("most", "of_few", "expected"),
    [(4, 9, [1, 2, 2, 2]), (16, 9, [1, 3, 4, 4]), (16, 3, [1, 3, 3, 3])],
)
def test_few_groups_have_more_rows_each(monkeypatch, most, of_few, expected):
    monkeypatch.setattr(module, "_LARGEST_AUTO_SIZE", 2)
    monkeypatch.setattr(module, "_LARGEST_OF_FEW", of_few)
    monkeypatch.setattr(module, "_MOST_AUTO_ROWS", most)
    assert distilled(0).synset.group.bincount().tolist() == expected


@pytest.mark.parametrize(
    ("size", "max_iter", "expected"),
    [("auto", 0, False), ("auto", 1, True), (9, "auto", True), (42, "auto", False)],
)
def test_whether_rows_will_be_moved_is_known_beforehand(monkeypatch, size, max_iter, expected):
    monkeypatch.setattr(distil, "_FULL_STEPS_ROWS", 10)  # 40 rows are too many
    rows = TrainingRows(torch.zeros(96, 2), torch.zeros(96, 3), [torch.arange(48)] * 2, 100)
    how = Distillation(size, "centroid", "squared_error", max_iter, 0.05, 0.0, 0)
    assert will_distil(rows, how) is expected


def test_a_distillation_goes_on_from_the_former_one_or_starts_anew():
    first = distilled(3).distilled
    further = distilled(5, former=first).distilled
    assert further.candidates[0] is first.candidates[0]
    assert further.loss_curve[:3] == first.loss_curve and len(further.loss_curve) == 5
    assert torch.equal(distilled(3).synset.X, first.candidates[-1].X)


def test_no_bar_is_drawn_unless_asked_for(capsys):
    distilled()
    assert capsys.readouterr() == ("", "")


def test_a_bar_counts_the_steps_that_are_left_and_tells_the_distance(capsys):
    first = distilled(3, verbose=1).distilled
    shown = capsys.readouterr().err
    assert "Distilling:   0%|          | 0/3 [" in shown
    assert "Distilling: 100%|██████████| 3/3 [" in shown
    assert f"distance={first.loss_curve[-1]:.3g}]" in shown
    distilled(7, former=first, verbose=1)
    shown = capsys.readouterr().err
    assert "Distilling:   0%|          | 0/4 [" in shown
    assert "Distilling: 100%|██████████| 4/4 [" in shown


def test_a_bar_of_steps_that_tol_ended_comes_to_its_end(capsys):
    n_taken = len(distilled(400, verbose=1, tol=1e9).distilled.loss_curve)
    assert n_taken < 400
    assert f"Distilling: 100%|██████████| {n_taken}/{n_taken} [" in capsys.readouterr().err
