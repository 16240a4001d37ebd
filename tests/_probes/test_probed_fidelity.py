"""What is made of the probes: a summary, and warnings."""

import re
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Bunch

from sklearn_synset._objective.network_set import NetworkSet
from sklearn_synset._objective.objective import margin
from sklearn_synset._probes import probed_fidelity as module
from sklearn_synset._probes.probed_fidelity import (
    beats_a_constant,
    fidelity_on_some_rows,
    measured_fidelity,
    warn_if_unfaithful,
)
from sklearn_synset._probes.probes import Probes, no_probes
from sklearn_synset._statistics.jackknife import jackknife_error, t_interval
from sklearn_synset._statistics.retraining_agreement import agreement_with_mean
from sklearn_synset._statistics.slope import least_squares_slope
from tests.problems import classification_model

REPLAY = SimpleNamespace(solver="replay", is_whole=True)


@pytest.fixture
def measured():
    return np.random.RandomState(0).randn(2, 40, 8)


def fidelity_of(predicted, measured, is_own=False):
    is_own = np.broadcast_to(is_own, predicted.shape)
    return Bunch(**measured_fidelity(predicted, measured, is_own), beats_constant=True)


def warned_of(fidelity, plan=REPLAY):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_if_unfaithful(fidelity, plan)
    assert all(each.category is ConvergenceWarning for each in caught)
    return [str(each.message) for each in caught]


def test_right_predictions_are_not_warned_of(measured):
    effects = measured.mean(0)
    seeds = effects + 0.1 * measured
    assert warned_of(fidelity_of(1.2 * effects, seeds)) == []


def test_another_order_is_warned_of_with_its_number(measured):
    fidelity = fidelity_of(measured.mean(0)[:, ::-1], measured)
    (message,) = warned_of(fidelity)
    assert f"rank correlation {fidelity.rank_correlation:.2f}, between" in message


@pytest.mark.parametrize(("factor", "expected"), [(0.25, "4.00"), (4.0, "0.25")])
def test_another_size_is_warned_of_with_its_number(measured, factor, expected):
    effects = measured[:1].repeat(2, 0)
    (message,) = warned_of(fidelity_of(factor * effects[0], effects))
    assert f"measured effects are {expected} times" in message


def test_a_size_that_is_not_known_is_not_warned_of():
    rng = np.random.RandomState(0)
    predicted = rng.randn(4, 3)
    fidelity = fidelity_of(predicted, (predicted * [0.1, 4.0, 0.1] + rng.randn(4, 3))[None])
    fidelity.rank_correlation = 0.9
    assert fidelity.slope_interval[0] < 1 < fidelity.slope_interval[1]
    assert warned_of(fidelity) == []


def test_without_probes_nothing_is_known_and_nothing_warned_of():
    model, X, targets = classification_model(5)
    probes = no_probes(torch.ones(0, 3), [model], "of a reason")
    fidelity = fidelity_with(model, X, targets, probes)
    assert np.isnan(fidelity.rank_correlation) and np.isnan(fidelity.slope)
    assert np.isnan(fidelity.slope_interval).all() and np.isnan(fidelity.between_seeds)
    assert fidelity.reason == "of a reason" and len(fidelity.groups) == 0
    assert warned_of(fidelity) == []


def test_probes_that_are_rewound_in_the_place_of_a_training_measure_no_fidelity():
    model, X, targets = classification_model(5)
    moved = model.theta * torch.tensor([[1.0], [0.9], [1.2]])
    found = [
        fidelity_with(model, X, targets, Probes(1 - torch.eye(3)[1:], [NetworkSet(moved)], reason))
        for reason in ("", "too expensive")
    ]
    assert list(found[0].groups) == [6, 7] and len(found[1].groups) == 0
    assert np.isfinite(found[0].rank_correlation) and np.isnan(found[1].rank_correlation)


