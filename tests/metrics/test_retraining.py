import json
import os
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix
from sklearn.base import BaseEstimator
from sklearn.datasets import load_iris, load_wine
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from skorch import NeuralNet, NeuralNetBinaryClassifier, NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import EarlyStopping, GradientNormClipping, LRScheduler
from skorch.dataset import Dataset, ValidSplit
from skorch.helper import predefined_split
from torch import nn
from torch.utils.data import DataLoader

from sklearn_synset import SynsetAttributor
from sklearn_synset.metrics import (
    calibration_slope,
    leave_one_out_ceiling,
    leave_one_out_correlation,
    linear_datamodeling_score,
    retraining,
)
from sklearn_synset.metrics._side_by_side import Stack


class Net(nn.Module):
    def __init__(self, n_features=4, n_outputs=3, n_hidden=6):
        super().__init__()
        self.hidden = nn.Linear(n_features, n_hidden)
        self.output = nn.Linear(n_hidden, n_outputs)

    def forward(self, X):
        return self.output(torch.tanh(self.hidden(X)))


def net(kind=NeuralNetClassifier, criterion=nn.CrossEntropyLoss, n_features=4, n_outputs=3):
    return kind(
        Net,
        module__n_features=n_features,
        module__n_outputs=n_outputs,
        criterion=criterion,
        max_epochs=3,
        lr=0.1,
        batch_size=16,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    )


@pytest.fixture(scope="module")
def iris():
    """Return rows, labels, groups of ten rows of one class, and every twentieth row as queries."""
    X, y = load_iris(return_X_y=True)
    X = ((X - X.mean(0)) / X.std(0)).astype(np.float32)
    return X, y, np.arange(150) // 10, X[::20], y[::20]


def log_odds(logits, labels):
    """Return the log-odds of each row's label, written another way than in the package."""
    exponentials = np.exp(logits.astype(np.float64))
    picked = exponentials[np.arange(len(labels)), labels]
    return np.log(picked / (exponentials.sum(1) - picked))


def test_ridge_regression_is_left_out_in_closed_form():
    rng = np.random.RandomState(0)
    X, y, X_query = rng.normal(size=(30, 4)), rng.normal(size=30), rng.normal(size=(5, 4))
    truth = retraining(Ridge(0.7, fit_intercept=False), X, y, X_query, np.zeros(5))
    inverse = np.linalg.inv(X.T @ X + 0.7 * np.eye(4))
    residual, leverage = y - X @ inverse @ X.T @ y, np.einsum("ij,jk,ik->i", X, inverse, X)
    expected = X_query @ inverse @ X.T * residual / (1 - leverage)
    assert_allclose(truth.effects[0], expected, atol=1e-12)
    assert_allclose(truth.full_outputs[0], X_query @ inverse @ X.T @ y, atol=1e-12)
    assert_array_equal(truth.groups, np.arange(30))


def test_softmax_regression_agrees_with_exact_refits(iris):
    X, y, groups, X_query, y_query = iris
    X, X_query = X.astype(np.float64), X_query.astype(np.float64)
    classifier = LogisticRegression(C=10, tol=1e-10, max_iter=10000)
    truth = retraining(classifier, X, y, X_query, y_query, groups=groups, subsets=6, random_state=0)

    def refit(kept):
        fitted = LogisticRegression(C=10, tol=1e-10, max_iter=10000).fit(X[kept], y[kept])
        return log_odds(X_query @ fitted.coef_.T + fitted.intercept_, y_query)

    full = refit(np.full(150, True))
    expected = np.stack([full - refit(groups != group) for group in range(15)], axis=1)
    assert_allclose(truth.effects, expected[None], atol=1e-8)
    expected = [refit(np.isin(groups, np.flatnonzero(kept))) for kept in truth.subsets]
    assert_allclose(truth.outputs, np.array(expected)[None], atol=1e-8)
    assert not hasattr(classifier, "coef_")


