"""What is made of the probes: a summary, and warnings."""

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
from sklearn_synset._probes.probed_fidelity import measured_fidelity, warn_if_unfaithful
from sklearn_synset._probes.probes import Probes
from sklearn_synset._statistics.jackknife import jackknife_interval
from sklearn_synset._statistics.rank_correlation import mean_rank_correlation
from tests.problems import classification_model


@pytest.fixture
def measured():
    return np.random.RandomState(0).randn(40, 8)


def fidelity_of(predicted, measured):
    return measured_fidelity(predicted, measured, np.arange(measured.shape[1]))


def test_right_predictions_are_not_warned_of(measured):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_unfaithful(fidelity_of(1.2 * measured, measured))


def test_another_order_is_warned_of_with_its_number(measured):
    fidelity = fidelity_of(measured[:, ::-1], measured)
    number = f"{fidelity.rank_correlation:.2f}"
    with pytest.warns(ConvergenceWarning, match=f"rank correlation {number}, between"):
        warn_if_unfaithful(fidelity)


@pytest.mark.parametrize(("factor", "named"), [(0.25, "4.00"), (4.0, "0.25")])
def test_another_size_is_warned_of_with_its_number(measured, factor, named):
    with pytest.warns(ConvergenceWarning, match=f"measured effects are {named} times"):
        warn_if_unfaithful(fidelity_of(factor * measured, measured))


def test_a_size_that_is_not_known_is_not_warned_of():
    rng = np.random.RandomState(0)
    predicted = rng.randn(4, 3)
    fidelity = fidelity_of(predicted, predicted * [0.1, 4.0, 0.1] + rng.randn(4, 3))
    fidelity.rank_correlation = 0.9
    assert fidelity.slope_interval[0] < 1 < fidelity.slope_interval[1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_unfaithful(fidelity)


def test_without_probes_nothing_is_known_and_nothing_warned_of():
    fidelity = fidelity_of(np.empty((5, 0)), np.empty((5, 0)))
    assert np.isnan(fidelity.rank_correlation) and np.isnan(fidelity.slope)
    assert np.isnan(fidelity.slope_interval).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_unfaithful(fidelity)


def fidelity(**values):
    known = {
        "rank_correlation": 0.9,
        "rank_correlation_interval": (0.8, 1.0),
        "slope": 1.0,
        "slope_interval": (0.9, 1.1),
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
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_if_unfaithful(fidelity(slope=slope, slope_interval=interval))
    assert len(caught) == is_warned_of


@pytest.mark.parametrize(("correlation", "is_warned_of"), [(0.35, False), (0.34, True)])
def test_an_order_below_the_limit_is_warned_of(correlation, is_warned_of):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_if_unfaithful(fidelity(rank_correlation=correlation))
    assert len(caught) == is_warned_of


def test_an_interval_of_correlations_ends_at_those_there_are(measured):
    noise = np.random.RandomState(1).randn(*measured.shape)
    measured = measured[:, :4]
    predicted = measured + np.array([0.0, 0, 0, 5]) * noise[:, :4]
    low, high = jackknife_interval(mean_rank_correlation, predicted, measured)
    assert high > 1
    found = fidelity_of(predicted, measured).rank_correlation_interval
    assert found == (max(low, -1), min(high, 1))


def test_what_a_probe_leaves_out_adds_up():
    effects, truth = np.arange(12.0).reshape(4, 3), np.ones((4, 2))
    online = stage_of(classification_model(6)[0], effects)
    kept = torch.tensor([[1.0, 0, 1], [0, 1, 0]])
    probes = SimpleNamespace(kept=kept, effects=lambda *args: truth)
    predicted, measured = module.probed_effects(online, probes, None, np.zeros(4), None)
    np.testing.assert_array_equal(predicted[:, 0], effects[:, 1])
    np.testing.assert_array_equal(predicted[:, 1], effects[:, 0] + effects[:, 2])
    assert measured is truth


def stage_of(model, effects):
    """Return an online stage that predicts given effects."""
    return SimpleNamespace(
        models=[model],
        leave_out=SimpleNamespace(batch_size=100),
        rows_of=lambda X: X,
        attributions=lambda X, y, objective: effects,
    )


def test_measured_effects_are_those_of_the_probes():
    model, X, targets = classification_model(5)
    theta = torch.stack([1.2 * model.theta, 0.9 * model.theta, 1.1 * model.theta])
    y = targets.argmax(1)
    probes = Probes(torch.ones(2, 1), [NetworkSet(theta)])
    found = module.measured_effects(stage_of(model, None), probes, X, y.numpy(), margin)
    of = [margin(model(each, X), y) for each in theta]
    np.testing.assert_allclose(found, torch.stack([of[0] - of[1], of[0] - of[2]], 1).numpy())
