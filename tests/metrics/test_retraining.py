"""Real retraining without each group: closed forms, bits, and errors before any training."""

import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
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
from tests.metrics.nets import Net, log_odds, net


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


def test_the_loss_of_several_values_is_their_mean_as_the_attributor_has_it():
    rng = np.random.RandomState(0)
    X, groups = rng.normal(size=(30, 3)), np.arange(30) % 3
    y = X[:, :2] + rng.normal(size=(30, 2))
    regression = LinearRegression()
    params = {"groups": groups, "objective": "loss", "random_state": 0}
    found = retraining(regression, X, y, X, y, **params).effects[0]
    loss = [
        np.square(LinearRegression().fit(X[rows], y[rows]).predict(X) - y).mean(1)
        for rows in (slice(None), groups != 1)
    ]
    np.testing.assert_allclose(found[:, 1], loss[1] - loss[0])