def test_the_order_is_that_of_several_retrainings_with_a_jackknife_interval(measured):
    predicted = measured.mean(0) + np.random.RandomState(1).randn(40, 8)
    found = fidelity_of(predicted, measured)
    expected = agreement_with_mean(predicted, measured)
    error = jackknife_error(agreement_with_mean, predicted, measured)
    assert found.rank_correlation == expected
    assert found.rank_correlation_interval == t_interval(expected, error, 8)
    assert found.between_seeds == pytest.approx(agreement_with_mean(measured[0], measured[1:]))


def test_the_size_is_uncertain_by_groups_seeds_and_rows_own_groups(measured):
    def slope(a, b):
        return least_squares_slope(a, b)[0]

    predicted = measured.mean(0) + np.random.RandomState(1).randn(40, 8)
    seeds, is_own = measured * [[[2.0]], [[1.0]]], np.arange(40)[:, None] % 8 == np.arange(8)
    found, mean = fidelity_of(predicted, seeds, is_own), seeds.mean(0)
    by_groups = jackknife_error(slope, predicted, mean)
    by_seeds = abs(slope(predicted, seeds[0]) - slope(predicted, seeds[1])) / 2
    by_own = (slope(predicted[~is_own], mean[~is_own]) - slope(predicted, mean)) / 4
    error = float(np.sqrt(by_groups**2 + by_seeds**2 + by_own**2))
    assert min(by_groups, by_seeds, abs(by_own)) > 0.001
    assert found.slope == pytest.approx(slope(predicted, mean))
    assert found.slope_interval == pytest.approx(t_interval(found.slope, error, 8))


def test_of_one_seed_it_is_not_known_how_seeds_agree(measured):
    found = fidelity_of(measured.mean(0), measured[:1])
    assert np.isnan(found.between_seeds) and np.isfinite(found.slope_interval).all()


def fidelity_with(model, X, targets, probes):
    codes = targets.argmax(1).numpy()
    online = stage_of(model, np.arange(15.0).reshape(5, 3))
    return fidelity_on_some_rows(online, probes, X, codes, margin, np.arange(3) + 5, 0)


def fidelity(**values):
    known = {
        "rank_correlation": 0.9,
        "rank_correlation_interval": (0.8, 1.0),
        "slope": 1.0,
        "slope_interval": (0.9, 1.1),
        "between_seeds": 0.7,
        "beats_constant": True,
    }
    return Bunch(**known | values)


@pytest.mark.parametrize(
    ("slope", "interval", "is_warned_of"),
    [
        (0.4, (0.3, 0.9), True),
        (0.4, (0.3, 1.0), False),
        (0.4, (0.3, 2.0), False),
        (0.5, (0.3, 0.9), False),
        (2.5, (1.1, 3.0), True),
        (2.5, (1.0, 3.0), False),
        (2.5, (0.5, 3.0), False),
        (2.0, (1.5, 3.0), False),
        (1.2, (1.1, 1.3), False),
        (0.9, (0.8, 0.95), False),
    ],
)
def test_only_a_size_that_is_surely_wrong_by_a_factor_of_two_is_warned_of(
    slope, interval, is_warned_of
):
    assert len(warned_of(fidelity(slope=slope, slope_interval=interval))) == is_warned_of


@pytest.mark.parametrize(("correlation", "is_warned_of"), [(0.35, False), (0.34, True)])
def test_an_order_below_the_limit_is_warned_of(correlation, is_warned_of):
    assert len(warned_of(fidelity(rank_correlation=correlation))) == is_warned_of


CAUSES = {
    "not trained": ({"beats_constant": False}, {}, "no better than a constant, so it may not be"),
    "small groups": ({"between_seeds": 0.2}, {}, "too small for the noise.*by 0.20"),
    "not replayed": ({}, {"solver": "rewind"}, "own training was not repeated"),
    "mixed": ({}, {"solver": "mixed"}, "own training was not repeated"),
    "synset": ({}, {"is_whole": False}, "Raise synset_size or max_iter"),
    "other": ({"between_seeds": np.nan}, {}, "Make fewer, larger groups"),
}


