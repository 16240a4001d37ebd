"""A warm start goes on with the distillation, from what is there, or not at all."""

import copy
import pickle

import joblib
import numpy as np
import pytest
import torch
from sklearn.frozen import FrozenEstimator
from sklearn_synset._persistence.warm_start import digest
from skorch import NeuralNetClassifier
from torch import nn

from sklearn_synset import SynsetAttributor
from sklearn_synset._distillation.matching import Matching, row_bounds
from sklearn_synset._retraining.synset import Synset
from tests.faults import CALLABLES, ERRORS
from tests.problems import classification_model, mlp, regression_model, train

pytestmark = pytest.mark.filterwarnings(
    "ignore:Attributions agree badly:sklearn.exceptions.ConvergenceWarning"
)
OPTIONS = {"n_groups": 9, "n_steps": 8, "n_probes": 8, "step_size": 0.05, "random_state": 0}


def rows(n=90):
    rng = np.random.RandomState(0)
    X = rng.normal(size=(n, 4))
    return X, np.array(["a", "b", "c"])[(X[:, :3] + 0.5 * rng.normal(size=(n, 3))).argmax(1)]


def module():
    X, y = rows()
    codes = np.unique(y, return_inverse=True)[1]
    return train(mlp(), X, codes, nn.CrossEntropyLoss(), n_steps=60)


def net(**params):
    settings = {"max_epochs": 2, "train_split": None, "verbose": 0} | params
    return NeuralNetClassifier(
        nn.Linear, module__in_features=4, module__out_features=3,
        criterion=nn.CrossEntropyLoss, module__dtype=torch.float64, **settings,
    )  # fmt: skip


def fitted(max_iter=8, estimator=None, groups=None, **params):
    estimator = module() if estimator is None else estimator
    attributor = SynsetAttributor(estimator, max_iter=max_iter, **OPTIONS | params)
    return attributor.fit(*rows(), groups=groups)


def go_on(attributor, max_iter=16, groups=None, **params):
    attributor.set_params(warm_start=True, max_iter=max_iter, **params)
    return attributor.fit(*rows(), groups=groups)


def results(attributor):
    X, y = rows()
    return [
        attributor.attribute(X, y),
        attributor.score_samples(X, y),
        attributor.X_synset_,
        attributor.y_synset_,
        attributor.sample_weight_synset_,
        attributor.matching_loss_curve_,
        attributor.fidelity_.rank_correlation,
    ]


def assert_same_bits(a, b):
    for x, y in zip(results(a), results(b), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("make", [module, net, lambda: None])
def test_networks_groups_and_probes_stay_and_steps_are_added(make):
    attributor = SynsetAttributor(make(), max_iter=8, **OPTIONS).fit(*rows())
    networks, models = attributor.estimators_, attributor._online.models
    probes, labels = attributor._probes, attributor.group_labels_
    curve, start = attributor.matching_loss_curve_, attributor._former.distilled.candidates[0]
    go_on(attributor)
    assert attributor.estimators_ == networks and attributor._online.models == models
    assert attributor._probes is probes and attributor.group_labels_ is labels
    assert attributor._former.distilled.candidates[0] is start
    assert attributor.n_iter_ == 16
    np.testing.assert_array_equal(attributor.matching_loss_curve_[:8], curve)


def test_more_steps_bring_the_gradients_closer():
    attributor = fitted(120, n_steps=40, step_size="auto")
    before = attributor.matching_loss_curve_[-40:].mean()
    go_on(attributor, 360)
    assert attributor.matching_loss_curve_[-40:].mean() < 0.9 * before


def test_a_first_fit_is_not_changed_by_it():
    assert_same_bits(fitted(), fitted(warm_start=True))


def test_without_warm_start_a_fit_starts_anew():
    again = go_on(fitted()).set_params(warm_start=False, max_iter=8).fit(*rows())
    assert_same_bits(again, fitted())


def test_what_comes_next_depends_on_the_first_fit_alone():
    first, second = go_on(fitted()), go_on(fitted(), random_state=5)
    assert_same_bits(first, second)
    assert not np.array_equal(results(first)[2], results(fitted(16))[2])


def test_a_stop_by_tol_may_be_gone_on_from():
    attributor = fitted(40, tol=1e9)
    assert attributor.n_iter_ == 10
    assert go_on(attributor, 40, tol=0.0).n_iter_ == 40


def test_no_steps_at_first_is_a_start_too():
    assert go_on(fitted(0)).n_iter_ == 16


def test_groups_that_were_given_stay():
    groups = np.arange(90) % 9
    attributor = go_on(fitted(groups=groups), groups=groups)
    np.testing.assert_array_equal(attributor.group_labels_, groups)


@pytest.mark.filterwarnings("ignore:warm_start=True, but all")
def test_without_more_steps_groups_are_left_out_by_the_present_settings():
    attributor = fitted()
    synset = attributor.X_synset_
    with pytest.warns(UserWarning, match="all max_iter=8 steps are taken"):
        go_on(attributor, 8, n_steps=4)
    np.testing.assert_array_equal(attributor.X_synset_, synset)
    expected = fitted(n_steps=4)
    assert attributor.transform(rows()[0]).shape == expected.transform(rows()[0]).shape
    assert not np.array_equal(attributor.transform(rows()[0]), fitted().transform(rows()[0]))


# Refusals


def changed(name):
    """Return an attributor, and the rows and groups of a second fit that does not fit to it."""
    X, y = rows()
    groups = None
    attributor = fitted(estimator=net() if name in ("lr", "n_models") else None)
    if name == "X":
        X[80, 3] += 1e-9
    elif name == "fewer X":
        X, y = X[:-1], y[:-1]
    elif name == "y":
        y[7] = "a" if y[7] != "a" else "b"
    elif name == "labels":
        y = np.char.add(y, "x")
    elif name == "groups":
        groups = np.arange(90) % 9
    elif name == "weights":
        with torch.no_grad():
            attributor.estimator[0].weight[0, 0] += 1e-6
    elif name == "lr":
        attributor.estimator.set_params(lr=0.2)
    elif name == "estimator":
        attributor.set_params(estimator=FrozenEstimator(net().fit(X, np.zeros(90, int))))
    else:
        values = {
            "n_groups": 6, "synset_size": 2, "initialization": "random", "weight_decay": 0.1,
            "n_models": 2, "n_probes": 4, "input_shape": (4,), "device": "cpu",
        }  # fmt: skip
        attributor.set_params(**{name: values[name]})
    return attributor, X, y, groups


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("X", "X"), ("fewer X", "X"), ("y", "y"), ("labels", "y"), ("groups", "groups"),
        ("weights", "estimator"), ("lr", "estimator"), ("estimator", "estimator"),
        *((each, each) for each in (
            "n_groups", "synset_size", "initialization", "weight_decay", "n_models", "n_probes",
            "input_shape", "device",
        )),
    ],
)  # fmt: skip
def test_other_data_or_settings_are_refused(name, told):
    attributor, X, y, groups = changed(name)
    attributor.set_params(warm_start=True, max_iter=16)
    before = joblib.hash(results(attributor))
    with pytest.raises(ValueError, match=rf"goes on from the former fit, but .*\b{told}\b"):
        attributor.fit(X, y, groups=groups)
    assert joblib.hash(results(attributor)) == before


