"""Estimators of all kinds, and the objective that queries are evaluated by."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix
from sklearn.datasets import load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from skorch import NeuralNetBinaryClassifier, NeuralNetRegressor
from torch import nn

from sklearn_synset.metrics import (
    retraining,
)
from tests.metrics.nets import log_odds, net

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