@pytest.mark.parametrize("name", CAUSES)
@pytest.mark.parametrize(
    "symptom", [{"rank_correlation": 0.1}, {"slope": 4.0, "slope_interval": (3.0, 5.0)}]
)
def test_a_warning_names_the_cause(name, symptom):
    values, plan, pattern = CAUSES[name]
    plan = SimpleNamespace(**vars(REPLAY) | plan)
    (message,) = warned_of(fidelity(**symptom | values), plan)
    assert re.search(pattern, message)


@pytest.mark.parametrize(
    ("predicted", "target", "expected"),
    [
        ([0, 1, 1, 1], [0, 1, 1, 0], True),
        ([1, 1, 1, 1], [0, 1, 1, 1], False),
        ([0, 1], [[0.9, 0.1], [0.2, 0.8]], True),
        ([0.1, 0.9], [[0.0], [1.0]], True),
        ([1.0, 0.0], [[0.0], [1.0]], False),
        ([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]], [[0.0, 1.0], [0.0, 1.0], [0.0, 0.0]], False),
        ([[0.0, 1.0], [0.0, 1.0], [0.0, 0.0]], [[0.0, 1.0], [0.0, 1.0], [0.0, 0.0]], True),
        ([[0.1, 5.0], [0.9, 5.0]], [[0.0, 5.0], [1.0, 5.0]], True),
    ],
)
def test_a_network_that_predicts_no_better_than_a_constant_is_known(predicted, target, expected):
    assert beats_a_constant(np.array(predicted), np.array(target)) is expected


def test_an_interval_of_correlations_ends_at_those_there_are(measured):
    noise = np.random.RandomState(1).randn(40, 4)
    effects = measured[:1, :, :4].repeat(2, 0)
    predicted = effects[0] + np.array([0.0, 0, 0, 5]) * noise
    error = jackknife_error(agreement_with_mean, predicted, effects)
    low, high = t_interval(agreement_with_mean(predicted, effects), error, 4)
    assert high > 1
    found = fidelity_of(predicted, effects).rank_correlation_interval
    assert found == (max(low, -1), min(high, 1))


def test_what_a_probe_leaves_out_adds_up():
    effects, truth = np.arange(12.0).reshape(4, 3), np.ones((2, 4, 2))
    online = stage_of(classification_model(6)[0], effects)
    kept = torch.tensor([[1.0, 0, 1], [0, 1, 0]])
    probes = SimpleNamespace(kept=kept, effects=lambda *args: truth)
    predicted, measured = module.probed_effects(online, probes, None, np.zeros(4), None)
    np.testing.assert_array_equal(predicted[:, 0], effects[:, 1])
    np.testing.assert_array_equal(predicted[:, 1], effects[:, 0] + effects[:, 2])
    np.testing.assert_array_equal(measured, truth)


def stage_of(model, effects):
    """Return a substitute for the online stage that predicts effects."""
    return SimpleNamespace(
        models=[model],
        leave_out=SimpleNamespace(batch_size=100),
        rows_of=lambda X: X,
        attributions=lambda X, y, objective: effects,
        predictions=lambda X: model(model.theta, X).argmax(1).numpy(),
        rows=SimpleNamespace(group=torch.zeros(len(effects), dtype=torch.long)),
    )


def test_measured_effects_are_those_of_the_probes():
    model, X, targets = classification_model(5)
    theta = torch.stack([1.2 * model.theta, 0.9 * model.theta, 1.1 * model.theta])
    y = targets.argmax(1)
    probes = Probes(torch.ones(2, 1), [NetworkSet(theta)])
    found = module.measured_effects(stage_of(model, np.ones((5, 2))), probes, X, y.numpy(), margin)
    of = [margin(model(each, X), y) for each in theta]
    np.testing.assert_allclose(found[0], torch.stack([of[0] - of[1], of[0] - of[2]], 1).numpy())
