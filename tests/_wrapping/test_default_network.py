import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes
from skorch import NeuralNetClassifier, NeuralNetRegressor

from sklearn_synset._wrapping.wrapped_model import restore, wrap


def train(X, y, n_classes=None, seed=0, **params):
    classes = None if n_classes is None else np.arange(n_classes)
    return wrap(None, X, y, classes=classes, random_state=np.random.RandomState(seed), **params)


def separable(n=60, dtype=np.float64):
    X = np.random.RandomState(0).normal(size=(n, 3)).astype(dtype)
    return X, (X[:, 0] > 0).astype(int)


def test_it_learns_a_table_of_labels():
    X, y = load_breast_cancer(return_X_y=True)
    net, _ = train(X[:200], y[:200], 2)
    assert isinstance(net, NeuralNetClassifier)
    assert (net.predict(X[200:]) == y[200:]).mean() > 0.9


def test_it_learns_a_table_of_targets():
    X, y = load_diabetes(return_X_y=True)
    net, _ = train(X[:300], y[:300])
    assert isinstance(net, NeuralNetRegressor)
    assert np.corrcoef(net.predict(X[300:])[:, 0], y[300:])[0, 1] > 0.6


def test_the_function_is_the_net():
    X, y = separable()
    net, model = train(X, y, 2)
    logits = model(model.theta, torch.as_tensor(X))
    np.testing.assert_allclose(logits.softmax(-1), net.predict_proba(X), rtol=1e-9)
    zeroed = restore(net, model, torch.zeros_like(model.theta))
    np.testing.assert_allclose(zeroed.predict_proba(X), 0.5)


@pytest.mark.parametrize("unit", [1e-3, 1e4])
def test_the_unit_of_rows_and_targets_does_not_matter(unit):
    X, _ = separable()
    y = np.sin(X[:, 0])
    predictions = [train(X * a, y * b)[0].predict(X * a) / b for a, b in [(1, 1), (unit, unit)]]
    np.testing.assert_allclose(*predictions, rtol=1e-3, atol=1e-3)


def test_training_is_a_function_of_the_seed_alone():
    X, y = separable()
    thetas = []
    for seed in (0, 0, 1):
        torch.rand(1), np.random.rand()
        before = torch.get_rng_state(), np.random.get_state()[1].copy(), torch.get_num_threads()
        thetas.append(train(X, y, 2, seed)[1].theta)
        assert torch.equal(before[0], torch.get_rng_state())
        assert np.array_equal(before[1], np.random.get_state()[1])
        assert before[2] == torch.get_num_threads()
    assert torch.equal(thetas[0], thetas[1])
    assert not torch.equal(thetas[0], thetas[2])


def test_training_works_without_gradients_outside():
    X, y = separable()
    with torch.no_grad():
        _, model = train(X, y, 2)
    assert torch.equal(model.theta, train(X, y, 2)[1].theta)


@pytest.mark.parametrize(
    ("given", "expected"),
    [(np.float32, torch.float32), (np.float64, torch.float64), (np.int64, torch.float64)],
)
def test_dtype_is_that_of_the_rows(given, expected):
    X, y = separable(20)
    assert train((10 * X).astype(given), y, 2)[1].dtype == expected


@pytest.mark.parametrize(("n", "n_classes"), [(1, 1), (2, 2), (3, 1), (5, 3)])
def test_few_rows_and_single_classes(n, n_classes):
    X = np.random.RandomState(0).normal(size=(n, 4))
    _, model = train(X, np.arange(n) % n_classes, n_classes)
    outputs = model(model.theta, torch.as_tensor(X))
    assert outputs.shape == (n, n_classes) and outputs.isfinite().all()


def test_constant_features_and_targets():
    net, _ = train(np.full((10, 2), 0.1), np.full(10, 1e6))
    np.testing.assert_allclose(net.predict(np.full((1, 2), 0.1)), 1e6, rtol=1e-5)


def test_several_targets_and_images():
    X = np.random.RandomState(0).normal(size=(10, 1, 2, 3))
    _, model = train(X, np.stack([X[:, 0, 0, 0], X[:, 0, 1, 2]], axis=1))
    assert model(model.theta, torch.as_tensor(X)).shape == (10, 2)
    assert model.loss_scale == 1.0


def test_it_can_be_pickled_and_copied_and_shows_a_bar(capsys):
    X, y = separable(20)
    net, _ = train(X, y, 2, verbose=1)
    captured = capsys.readouterr()
    assert "Training: 100%" in captured.err and not captured.out
    assert "notify" not in vars(net)
    for twin in (pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):
        np.testing.assert_array_equal(twin.predict(X), net.predict(X))