@pytest.mark.parametrize("side_by_side", [True, False])
def test_a_skorch_net_agrees_with_training_it_by_hand(iris, side_by_side):
    """The other rows come in the order and in the minibatches in which they came with all rows."""
    X, y, groups, X_query, y_query = iris
    state = torch.get_rng_state()
    options = {"groups": groups, "n_seeds": 2, "random_state": 0, "side_by_side": side_by_side}
    truth = retraining(net(), X, y, X_query, y_query, **options)
    assert torch.equal(state, torch.get_rng_state())
    assert truth.effects.shape == (2, 8, 15)

    def refit(kept, seed):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            module, rows = Net(), torch.from_numpy(X)
            optimizer = torch.optim.SGD(module.parameters(), 0.1)
            for _ in range(3):
                for batch in DataLoader(range(150), batch_size=16, shuffle=True):
                    batch = batch[torch.from_numpy(kept)[batch]]
                    optimizer.zero_grad()
                    labels = torch.from_numpy(y[batch])
                    nn.functional.cross_entropy(module(rows[batch]), labels).backward()
                    optimizer.step()
        return log_odds(module(torch.from_numpy(X_query)).detach().numpy(), y_query)

    for s, seed in enumerate(truth.seeds):
        full = refit(np.full(150, True), seed)
        assert_allclose(truth.full_outputs[s], full, atol=1e-5)
        for group in (0, 7):
            assert_allclose(
                truth.effects[s, :, group], full - refit(groups != group, seed), atol=1e-5
            )


# Side by side or one by one.


def both_ways(estimator, iris, **options):
    """Retrain side by side and one by one; return both truths."""
    X, y, groups, X_query, y_query = iris
    options = {"groups": groups, "subsets": 3, "random_state": 0} | options
    return [
        retraining(estimator, X, y, X_query, y_query, side_by_side=way, **options)
        for way in (True, False)
    ]


# Without biases in front of normalisations: their gradients are rounding errors, of which Adam
# makes full steps.
def normalised():
    return nn.Sequential(nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))


def images():
    convolution = nn.Conv2d(1, 3, 2, padding=1, bias=False)
    layers = (nn.Unflatten(1, (1, 2, 2)), convolution, nn.BatchNorm2d(3), nn.ReLU())
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(27, 3))


ADAM = {"optimizer": torch.optim.Adam, "lr": 0.02}
CLASS_WEIGHT = torch.tensor([1.0, 2.0, 0.5])


def small_net(module=Net, kind=NeuralNetClassifier, **params):
    options = {"max_epochs": 3, "batch_size": 15, "lr": 0.1, "iterator_train__shuffle": True}
    options |= {"criterion": nn.CrossEntropyLoss, "train_split": None, "verbose": 0}
    return kind(module, **(options | params))


@pytest.mark.parametrize(
    "estimator",
    [
        small_net(),
        small_net(optimizer__momentum=0.9, optimizer__weight_decay=1e-2),
        small_net(batch_size=-1),
        small_net(iterator_train__shuffle=False),
        small_net(**ADAM),
        small_net(normalised, **ADAM),
        small_net(images, **ADAM),
        small_net(**ADAM, criterion__weight=CLASS_WEIGHT, criterion__label_smoothing=0.1),
        small_net(**ADAM, optimizer__weight_decay=0.1, callbacks=[GradientNormClipping(0.5)]),
        small_net(callbacks=[LRScheduler("CosineAnnealingLR", T_max=30, step_every="batch")]),
    ],
    ids="sgd momentum full in-order adam norm conv loss clipping schedule".split(),
)
def test_side_by_side_and_one_by_one_agree(iris, estimator):
    stacked, alone = both_ways(estimator, iris)
    assert stacked.how == "side by side"
    assert alone.how == "one by one: side_by_side=False"
    for name in ("effects", "outputs", "full_outputs"):
        assert_allclose(stacked[name], alone[name], atol=2e-4 * np.abs(alone[name]).max())
    assert np.abs(alone.effects).max() > 1e-3


@pytest.mark.parametrize("split", ["outside", "held back"])
def test_each_training_stops_early_by_itself_and_on_the_same_rows(iris, split):
    X, y, *_ = iris
    splits = {
        "outside": predefined_split(Dataset(X[::3] + 0.3, y[::3].astype(np.int64))),
        "held back": ValidSplit(5),
    }
    estimator = net().set_params(
        **(ADAM | {"lr": 0.1, "max_epochs": 40, "batch_size": 15}),
        train_split=splits[split],
        callbacks=[EarlyStopping(patience=2, load_best=True)],
    )
    stacked, alone = both_ways(estimator, iris)
    for name in ("effects", "outputs", "full_outputs"):
        assert_allclose(stacked[name], alone[name], atol=1e-3 * np.abs(alone[name]).max())


