"""Probes: what `fidelity_`, `score` and a search over settings rest on."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, StratifiedKFold, check_cv
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier, NeuralNetRegressor
from torch import nn

import sklearn_synset._synset_attributor as estimator_file
from sklearn_synset import SynsetAttributor
from sklearn_synset._objective.objective import margin
from sklearn_synset._probes import probed_fidelity
from tests.problems import mlp, seeded, train

FAST = {"max_iter": 4, "n_steps": 8, "random_state": 0, "n_groups": 12}

pytestmark = pytest.mark.filterwarnings(
    "ignore:Attributions agree badly:sklearn.exceptions.ConvergenceWarning"
)


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True)
    return StandardScaler().fit_transform(X), y


@pytest.fixture(scope="module")
def module(iris):
    X, y = iris
    return train(mlp(), X, y, nn.CrossEntropyLoss(), n_steps=60)


def net(**params):
    """Return a net that is trained by full-batch descent, so that retraining it is simple."""
    return NeuralNetClassifier(
        seeded(lambda: nn.Linear(4, 3).double()),
        criterion=nn.CrossEntropyLoss,
        **{"max_epochs": 20, "lr": 0.5, "batch_size": -1, "train_split": None, "verbose": 0}
        | params,
    )


def thetas(attributor):
    return attributor._probes.theta[0].numpy()


@pytest.mark.parametrize(
    "setting",
    [
        {"synset_size": 1},
        {"initialization": "random"},
        {"distance": "cosine"},
        {"damping": 0.1},
        {"solver": lambda model, synset, kept, retraining: model.theta.expand(len(kept), -1) * 0},
        {"n_steps": 20},
        {"step_size": "auto"},
        {"learning_rate": 0.5},
        {"max_iter": 0},
        {"rewind": 0.0},
        {"tol": 100.0},
        {"removal": "subsets", "n_removals": 20},
    ],
    ids=lambda setting: next(iter(setting)),
)
@pytest.mark.parametrize("probe", ["restart", "rewind", "retrain"])
def test_no_setting_that_is_searched_over_changes_the_probes(iris, module, setting, probe):
    estimator = net() if probe == "retrain" else module
    base = SynsetAttributor(estimator, n_probes=5, probe=probe, **FAST)
    first, second = base.fit(*iris), clone(base).set_params(**setting).fit(*iris)
    np.testing.assert_array_equal(first.fidelity_.groups, second.fidelity_.groups)
    np.testing.assert_array_equal(thetas(first), thetas(second))


def test_what_is_reported_was_not_chosen_by(iris, module, monkeypatch):
    seen = []
    run = estimator_file.run_offline_stage

    def spy(*args):
        seen.append(args[5])
        return run(*args)

    monkeypatch.setattr(estimator_file, "run_offline_stage", spy)
    attributor = SynsetAttributor(module, n_probes=12, **FAST).fit(*iris)
    (choosing,) = seen
    assert len(choosing) == 3 and len(attributor.fidelity_.groups) == 9
    assert set(attributor.groups_[choosing.groups]).isdisjoint(attributor.fidelity_.groups)


@pytest.mark.parametrize(
    ("settings", "n_choosing"),
    [
        ({"max_iter": 4}, 3),
        ({"max_iter": 0}, 0),
        ({"max_iter": 0, "warm_start": True}, 3),
        ({"max_iter": 0, "probe": "restart"}, 3),  # these tell the size of effects, too
    ],
    ids=str,
)
def test_probes_to_choose_by_are_made_where_there_is_a_choice(iris, module, settings, n_choosing):
    base = SynsetAttributor(module, **FAST | {"n_probes": 12, "probe": "rewind"}).fit(*iris)
    attributor = clone(base).set_params(**settings).fit(*iris)
    assert len(attributor._former.probes) == n_choosing
    np.testing.assert_array_equal(attributor.fidelity_.groups, base.fidelity_.groups)
    if attributor.probe == "rewind":
        np.testing.assert_allclose(thetas(attributor), thetas(base), rtol=0, atol=1e-10)


def test_without_probes_to_choose_by_a_further_fit_keeps_the_distilled_rows(iris, module):
    settings = FAST | {"n_probes": 12, "probe": "rewind", "max_iter": 0}
    attributor = SynsetAttributor(module, **settings).fit(*iris)
    attributor.set_params(warm_start=True, max_iter=3).fit(*iris)
    assert attributor.n_iter_ == 3 and len(attributor._former.probes) == 0
    last = attributor._former.distilled.candidates[-1]
    np.testing.assert_array_equal(attributor.X_synset_, last.X.numpy())


def test_retrained_probes_are_real_retrainings(iris):
    X, y = iris
    attributor = SynsetAttributor(net(), probe="retrain", n_probes=4, **FAST).fit(X, y)
    for kept, theta in zip(attributor._probes.kept, thetas(attributor), strict=True):
        removed = attributor.groups_[kept.numpy() == 0]
        rows = ~np.isin(attributor.group_labels_, removed)
        with torch.random.fork_rng():
            by_hand = net().fit(X[rows], y[rows])
        weight = by_hand.module_.weight.detach().numpy().ravel()
        np.testing.assert_allclose(theta[:12], weight, rtol=1e-8)
    assert (thetas(attributor) != thetas(attributor)[0]).any()


def test_retrained_probes_are_fair_to_a_synset_of_all_rows(iris):
    params = FAST | {"max_iter": 0, "synset_size": 1000, "n_steps": 200, "step_size": "auto"}
    attributor = SynsetAttributor(net(), probe="retrain", n_probes=6, **params).fit(*iris)
    assert 0.7 < attributor.fidelity_.rank_correlation < 1
    assert attributor.fidelity_.rank_correlation_interval[1] <= 1
    low, high = attributor.fidelity_.slope_interval
    assert low < attributor.fidelity_.slope < high


def test_every_network_is_probed(iris):
    params = FAST | {"n_models": 2, "n_probes": 3}
    estimator = net(iterator_train__shuffle=True, batch_size=10)
    attributor = SynsetAttributor(estimator, probe="retrain", **params).fit(*iris)
    first, second = attributor._probes.theta
    assert len(first) == len(second) == 3
    # Each is retrained from its own seed: it ends close to the network that it is a probe of.
    for network, own, other in zip(
        attributor._online.models, (first, second), (second, first), strict=True
    ):
        assert (network.theta - own[0]).norm() < (network.theta - other[0]).norm()


@pytest.mark.parametrize(
    ("probe", "rewinds"), [("auto", False), ("restart", False), ("rewind", True)]
)
def test_probes_are_trained_from_new_weights_where_that_is_possible(iris, module, probe, rewinds):
    attributor = SynsetAttributor(module, probe=probe, n_probes=4, **FAST).fit(*iris)
    assert (attributor._probes.before is None) is rewinds
    assert (attributor._online.size == 1) is rewinds
    layer = train(seeded(lambda: nn.Linear(4, 3).double()), *iris, nn.CrossEntropyLoss(), n_steps=9)
    attributor = attributor.set_params(estimator=layer)
    if probe == "restart":
        with pytest.raises(ValueError, match="probe='restart' needs at most 2,000 rows, a network"):
            attributor.fit(*iris)
    else:
        assert attributor.fit(*iris)._probes.before is None


def test_effects_have_the_size_that_probes_tell(iris, module, monkeypatch):
    X, y = iris
    resized = SynsetAttributor(module, n_probes=12, **FAST).fit(X, y)
    monkeypatch.setattr(probed_fidelity, "size_factor", lambda predicted, measured: 1.0)
    plain = clone(resized).fit(X, y)
    size = resized._online.size
    assert size != 1
    for found, before in zip(
        resized._online.displacements, plain._online.displacements, strict=True
    ):
        torch.testing.assert_close(found, size * before)
    # Also of networks without several groups, and without single rows.
    for left_out in ({"groups": [0, 5]}, {"rows": [3, 77]}):
        weights, longer = (
            torch.nn.utils.parameters_to_vector(each.leave_out(**left_out).parameters())
            for each in (plain, resized)
        )
        explained = torch.nn.utils.parameters_to_vector(module.parameters())
        torch.testing.assert_close(longer - explained, size * (weights - explained))


def test_leaving_out_a_group_is_what_its_effects_are_of(iris, module):
    X, y = iris
    attributor = SynsetAttributor(module, n_probes=8, **FAST).fit(X, y)
    before = module(torch.from_numpy(X))
    for column in (0, 7):
        after = attributor.leave_out([attributor.groups_[column]])(torch.from_numpy(X))
        margins = [margin(outputs.detach(), torch.from_numpy(y)) for outputs in (before, after)]
        expected = (margins[0] - margins[1]).numpy()
        np.testing.assert_allclose(attributor.attribute(X, y)[:, column], expected, atol=1e-9)


@pytest.mark.parametrize("kind", ["module", "frozen"])
def test_a_network_whose_training_is_not_known_cannot_be_retrained(iris, module, kind):
    estimator = module if kind == "module" else FrozenEstimator(net().fit(*iris))
    with pytest.raises(ValueError, match="probe='retrain' needs a network that is trained in fit"):
        SynsetAttributor(estimator, probe="retrain", **FAST).fit(*iris)


@pytest.mark.parametrize("probe", ["rewind", "retrain"])
def test_a_pickled_attributor_scores_the_same(iris, probe):
    attributor = SynsetAttributor(net(), probe=probe, n_probes=3, **FAST).fit(*iris)
    assert pickle.loads(pickle.dumps(attributor)).score(*iris) == attributor.score(*iris)


def test_the_default_network_is_retrained_too(iris):
    X, y = iris
    attributor = SynsetAttributor(probe="retrain", n_probes=3, **FAST | {"n_groups": 6})
    attributor.fit(X[::3], y[::3])
    assert attributor.fidelity_.rank_correlation > 0
    assert -1 <= attributor.score(X, y) <= 1


# Searches


@pytest.mark.slow
def test_a_search_in_parallel_gives_the_same_bits(iris, module):
    X, y = iris
    grid = {"synset_size": [1, 4], "damping": [0.0, 0.1]}
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


def test_folds_over_a_wrapped_classifier_hold_all_classes(iris):
    _, y = iris
    for estimator in (net(), FrozenEstimator(net())):
        assert SynsetAttributor(estimator).__sklearn_tags__().estimator_type == "classifier"
    regressor = SynsetAttributor(NeuralNetRegressor(nn.Linear(4, 1)))
    assert regressor.__sklearn_tags__().estimator_type == "regressor"
    for estimator in (None, nn.Linear(4, 3)):
        assert SynsetAttributor(estimator).__sklearn_tags__().estimator_type is None
    search = GridSearchCV(SynsetAttributor(net(), n_probes=3, **FAST), {"max_iter": [0]}, cv=2)
    assert isinstance(check_cv(2, y, classifier=True), StratifiedKFold)
    # The rows are sorted by class: each fold of a plain KFold would lack one.
    assert np.isfinite(search.fit(*iris).cv_results_["mean_test_score"]).all()


def test_rows_of_a_class_that_fit_has_not_seen_do_not_stop_the_score(iris):
    X, y = iris
    seen = y < 2
    attributor = SynsetAttributor(n_probes=3, **FAST | {"n_groups": 6}).fit(X[seen], y[seen])
    with pytest.warns(UserWarning, match=r"50 of 150 rows are left out.*\[2\]"):
        score = attributor.score(X, y)
    assert score == attributor.score(X[seen], y[seen])
    with pytest.raises(ValueError, match="labels that were not seen in fit"):
        attributor.score(X[~seen], y[~seen])


def test_bad_agreement_is_warned_of_with_its_number_and_interval(iris):
    rng = np.random.RandomState(0)
    attributor = SynsetAttributor(net(max_epochs=1), probe="retrain", n_probes=8, **FAST)
    noisy = attributor.set_params(solver=lambda model, synset, kept, retraining: noise(model, kept))

    def noise(model, kept):
        return torch.from_numpy(rng.randn(len(kept), model.n_parameters))

    with pytest.warns(ConvergenceWarning, match=r"correlation -?0\.\d\d, between -?\d\.\d\d and"):
        noisy.fit(*iris)


def test_bad_agreement_is_warned_of_with_the_parameters_to_change(iris):
    generator = torch.Generator().manual_seed(0)

    def noise(model, synset, kept, retraining):
        shape = len(kept), model.n_parameters
        return torch.randn(shape, generator=generator, dtype=model.dtype)

    params = FAST | {"n_probes": 12, "max_iter": 0}
    linear = seeded(lambda: nn.Linear(4, 3).double())
    with pytest.warns(ConvergenceWarning, match="synset_size or max_iter.*n_groups") as caught:
        SynsetAttributor(linear, solver=noise, **params).fit(*iris)
    assert caught[0].filename == __file__


def test_without_probes_there_is_neither_fidelity_nor_score(iris, module):
    attributor = SynsetAttributor(module, n_probes=0, **FAST).fit(*iris)
    assert np.isnan(attributor.fidelity_.rank_correlation)
    assert np.isnan(attributor.fidelity_.slope)
    assert len(attributor.fidelity_.groups) == 0
    assert np.isnan(attributor.score(*iris))


@pytest.mark.parametrize(("n_probes", "expected"), [("auto", (24, True)), (5, (5, False))])
def test_the_number_of_rewound_probes_may_be_halved_only_if_it_is_not_given(
    monkeypatch, iris, module, n_probes, expected
):
    asked = []
    made = estimator_file.rewound_probes

    def watched(models, rows, leave_out, kept, generator, **how):
        asked.append((len(kept), how["may_halve"]))
        return made(models, rows, leave_out, kept, generator, **how)

    monkeypatch.setattr(estimator_file, "rewound_probes", watched)
    settings = FAST | {"n_groups": 30, "probe": "rewind", "n_probes": n_probes}
    attributor = SynsetAttributor(module, **settings).fit(*iris)
    assert asked == [expected]
    n_choosing = 6 if n_probes == "auto" else 0
    assert len(attributor.fidelity_.groups) == expected[0] - n_choosing
