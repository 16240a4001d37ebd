from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sklearn_synset._objective.network_set import NetworkSet
from sklearn_synset._objective.objective import margin
from sklearn_synset._probes.probes import Probes
from sklearn_synset._probes.seed_noise import attribution_to_groups
from sklearn_synset._replay.leave_out import ReplayPlan
from tests.problems import classification_model


@pytest.fixture
def problem():
    """Return a network, rows, codes, probes of two groups from two seeds, and their effects."""
    model, X, targets = classification_model(5)
    y = targets.argmax(1)
    factors = torch.tensor([[1.0, 0.9, 1.2], [1.1, 0.8, 0.7]])
    probes = Probes(torch.ones(2, 4), [NetworkSet(f[:, None] * model.theta) for f in factors])
    with torch.no_grad():
        values = torch.stack(
            [torch.stack([margin(model(f * model.theta, X), y) for f in of]) for of in factors]
        ).numpy()
    return model, X.numpy(), y.numpy(), probes, values[:, :1] - values[:, 1:]


def online_of(model, effects, plan):
    return SimpleNamespace(
        models=[model],
        plans=[plan],
        leave_out=SimpleNamespace(batch_size=100),
        rows_of=torch.from_numpy,
        attributions_by_network=lambda X, y, objective: effects,
    )


def plan_of(n_seeds):
    return ReplayPlan(None, tuple(range(n_seeds)), None, None)


@pytest.mark.parametrize("n_trainings", [1, 2])
def test_the_error_of_one_network_is_that_of_a_mean_of_its_trainings(problem, n_trainings):
    model, X, y, probes, effects = problem
    attributions = np.random.RandomState(0).randn(1, 5, 4)
    online = online_of(model, attributions, plan_of(n_trainings))
    found, error = attribution_to_groups(online, probes, X, y, margin, return_std=True)
    np.testing.assert_allclose(found, attributions[0])
    variance = ((effects[0] - effects[1]) ** 2 / 2).mean(0) / n_trainings
    np.testing.assert_allclose(error, np.repeat(np.sqrt(variance)[:, None], 4, 1))


def test_the_error_of_several_networks_is_that_of_their_mean(problem):
    model, X, y, probes, _ = problem
    attributions = np.random.RandomState(0).randn(3, 5, 4)
    online = online_of(model, attributions, None)
    found, error = attribution_to_groups(online, probes, X, y, margin, return_std=True)
    np.testing.assert_allclose(found, attributions.mean(0))
    np.testing.assert_allclose(error, attributions.std(0, ddof=1) / 3**0.5)


@pytest.mark.parametrize("lacks", ["a second seed", "groups", "a training"])
def test_without_two_seeds_of_a_training_one_network_has_no_error(problem, lacks):
    model, X, y, probes, _ = problem
    unknown = {
        "a second seed": Probes(probes.kept, probes.networks[:1]),
        "groups": Probes(probes.kept[:0], probes.networks),
        "a training": Probes(probes.kept, probes.networks, "too expensive"),
    }
    online = online_of(model, np.ones((1, 5, 4)), plan_of(2))
    with pytest.raises(ValueError, match="n_models of at least 2"):
        attribution_to_groups(online, unknown[lacks], X, y, margin, return_std=True)
    assert attribution_to_groups(online, unknown[lacks], X, y, margin, return_std=False)[1] is None