def test_binary_nets_and_regression_run_side_by_side(iris):
    X, y, groups, X_query, y_query = iris
    binary = net(NeuralNetBinaryClassifier, nn.BCEWithLogitsLoss, n_outputs=1)
    two = (X, (y > 1).astype(int), groups, X_query, (y_query > 1).astype(int))
    values = (X, X.sum(1), groups, X_query, X_query.sum(1))
    regression = net(NeuralNetRegressor, nn.MSELoss, n_outputs=1)
    for estimator, data in ((binary, two), (regression, values)):
        stacked, alone = both_ways(estimator, data)
        assert_allclose(stacked.effects, alone.effects, atol=1e-5)


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.output = nn.Embedding(9, 4), nn.Linear(4, 3)

    def forward(self, X):
        return self.output(self.embedding(X).mean(1))


def test_rows_of_integers_and_soft_targets_run_side_by_side(iris):
    X, y, groups, X_query, y_query = iris
    words = [(rows * 2 + 4).astype(np.int64).clip(0, 8) for rows in (X, X_query)]
    soft = np.eye(3, dtype=np.float32)[y] * 0.8 + np.float32(0.2 / 3)
    for estimator, data in (
        (small_net(Words), (words[0], y, groups, words[1], y_query)),
        (small_net(kind=NeuralNet), (X, soft, groups, X_query, y_query)),
    ):
        stacked, alone = both_ways(estimator, data)
        assert stacked.how == "side by side"
        assert_allclose(stacked.effects, alone.effects, atol=1e-5)
        assert np.abs(alone.effects).max() > 1e-3


def test_stacks_are_cut_to_the_memory_that_is_meant(iris, monkeypatch):
    whole, _ = both_ways(net(), iris)
    monkeypatch.setattr(Stack, "n_at_once", lambda *_: 4)
    parts, _ = both_ways(net(), iris, n_jobs=2)
    for name in ("effects", "outputs"):
        assert_allclose(parts[name], whole[name], atol=1e-5)


class OwnStep(NeuralNetClassifier):
    def train_step_single(self, batch, **fit_params):
        return super().train_step_single(batch, **fit_params)


class OwnRows(Dataset):
    def transform(self, X, y):
        return super().transform(X * 2, y)


@pytest.mark.parametrize(
    ("estimator", "reason"),
    [
        (LogisticRegression(), "LogisticRegression is not a skorch net"),
        (make_pipeline(StandardScaler(), net()), "the net is part of a pipeline"),
        (net(OwnStep), "OwnStep has a train_step_single of its own"),
        (net().set_params(dataset=OwnRows), "the net has its own dataset=OwnRows"),
        (net().set_params(optimizer=torch.optim.LBFGS), "LBFGS"),
        (net().set_params(train_split=ValidSplit(0.3)), "changes the order of the rows"),
        (
            NeuralNetClassifier(Net(), criterion=nn.CrossEntropyLoss, train_split=None, verbose=0),
            "the net holds a module instance",
        ),
    ],
)
def test_what_cannot_run_side_by_side_runs_one_by_one_and_says_why(iris, estimator, reason):
    X, y, groups, X_query, y_query = iris
    options = {"groups": groups, "leave_one_out": False, "random_state": 0}
    truth = retraining(estimator, X, y, X_query, y_query, **options)
    assert truth.how.startswith("one by one: ") and reason in truth.how
    with pytest.raises(ValueError, match="cannot run side by side: ") as refusal:
        retraining(estimator, X, y, X_query, y_query, side_by_side=True, **options)
    assert reason in str(refusal.value)


def test_stacks_go_on_from_a_cache(iris, tmp_path, monkeypatch):
    X, y, groups, X_query, y_query = iris
    trained = []
    objectives = Stack.objectives

    def counted(self, kept, *args):
        trained.append(len(kept))
        return objectives(self, kept, *args)

    monkeypatch.setattr(Stack, "objectives", counted)
    options = {"groups": groups, "random_state": 0, "cache_dir": tmp_path / "cache"}
    first = retraining(net(), X, y, X_query, y_query, **options)
    more = retraining(net(), X, y, X_query, y_query, subsets=4, n_seeds=2, **options)
    assert trained == [16, 4, 20]
    assert_array_equal(more.effects[:1], first.effects)
    retraining(net(), X, y, X_query, y_query, subsets=4, side_by_side=False, **options)
    assert len(list((tmp_path / "cache").glob("*.npz"))) == 40


