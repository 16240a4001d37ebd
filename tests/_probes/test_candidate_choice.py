from dataclasses import replace

import pytest
import torch
from sklearn_synset._probes.candidate_choice import choose_candidate
from sklearn_synset._probes.probe_choice import draw_probes

from sklearn_synset._distillation.distil import Distilled
from sklearn_synset._objective.objective import resolve_objective
from sklearn_synset._probes.probes import Probes
from sklearn_synset._retraining.leave_out import LeaveOut
from sklearn_synset._retraining.synset import Synset
from tests.problems import classification_model

LEAVE_OUT = LeaveOut("gradient_descent", 0.5, 20, 0.2, 0.0, batch_size=100, seed=0)


@pytest.fixture(scope="module")
def problem():
    """Return a network, its rows as a synset of six groups, four of them probed, and labels."""
    model, X, targets = classification_model(60, weight_decay=0.01)
    codes = torch.arange(60) % 6
    synset = Synset(X, targets, torch.ones(60).double(), codes, torch.bincount(codes).double())
    kept = draw_probes(6, 4, torch.Generator().manual_seed(0)).double()
    moved = LEAVE_OUT.displacements(model, synset, kept, LEAVE_OUT.plan(model, synset))
    return model, synset, Probes(kept, [model.theta + moved], [{}]), targets.argmax(1)


def choose(problem, candidates, probes=None):
    model, synset, measured, y = problem
    return choose_candidate(
        [model],
        Distilled(candidates),
        measured if probes is None else probes,
        LEAVE_OUT,
        synset.X,
        y,
        resolve_objective("margin", model.loss),
        torch.Generator().manual_seed(0),
    )


def other_groups(synset):
    """Return the same rows, each in the next group: effects go to the wrong groups."""
    return replace(synset, group=(synset.group + 1) % synset.n_groups)


def test_a_distillation_that_failed_gives_way_to_the_starting_rows(problem):
    start, failed = problem[1], other_groups(problem[1])
    assert choose(problem, [start, failed]) is start


def test_the_distilled_synset_is_taken_where_it_agrees_better(problem):
    start, distilled = other_groups(problem[1]), problem[1]
    assert choose(problem, [start, distilled]) is distilled


def test_a_little_less_agreement_is_no_reason_to_keep_the_starting_rows(problem):
    start = problem[1]
    noise = torch.randn(60, generator=torch.Generator().manual_seed(0)).double()
    distilled = start.with_rows(start.X, start.y, start.weight * (1 + 0.02 * noise))
    assert choose(problem, [start, distilled]) is distilled


def test_without_two_probes_nothing_is_chosen(problem):
    start, distilled = problem[1], other_groups(problem[1])
    one = Probes(problem[2].kept[:1], [problem[2].theta[0][:1]], [{}])
    assert choose(problem, [start, distilled], one) is distilled


def test_two_probes_are_enough_to_choose_by(problem):
    start, failed = problem[1], other_groups(problem[1])
    two = Probes(problem[2].kept[:2], [problem[2].theta[0][:2]], [{}])
    assert choose(problem, [start, failed], two) is start


def test_without_a_distillation_the_starting_rows_are_taken(problem):
    assert choose(problem, [problem[1]]) is problem[1]