def test_fewer_steps_than_there_were_are_refused():
    with pytest.raises(ValueError, match="the 8 steps of the former fit.*got 7"):
        go_on(fitted(), 7)


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("name", ["distance", "solver", "objective"])
def test_an_interrupted_warm_start_leaves_every_byte_of_the_former_fit(name, kind):
    attributor = fitted()
    state = {key: value for key, value in vars(attributor).items() if key != "_turn"}
    before, answers = pickle.dumps(state), joblib.hash(results(attributor))
    params = attributor.get_params(deep=False)
    with pytest.raises(type(ERRORS[kind]), match="injected"):
        go_on(attributor, **{name: CALLABLES[name](ERRORS[kind])})
    attributor.set_params(**params)
    assert pickle.dumps(dict(vars(attributor))) == before
    assert joblib.hash(results(attributor)) == answers
    assert_same_bits(go_on(attributor), go_on(fitted()))


# Kept


@pytest.mark.parametrize("way", ["save", "pickle", "deepcopy", "drop"])
def test_a_kept_attributor_goes_on_as_it_would_have(tmp_path, way):
    attributor, expected = fitted(), go_on(fitted())
    if way == "save":
        attributor.save(tmp_path / "file")
        blank = mlp()  # of other weights
        attributor = SynsetAttributor.load(tmp_path / "file", blank)
        assert attributor.warm_start is False
    elif way == "pickle":
        attributor = pickle.loads(pickle.dumps(attributor))
    elif way == "deepcopy":
        attributor = copy.deepcopy(attributor)
    else:
        attributor.drop_training_rows()
    assert_same_bits(go_on(attributor), expected)


def test_the_parameter_is_saved(tmp_path):
    fitted(warm_start=True).save(tmp_path / "file")
    assert SynsetAttributor.load(tmp_path / "file", module()).warm_start is True


# The way back to what is learnt


@pytest.mark.parametrize("make", [classification_model, regression_model])
def test_matching_goes_on_from_the_synset_that_was_reached(make):
    model, X, targets = make(12)
    group = torch.arange(3).repeat_interleave(4)
    weight = torch.tensor([1.0, 2.0, 5.0, 4.0]).double().repeat(3)
    start = Synset(X, targets, weight, group, torch.full((3,), 12.0).double())
    bounds = row_bounds(X, targets, model)
    earlier = Matching(model, start, bounds, 0.05, 10)
    with torch.no_grad():
        # Far enough for probabilities below what a start may have, and weights below one.
        noise = torch.Generator().manual_seed(0)
        earlier._moved.copy_(torch.randn(X.shape, generator=noise, dtype=X.dtype))
        earlier._targets.mul_(3)
        earlier._log_factor.fill_(-1.5)
        earlier._project()
    reached = earlier.result
    again = Matching(model, start, bounds, 0.05, 20, [1.0] * 10, reached).result
    for name in ("X", "y", "weight"):
        torch.testing.assert_close(getattr(again, name), getattr(reached, name))
    assert float(reached.y.min()) < 1e-6 and float(reached.weight.min()) < 1


def test_digests_tell_values_dtype_and_shape():
    X = np.arange(12.0).reshape(4, 3)
    same = [X.copy(), np.asfortranarray(X), np.repeat(X, 2, axis=0)[::2]]
    assert {digest(each) for each in same} == {digest(X)}
    other = [X + 1e-12, X.astype(np.float32), X.reshape(3, 4), X[:3], np.arange(12.0)]
    assert len({digest(each) for each in [X, *other]}) == 6
    words = np.array(["a", "b"], dtype=object)
    assert digest(words) == digest(words.copy()) != digest(words[::-1])