def test_the_objective_is_the_attributors(iris):
    """Nothing is trained (a learning rate of 0): both judge the same network."""
    X, y, groups, X_query, y_query = iris
    for objective in ("margin", "probability", "logit", "loss"):
        truth = retraining(
            net().set_params(lr=0.0),
            *(X, y, X_query, y_query),
            groups=groups,
            leave_one_out=False,
            objective=objective,
            random_state=0,
        )
        with torch.random.fork_rng():
            torch.manual_seed(truth.seeds[0])
            fitted = net().set_params(lr=0.0).fit(X, y)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            attributor = SynsetAttributor(
                FrozenEstimator(fitted), objective=objective, max_iter=0, n_steps=1, n_probes=0
            ).fit(X, y, groups=groups)
        function = attributor._objective(attributor._online.models[0])
        judged = attributor._online.objectives(X_query, y_query, function)
        assert_allclose(truth.full_outputs[0], judged, atol=1e-5)
        assert truth.effects is None


@pytest.mark.parametrize(
    "estimator", [net(), RandomForestClassifier(5, max_depth=1)], ids=["net", "forest"]
)
def test_parallel_trainings_give_the_same_bits(iris, estimator):
    X, y, groups, X_query, y_query = iris
    groups = y * 2 + groups % 2
    options = {"groups": groups, "subsets": 2, "n_seeds": 2, "random_state": 3}
    serial = retraining(estimator, X, y, X_query, y_query, **options)
    parallel = retraining(estimator, X, y, X_query, y_query, n_jobs=2, **options)
    for name in ("effects", "outputs", "subsets", "full_outputs", "seeds"):
        assert_array_equal(serial[name], parallel[name])
    assert np.ptp(serial.full_outputs, axis=0).max() > 0


def test_large_arrays_reach_other_processes_read_only_without_harm():
    """Arrays above a megabyte are shared by memory map, which torch warns of."""
    X = np.random.RandomState(0).normal(size=(400, 800)).astype(np.float32)
    y, groups = np.arange(400) % 3, np.arange(400) // 200
    estimator = net(n_features=800).set_params(max_epochs=1)
    options = {"groups": groups, "random_state": 0}
    serial = retraining(estimator, X, y, X, y, **options)
    assert_array_equal(
        serial.effects, retraining(estimator, X, y, X, y, n_jobs=2, **options).effects
    )


def test_random_halves_keep_half_of_the_groups_and_are_those_asked_for(iris):
    X, y, groups, X_query, y_query = iris
    options = {"groups": groups, "leave_one_out": False, "random_state": 0}
    drawn = retraining(GaussianNB(), X, y, X_query, y_query, subsets=9, **options)
    assert drawn.subsets.shape == (9, 15)
    assert_array_equal(drawn.subsets.sum(1), 8)
    given = retraining(GaussianNB(), X, y, X_query, y_query, subsets=drawn.subsets[::-1], **options)
    assert_array_equal(given.outputs[:, ::-1], drawn.outputs)
    fewer = retraining(GaussianNB(), X, y, X_query, y_query, subsets=4, n_seeds=2, **options)
    assert_array_equal(fewer.subsets, drawn.subsets[:4])
    assert fewer.seeds[0] == drawn.seeds[0]


def test_random_halves_of_few_groups_hold_every_class(iris):
    X, y, _, X_query, y_query = iris
    groups = y * 2 + np.arange(150) % 2
    truth = retraining(
        GaussianNB(), X, y, X_query, y_query, groups=groups, subsets=20, random_state=0
    )
    assert (truth.subsets.reshape(20, 3, 2).sum(2) == 1).all()


def test_queries_are_judged_by_the_given_label(iris):
    X, y, groups, X_query, _ = iris
    outputs = [
        retraining(
            GaussianNB(), X, y, X_query, np.full(8, label), groups=groups, leave_one_out=False
        ).full_outputs
        for label in range(3)
    ]
    probabilities = 1 / (1 + np.exp(-np.array(outputs)))
    assert_allclose(probabilities.sum(0), 1, atol=1e-9)


def test_the_order_of_rows_within_the_problem_does_not_matter(iris):
    X, y, groups, X_query, y_query = iris
    order = np.random.RandomState(0).permutation(150)
    names = np.array([f"group {group:02d}" for group in groups])
    truth = retraining(GaussianNB(), X, y, X_query, y_query, groups=groups)
    moved = retraining(GaussianNB(), X[order], y[order], X_query, y_query, groups=names[order])
    assert_allclose(moved.effects, truth.effects, rtol=1e-4, atol=1e-4)
    assert_array_equal(moved.groups, np.unique(names))


# Different kinds of estimators, and the objective that queries are evaluated by.


