"""Probes: what `fidelity_`, `score` and a search over settings rest on."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, StratifiedKFold, check_cv
from skorch import NeuralNetClassifier, NeuralNetRegressor
from torch import nn

from sklearn_synset import SynsetAttributor
from sklearn_synset._objective.objective import margin
from tests.problems import seeded

FAST = {"max_iter": 4, "n_steps": 8, "random_state": 0, "n_groups": 12}

pytestmark = pytest.mark.filterwarnings(
    "ignore:Attributions agree badly:sklearn.exceptions.ConvergenceWarning"
)


@pytest.fixture(scope="module")
def rows(iris):
    return iris[:2]


@pytest.fixture(scope="module")
def module(iris):
    return iris[2]


def net(**params):
    """Return a net that is trained by full-batch descent, so that retraining it is simple."""
    return NeuralNetClassifier(
        seeded(lambda: nn.Linear(4, 3).double()),
        criterion=nn.CrossEntropyLoss,
        **{"max_epochs": 20, "lr": 0.5, "batch_size": -1, "train_split": None, "verbose": 0}
        | params,
    )


@pytest.fixture(scope="module")
def solved(rows, module):
    """Return an attributor for each way in which groups are left out."""
    kinds = {"replay": (net(), "auto"), "mixed": (module, "auto"), "rewind": (module, "rewind")}
    return {
        name: SynsetAttributor(estimator, solver=solver, n_probes=5, **FAST).fit(*rows)
        for name, (estimator, solver) in kinds.items()
    }


def thetas(attributor):
    return attributor._probes.networks[0].theta.numpy()


@pytest.mark.parametrize(
    "setting",
    [
        {"synset_size": 1},
        {"initialization": "random"},
        {"distance": "cosine"},
        {"n_steps": 20},
        {"learning_rate": 0.5},
        {"max_iter": 0},
        {"rewind": 0.0},
        {"tol": 100.0},
        {"removal": "subsets", "n_removals": 20},
    ],
    ids=lambda setting: next(iter(setting)),
)
@pytest.mark.parametrize("solver", ["replay", "mixed", "rewind"])
def test_no_setting_that_is_searched_over_changes_the_probes(solved, rows, solver, setting):
    first = solved[solver]
    second = clone(first).set_params(**setting).fit(*rows)
    assert first.plan_.solver == second.plan_.solver == solver
    np.testing.assert_array_equal(first.fidelity_.groups, second.fidelity_.groups)
    np.testing.assert_allclose(thetas(first), thetas(second), rtol=1e-9, atol=1e-12)


def test_replay_of_all_rows_agrees_with_its_probes(rows):
    attributor = SynsetAttributor(net(), n_probes=6, **FAST).fit(*rows)
    assert 0.7 < attributor.fidelity_.rank_correlation <= 1
    assert attributor.fidelity_.rank_correlation_interval[1] <= 1
    low, high = attributor.fidelity_.slope_interval
    assert low < attributor.fidelity_.slope < high


def test_leaving_out_a_group_is_what_its_effects_are_of(rows, module):
    X, y = rows
    attributor = SynsetAttributor(module, n_probes=8, **FAST).fit(X, y)
    before = module(torch.from_numpy(X))
    for column in (0, 7):
        after = attributor.leave_out([attributor.groups_[column]])(torch.from_numpy(X))
        margins = [margin(outputs.detach(), torch.from_numpy(y)) for outputs in (before, after)]
        expected = (margins[0] - margins[1]).numpy()
        np.testing.assert_allclose(attributor.attribute(X, y)[:, column], expected, atol=1e-9)


@pytest.mark.parametrize("solver", ["replay", "mixed", "rewind"])
def test_a_pickled_attributor_scores_the_same(solved, rows, solver):
    attributor = solved[solver]
    assert pickle.loads(pickle.dumps(attributor)).score(*rows) == attributor.score(*rows)


def test_the_default_network_is_replayed_too(rows):
    X, y = rows
    attributor = SynsetAttributor(n_probes=3, **FAST | {"n_groups": 6})
    attributor.fit(X[::3], y[::3])
    assert attributor.fidelity_.rank_correlation > 0
    assert -1 <= attributor.score(X, y) <= 1


# Searches


@pytest.mark.slow
def test_a_search_in_parallel_gives_the_same_bits(rows, module):
    X, y = rows
    grid = {"synset_size": [1, 4], "rewind": [0.0, 0.5]}
    base = SynsetAttributor(module, n_probes=3, **FAST)
    folds = StratifiedKFold(2, shuffle=True, random_state=0)
    serial, parallel = (
        GridSearchCV(base, grid, cv=folds, n_jobs=n_jobs, error_score="raise").fit(X, y)
        for n_jobs in (1, 2)
    )
    for split in range(2):
        name = f"split{split}_test_score"
        np.testing.assert_array_equal(serial.cv_results_[name], parallel.cv_results_[name])
    assert serial.best_params_ == parallel.best_params_


def test_folds_over_a_wrapped_classifier_hold_all_classes(rows):
    _, y = rows
    for estimator in (net(), FrozenEstimator(net())):
        assert SynsetAttributor(estimator).__sklearn_tags__().estimator_type == "classifier"
    regressor = SynsetAttributor(NeuralNetRegressor(nn.Linear(4, 1)))
    assert regressor.__sklearn_tags__().estimator_type == "regressor"
    for estimator in (None, nn.Linear(4, 3)):
        assert SynsetAttributor(estimator).__sklearn_tags__().estimator_type is None
    search = GridSearchCV(SynsetAttributor(net(), n_probes=3, **FAST), {"max_iter": [0]}, cv=2)
    assert isinstance(check_cv(2, y, classifier=True), StratifiedKFold)
    # The rows are sorted by class: each fold of a plain KFold would lack one.
    assert np.isfinite(search.fit(*rows).cv_results_["mean_test_score"]).all()


def test_rows_of_a_class_that_fit_has_not_seen_do_not_stop_the_score(rows):
    X, y = rows
    seen = y < 2
    attributor = SynsetAttributor(n_probes=3, **FAST | {"n_groups": 6}).fit(X[seen], y[seen])
    with pytest.warns(UserWarning, match=r"50 of 150 rows are left out.*\[2\]"):
        score = attributor.score(X, y)
    assert score == attributor.score(X[seen], y[seen])
    with pytest.raises(ValueError, match="labels that were not seen in fit"):
        attributor.score(X[~seen], y[~seen])


def test_bad_agreement_is_warned_of_with_its_number_and_the_parameters_to_change(rows):
    # Steps of three nats make nonsense of the rows.
    spoilt = {"synset_size": 1, "initialization": "random", "max_iter": 8, "learning_rate": 3.0}
    attributor = SynsetAttributor(net(), n_probes=12, **FAST | spoilt)
    pattern = r"correlation -?0\.\d\d, between -?\d\.\d\d and.*synset_size or max_iter.*n_groups"
    with pytest.warns(ConvergenceWarning, match=pattern) as caught:
        attributor.fit(*rows)
    assert caught[0].filename == __file__


def test_without_probes_there_is_neither_fidelity_nor_score(rows, module):
    attributor = SynsetAttributor(module, n_probes=0, **FAST).fit(*rows)
    assert np.isnan(attributor.fidelity_.rank_correlation)
    assert np.isnan(attributor.fidelity_.slope)
    assert len(attributor.fidelity_.groups) == 0
    assert np.isnan(attributor.score(*rows))