def full_outputs(estimator, X, y, X_query, y_query, **options):
    return retraining(
        estimator,
        *(X, y, X_query, y_query),
        groups=np.arange(len(y)) % 2,
        leave_one_out=False,
        random_state=0,
        **options,
    ).full_outputs[0]


def test_logits_of_a_decision_function_do_not_saturate():
    X, y = np.linspace(-1, 1, 40)[:, None], np.arange(40) // 20
    classifier = LogisticRegression(C=1e3).fit(X, y)
    outputs = full_outputs(LogisticRegression(C=1e3), X, y, [[100.0], [-100.0]], [1, 1])
    assert_allclose(outputs, classifier.decision_function([[100.0], [-100.0]]))
    assert outputs[0] > 100


def test_a_decision_function_that_is_no_log_odds_is_not_used(iris):
    X, y, _, X_query, y_query = iris
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        classifier = SVC(probability=True, random_state=0)
        outputs = full_outputs(classifier, X[:100], y[:100], X_query[:5], y_query[:5])
        with_seed = classifier.set_params(random_state=None).fit(X[:100], y[:100])
    probability = with_seed.predict_proba(X_query[:5])[np.arange(5), y_query[:5]]
    # Platt scaling draws at random: the scale tells them apart.
    assert_allclose(outputs, np.log(probability / (1 - probability)), rtol=0.3)
    assert np.abs(outputs).min() > 2 * np.abs(with_seed.decision_function(X_query[:5])).max()


def test_without_probabilities_the_decision_function_is_taken_for_logits(iris):
    X, y, _, X_query, y_query = iris
    fitted = RidgeClassifier().fit(X, y)
    expected = log_odds(fitted.decision_function(X_query), y_query)
    assert_allclose(full_outputs(RidgeClassifier(), X, y, X_query, y_query), expected, rtol=1e-6)


def test_certain_probabilities_stay_finite(iris):
    X, y, _, X_query, y_query = iris
    outputs = full_outputs(RandomForestClassifier(3), X, y, X_query, y_query)
    assert np.isfinite(outputs).all()
    assert outputs.max() == pytest.approx(-np.log(2 * np.finfo(float).eps))


def test_string_labels_frames_and_sparse_rows(iris):
    X, y, _, X_query, y_query = iris
    expected = full_outputs(GaussianNB(), X, y, X_query, y_query)
    names = np.array(["setosa", "versicolor", "virginica"])
    frame, queries = (
        pd.DataFrame(X, columns=list("abcd")),
        pd.DataFrame(X_query, columns=list("abcd")),
    )
    assert_array_equal(
        full_outputs(GaussianNB(), frame, names[y], queries, names[y_query]), expected
    )
    dense = full_outputs(LogisticRegression(), X, y, X_query, y_query)
    sparse = full_outputs(LogisticRegression(), csr_matrix(X), y, csr_matrix(X_query), y_query)
    assert_allclose(sparse, dense, atol=1e-3)


def test_a_net_takes_string_labels_and_any_floats(iris):
    X, y, _, X_query, y_query = iris
    names = np.array(["setosa", "versicolor", "virginica"])
    expected = full_outputs(net(), X, y, X_query, y_query)
    double = full_outputs(net(), X.astype(np.float64), names[y], X_query.tolist(), names[y_query])
    assert_array_equal(double, expected)


def test_a_net_that_ends_a_pipeline_returns_its_logits():
    X, y = load_wine(return_X_y=True)
    X = X.astype(np.float32)
    outputs = full_outputs(make_pipeline(StandardScaler(), net(n_features=13)), X, y, X[:9], y[:9])
    scaled = StandardScaler().fit_transform(X)
    assert_allclose(
        outputs, full_outputs(net(n_features=13), scaled, y, scaled[:9], y[:9]), atol=1e-5
    )


def test_binary_nets_with_one_logit_and_weighted_losses(iris):
    X, y, _, X_query, y_query = (part[:100] for part in iris)
    X_query, y_query = X_query[:5], y_query[:5]
    binary = net(NeuralNetBinaryClassifier, nn.BCEWithLogitsLoss, n_outputs=1)
    outputs = full_outputs(binary, X, y, X_query, y_query)
    assert_allclose(full_outputs(binary, X, y, X_query, 1 - y_query), -outputs, atol=1e-6)
    weighted = net(n_outputs=2).set_params(criterion__weight=torch.tensor([1.0, 5.0]))
    shifted = full_outputs(weighted, X, y, X_query, y_query)
    plain = full_outputs(net(n_outputs=2), X, y, X_query, y_query)
    assert ((shifted - plain) * np.where(y_query == 1, 1, -1) > 0).all()


@pytest.mark.parametrize("estimator", [LinearRegression(), "net"])
def test_regression_is_evaluated_by_the_prediction_or_minus_the_squared_error(estimator):
    rng = np.random.RandomState(0)
    X = rng.normal(size=(40, 4)).astype(np.float32)
    y = X.sum(1) + rng.normal(size=40).astype(np.float32)
    if estimator == "net":
        estimator = net(NeuralNetRegressor, nn.MSELoss, n_outputs=1)
    prediction = full_outputs(estimator, X, y, X[:6], y[:6])
    loss = full_outputs(estimator, X, y, X[:6], y[:6], objective="loss")
    assert_allclose(loss, -((prediction - y[:6]) ** 2), rtol=1e-5)
    if isinstance(estimator, LinearRegression):
        assert_allclose(prediction, LinearRegression().fit(X, y).predict(X[:6]), rtol=1e-5)


def train_softly(X, y, seed):
    """Train something that is no estimator until it is fitted."""
    return GaussianNB(var_smoothing=1e-3 * (1 + seed % 7)).fit(X, y)


def test_a_callable_trains_with_the_seed(iris):
    X, y, groups, X_query, y_query = iris
    truth = retraining(
        train_softly, X, y, X_query, y_query, groups=groups, n_seeds=2, random_state=0
    )
    for seed, outputs in zip(truth.seeds, truth.full_outputs, strict=True):
        same = GaussianNB(var_smoothing=1e-3 * (1 + seed % 7))
        assert_allclose(outputs, full_outputs(same, X, y, X_query, y_query))


def spread(outputs, y):
    """Return an objective of one's own."""
    return outputs.amax(-1) - outputs.amin(-1)


def test_an_objective_of_ones_own(iris):
    X, y, _, X_query, y_query = iris
    logits = LogisticRegression().fit(X, y).decision_function(X_query)
    outputs = full_outputs(LogisticRegression(), X, y, X_query, y_query, objective=spread)
    assert_allclose(outputs, np.ptp(logits, axis=1), rtol=1e-5)


# Resuming.


class Counting(GaussianNB):
    """Writes a line for every fit; from a given one on, fits fail."""

    def __init__(self, path=None):
        super().__init__()
        self.path = path

    def fit(self, X, y):
        with open(self.path, "a") as file:
            file.write("fit\n")
        limit = os.environ.get("SYNSET_TEST_FITS")
        if limit is not None and self.n_fits() > int(limit):
            raise KeyboardInterrupt
        return super().fit(X, y)

    def n_fits(self):
        with open(self.path) as file:
            return len(file.readlines())


@pytest.fixture
def cached(iris, tmp_path):
    """Return a function that retrains with a cache, and the estimator that counts its fits."""
    X, y, groups, X_query, y_query = iris
    estimator = Counting(str(tmp_path / "fits"))
    start = {"X": X, "y": y, "X_query": X_query, "y_query": y_query, "groups": groups}
    start |= {"estimator": estimator, "subsets": 4, "random_state": 0}
    start |= {"cache_dir": tmp_path / "cache"}
    return (lambda **changes: retraining(**(start | changes))), estimator


def test_all_pools_of_threads_are_left_as_they_were():
    before = torch.get_num_threads()
    rng = np.random.RandomState(0)
    X, y = rng.normal(size=(12, 3)), np.arange(12) % 2
    try:
        torch.set_num_threads(before + 1)
        pools = torch.__config__.parallel_info()
        retraining(LogisticRegression(), X, y, X, y, groups=np.arange(12) // 2)
        assert torch.__config__.parallel_info() == pools
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_an_interrupted_run_goes_on_where_it_stopped(cached, monkeypatch, n_jobs):
    run, estimator = cached
    expected = run(cache_dir=None)
    n_total = estimator.n_fits()
    assert n_total == 1 + 15 + 4
    monkeypatch.setenv("SYNSET_TEST_FITS", str(n_total + 7))
    with pytest.raises(KeyboardInterrupt):
        run()
    monkeypatch.delenv("SYNSET_TEST_FITS")
    assert estimator.n_fits() == n_total + 8
    resumed = run(n_jobs=n_jobs)
    assert estimator.n_fits() == n_total + 8 + 13
    again = run(n_jobs=n_jobs)
    assert estimator.n_fits() == n_total + 8 + 13
    for truth in (resumed, again):
        assert_array_equal(truth.effects, expected.effects)
        assert_array_equal(truth.outputs, expected.outputs)


def test_seeds_and_subsets_are_added_to_a_cache(cached):
    run, estimator = cached
    first = run()
    more = run(subsets=6, n_seeds=2)
    assert estimator.n_fits() == 20 + 2 + 22
    assert_array_equal(more.outputs[:1, :4], first.outputs)
    assert_array_equal(more.effects[:1], first.effects)


def test_a_damaged_file_is_made_again(cached, tmp_path):
    run, estimator = cached
    expected = run().effects
    files = sorted((tmp_path / "cache").glob("*.npz"))
    assert len(files) == 20
    files[3].write_bytes(files[3].read_bytes()[:100])
    files[4].write_bytes(b"")
    assert_array_equal(run().effects, expected)
    assert estimator.n_fits() == 22


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda iris: {"X": iris[0] + 1}, "X"),
        (lambda iris: {"y": np.roll(iris[1], 10)}, "y"),
        (lambda iris: {"X_query": iris[3] + 1}, "X_query"),
        (lambda iris: {"y_query": 2 - iris[4]}, "y_query"),
        (lambda iris: {"groups": np.roll(iris[2], 1)}, "groups"),
        (lambda iris: {"objective": "loss"}, "objective"),
        (lambda iris: {"estimator": GaussianNB()}, "estimator"),
    ],
)
def test_a_cache_of_something_else_is_refused_before_training(cached, iris, change, named):
    run, estimator = cached
    run()
    with pytest.raises(ValueError, match=rf"differ in {named};"):
        run(**change(iris))
    assert estimator.n_fits() == 20


def test_a_cache_knows_a_nets_parameters_and_layers(iris, tmp_path):
    X, y, groups, X_query, y_query = iris

    def run(estimator):
        return retraining(
            *(estimator, X, y, X_query, y_query),
            groups=groups,
            leave_one_out=False,
            random_state=0,
            cache_dir=tmp_path / "cache",
        ).full_outputs

    weighted = net().set_params(criterion__weight=torch.tensor([1.0, 2.0, 3.0]))
    first = run(weighted)
    assert_array_equal(run(net().set_params(criterion__weight=torch.tensor([1.0, 2, 3]))), first)
    with pytest.raises(ValueError, match="differ in estimator"):
        run(net().set_params(criterion__weight=torch.tensor([1.0, 2.0, 4.0])))
    with pytest.raises(ValueError, match="differ in estimator"):
        run(net().set_params(lr=0.2, criterion__weight=torch.tensor([1.0, 2.0, 3.0])))
    with pytest.raises(ValueError, match="differ in estimator, module"):
        run(net().set_params(module__n_hidden=7))


def test_a_directory_of_other_files_is_left_alone(cached, tmp_path):
    run, _ = cached
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "thesis.tex").write_text("all of it")
    with pytest.raises(ValueError, match="no retrainings"):
        run()
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["thesis.tex"]


def test_the_manifest_holds_hashes_alone(cached, tmp_path):
    run, _ = cached
    run()
    manifest = json.loads((tmp_path / "cache" / "manifest.json").read_text())
    assert manifest.keys() >= {"X", "y", "X_query", "y_query", "groups", "estimator", "objective"}
    assert {len(value) for value in manifest.values()} == {32}


def test_progress_is_shown_if_asked_for(iris, capsys):
    X, y, groups, X_query, y_query = iris
    retraining(GaussianNB(), X, y, X_query, y_query, groups=groups)
    assert not capsys.readouterr().err
    retraining(GaussianNB(), X, y, X_query, y_query, groups=groups, verbose=1)
    assert "16/16" in capsys.readouterr().err


# Errors, before anything is trained.


class Untrainable(BaseEstimator):
    """Fails the test if it is trained."""

    _estimator_type = "classifier"

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.estimator_type = "classifier"
        return tags

    def fit(self, X, y):
        raise AssertionError("trained")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": np.zeros(7)}, "inconsistent numbers of samples"),
        ({"y": np.linspace(0, 1, 150)}, "Unknown label type"),
        ({"y_query": np.full(8, 5)}, "not seen in fit"),
        ({"y_query": np.zeros(7)}, "inconsistent numbers of samples"),
        ({"X_query": np.zeros((8, 3), np.float32)}, r"training rows' shape \(4,\), got \(3,\)"),
        ({"groups": np.zeros(150)}, "At least 2 groups"),
        ({"groups": np.zeros(7)}, "inconsistent numbers of samples"),
        ({"groups": np.r_[np.nan, np.ones(149)]}, "groups holds NaN"),
        ({"groups": np.arange(150) // 50}, "Leaving out group number 0 leaves training rows of 2"),
        ({"groups": np.arange(150) // 50, "leave_one_out": False, "subsets": 2}, "random half"),
        ({"subsets": np.ones((2, 3))}, r"\(..., 15\); got the shape \(2, 3\)"),
        ({"subsets": np.full((2, 15), 0.5)}, "masks of booleans"),
        ({"subsets": np.zeros((2, 15))}, "without a group"),
        ({"subsets": np.arange(15)[None] < 5}, "Subset number 0 leaves training rows of 1 of 3"),
        ({"subsets": -1}, "subsets"),
        ({"n_seeds": 0}, "n_seeds"),
        ({"side_by_side": "yes"}, "side_by_side must be 'auto', True or False"),
        ({"objective": "prediction"}, "not defined for class labels"),
        ({"cache_dir": "cache"}, "integer random_state"),
    ],
)
def test_wrong_input_is_refused_before_training(iris, change, message):
    names = ("X", "y", "groups", "X_query", "y_query")
    arguments = dict(zip(names, iris, strict=True)) | {"estimator": Untrainable()} | change
    with pytest.raises(ValueError, match=message):
        retraining(**arguments)


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (nn.Linear(4, 3), "Wrap its class in a skorch net"),
        (make_pipeline(StandardScaler(), nn.Linear(4, 3)), "Wrap its class in a skorch net"),
        (FrozenEstimator(GaussianNB()), "cannot be trained again"),
        (GaussianNB, "must be a scikit-learn estimator"),
        ("GaussianNB", "must be a scikit-learn estimator"),
        (None, "must be a scikit-learn estimator"),
    ],
)
def test_what_cannot_be_trained_is_refused(iris, estimator, message):
    X, y, groups, X_query, y_query = iris
    with pytest.raises(TypeError, match=message):
        retraining(estimator, X, y, X_query, y_query, groups=groups)


def test_what_does_not_hash_is_refused_with_a_cache(iris, tmp_path):
    X, y, groups, X_query, y_query = iris
    with pytest.raises(ValueError, match="objective cannot be"):
        retraining(
            *(GaussianNB(), X, y, X_query, y_query),
            groups=groups,
            objective=lambda outputs, y: outputs[:, 0],
            random_state=0,
            cache_dir=tmp_path / "cache",
        )
    assert not (tmp_path / "cache").exists()


def test_a_training_that_diverges_says_so(iris):
    X, y, groups, X_query, y_query = iris
    with pytest.raises(ValueError, match="diverged"):
        retraining(net().set_params(lr=1e38), X, y, X_query, y_query, groups=groups)


@pytest.mark.parametrize("name", ["X", "X_query"])
def test_a_net_is_not_trained_on_rows_with_nan(iris, name):
    arguments = dict(zip(("X", "y", "groups", "X_query", "y_query"), iris, strict=True))
    arguments[name] = np.where(arguments[name] > 1, np.nan, arguments[name])
    with pytest.raises(ValueError, match=f"Input {name} contains NaN"):
        retraining(net(), **arguments)


def test_a_net_of_another_width_is_refused(iris):
    X, y, groups, X_query, y_query = iris
    with pytest.raises(ValueError, match="5 outputs, but y holds 3 classes"):
        retraining(net(n_outputs=5), X, y, X_query, y_query, groups=groups)


def test_a_classifier_that_has_no_margin_is_refused(iris):
    class Labels(DummyClassifier):
        predict_proba = property()

    X, y, groups, X_query, y_query = iris
    with pytest.raises(TypeError, match="neither predict_proba nor decision_function"):
        retraining(Labels(), X, y, X_query, y_query, groups=groups)


def test_the_metrics_take_the_truth_as_it_is(iris):
    X, y, groups, X_query, y_query = iris
    options = {"groups": groups, "subsets": 5, "n_seeds": 2, "random_state": 0}
    truth = retraining(LogisticRegression(), X, y, X_query, y_query, **options)
    scores = truth.effects.mean(0)
    assert leave_one_out_correlation(truth.effects, scores) == pytest.approx(1)
    assert leave_one_out_ceiling(truth.effects) == pytest.approx(1)
    assert calibration_slope(truth.effects, scores) == pytest.approx(1)
    assert linear_datamodeling_score(truth.outputs, scores, truth.subsets) > 0
