"""What a target holds: stated by task and classes, or read off it; what may be both is refused."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNet, NeuralNetClassifier, NeuralNetRegressor
from torch import nn

from sklearn_synset import SynsetAttributor
from sklearn_synset._data.target import read_target
from sklearn_synset.metrics import retraining
from tests.problems import mlp, seeded, train

# How groups are left out is another matter: a module and a net are rewound alike.
FAST = {"n_groups": 6, "n_probes": 0, "n_steps": 20, "solver": "rewind", "random_state": 0}
N = 36
RNG = np.random.RandomState(0)
X = RNG.normal(size=(N, 4))
Y = np.arange(N) % 3
COUNTS = np.random.RandomState(1).poisson(np.exp(X[:, 0]), size=N)


def one_output():
    return mlp(n_outputs=1)


def net(module, cls=NeuralNetClassifier, **params):
    settings = {"train_split": None, "verbose": 0, "max_epochs": 20, "lr": 0.1}
    if cls is not NeuralNetRegressor:
        settings["criterion"] = nn.CrossEntropyLoss
    return cls(module, **settings | params)


def effects(estimator, y, queries=X, **params):
    return SynsetAttributor(estimator, **FAST | params).fit(X, y, groups=Y).transform(queries)


@pytest.mark.parametrize("y", [COUNTS, (X[:, 1] > 0).astype(float), (X[:, 1] > 0)])
def test_counts_and_zeros_and_ones_are_values_if_the_task_is_regression(y):
    fitted = net(one_output(), NeuralNetRegressor).fit(X, y.astype(float).reshape(-1, 1))
    expected = effects(FrozenEstimator(fitted), y.astype(float))
    found = effects(fitted.module_, y, task="regression")
    np.testing.assert_array_equal(found, expected)


def test_values_under_one_output_are_not_taken_for_labels_unseen():
    y = (X[:, 1] > 0).astype(float)
    module = train(one_output(), X, y[:, None], nn.MSELoss(), n_steps=300)
    with pytest.raises(ValueError, match=r"as the values 0 and 1 \(R\^2 .*Pass task='regression'"):
        effects(module, y)
    assert np.isfinite(effects(module, y, task="regression")).all()
    assert np.isfinite(effects(module, y, task="classification")).all()
    logits = train(one_output(), X, y[:, None], nn.BCEWithLogitsLoss(), n_steps=300)
    stated = effects(logits, y, task="classification")
    np.testing.assert_array_equal(effects(logits, y), stated)


def test_counts_under_one_output_say_how_to_make_them_values():
    with pytest.raises(ValueError, match=r"classes, got 1\. If y holds values, pass task='regr"):
        effects(one_output(), COUNTS)


def test_a_criterion_of_values_makes_counts_values():
    for criterion in (nn.PoissonNLLLoss, nn.HuberLoss, nn.L1Loss, nn.MSELoss()):
        estimator = NeuralNet(one_output(), criterion=criterion)
        assert read_target(COUNTS, estimator)[0] is None
    assert read_target(COUNTS, None, "regression")[0] is None


class Padded(nn.Module):
    """A network of two classes, with another one that it never predicts."""

    def __init__(self, network, place):
        super().__init__()
        self.network, self.place = network, place

    def forward(self, X):
        output = self.network(X)
        missing = torch.full_like(output[:, :1], -500.0)
        return torch.cat([output[:, : self.place], missing, output[:, self.place :]], dim=1)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_class_without_rows_changes_nothing(place):
    labels = np.delete(["a", "b", "c"], place)
    y = labels[np.arange(N) % 2]
    network = train(mlp(n_outputs=2), X, np.arange(N) % 2, nn.CrossEntropyLoss())
    # A distillation measures errors on all outputs, those of classes without rows among them.
    plain_rows = FAST | {"max_iter": 0}
    plain = SynsetAttributor(network, **plain_rows).fit(X, y, groups=Y)
    padded = SynsetAttributor(Padded(network, place), classes=["a", "b", "c"], **plain_rows)
    padded.fit(X, y, groups=Y)
    np.testing.assert_allclose(padded.transform(X), plain.transform(X), atol=1e-10)
    np.testing.assert_allclose(padded.score_samples(X, y), plain.score_samples(X, y), atol=1e-10)
    assert padded.classes_.tolist() == ["a", "b", "c"]
    missing = ["abc"[place]] * N
    assert np.isfinite(padded.attribute(X, missing)).all()
    assert np.isfinite(padded.score_samples(X, missing)).all()


def test_nets_are_trained_with_a_class_without_rows():
    y = np.array([0, 2])[np.arange(N) % 2]
    for estimator in (None, net(mlp)):
        attributor = SynsetAttributor(estimator, classes=[0, 1, 2], **FAST).fit(X, y)
        assert attributor.y_synset_.shape[1] == 3
        assert np.isfinite(attributor.transform(X)).all()


def test_classes_are_in_the_order_of_the_outputs():
    labels = np.array(["cat", "dog", "emu"])
    network = train(mlp(), X, Y, nn.CrossEntropyLoss())
    expected = effects(network, labels[Y])
    turned = nn.Sequential(network, nn.Linear(3, 3, bias=False).double().requires_grad_(False))
    with torch.no_grad():
        turned[1].weight.copy_(torch.eye(3)[[2, 0, 1]])
    found = effects(turned, labels[Y], classes=labels[[2, 0, 1]])
    np.testing.assert_allclose(found, expected, atol=1e-10)


def test_a_class_without_rows_is_explained_where_it_is_missing():
    with pytest.raises(ValueError, match=r"If a class has no rows, pass all of them as classes="):
        effects(mlp(), np.arange(N) % 2)


def test_one_hot_rows_are_labels():
    one_hot = np.eye(3)[Y]
    network = train(mlp(), X, Y, nn.CrossEntropyLoss())
    expected = effects(network, Y)
    np.testing.assert_array_equal(effects(network, one_hot, task="classification"), expected)
    by_net = effects(net(mlp), Y)
    np.testing.assert_allclose(effects(net(mlp), one_hot), by_net, atol=1e-10)
    attributor = SynsetAttributor(network, task="classification", **FAST).fit(X, one_hot)
    np.testing.assert_array_equal(attributor.attribute(X, one_hot), attributor.attribute(X, Y))


def test_columns_of_soft_targets_are_in_the_order_of_classes():
    classes, target = read_target(np.eye(2)[[0, 0, 1]], None, "classification", ["dog", "cat"])
    assert classes.tolist() == ["cat", "dog"]
    np.testing.assert_array_equal(target, np.eye(2)[[1, 1, 0]])
    y = np.array(["dog", "cat"])[np.arange(N) % 2]
    network = train(mlp(n_outputs=2), X, np.arange(N) % 2, nn.CrossEntropyLoss())
    params = FAST | {"classes": ["dog", "cat"]}
    hard = SynsetAttributor(network, **params).fit(X, y)
    one_hot = np.eye(2)[np.arange(N) % 2]
    soft = SynsetAttributor(network, task="classification", **params).fit(X, one_hot)
    np.testing.assert_array_equal(soft.transform(X), hard.transform(X))
    np.testing.assert_array_equal(soft.attribute(X, one_hot), hard.attribute(X, y))


@pytest.mark.slow
def test_effects_of_soft_targets_agree_with_real_retraining():
    rng = np.random.RandomState(0)
    rows = rng.normal(size=(90, 4))
    logits = rows @ rng.normal(size=(4, 3)) + rng.normal(size=(90, 3))
    y = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    groups, queries = np.arange(90) % 9, rng.normal(size=(20, 4))
    estimator = net(
        seeded(lambda: nn.Linear(4, 3)).double(),
        max_epochs=200,
        lr=0.5,
        optimizer__weight_decay=0.01,
        batch_size=90,
    )
    params = {"max_iter": 0, "synset_size": 10, "random_state": 0}
    attributor = SynsetAttributor(estimator, **params).fit(rows, y, groups=groups)
    labels = attributor._online.predictions(queries)
    truth = retraining(estimator, rows, y, queries, labels, groups=groups, random_state=0)
    found, expected = attributor.transform(queries).ravel(), truth.effects[0].ravel()
    assert spearmanr(found, expected).statistic > 0.97
    assert 0.85 < np.polyfit(found, expected, 1)[0] < 1.15


@pytest.mark.parametrize("dtype", [float, int])
def test_targets_that_may_be_two_things_are_refused(dtype):
    one_hot = np.eye(3)[Y].astype(dtype)
    with pytest.raises(ValueError, match="class probabilities or values: its rows sum to 1. Pass"):
        effects(mlp(), one_hot)
    several = (X > 0).astype(dtype)
    for estimator in (None, mlp(n_outputs=4)):
        with pytest.raises(ValueError, match="nothing but 0 and 1: several labels a row, or val"):
            effects(estimator, several)
    with pytest.raises(ValueError, match="several labels a row, which need criterion=torch.nn.BCE"):
        effects(net(mlp(n_outputs=4)), several)


WRONG = {
    "multi-label": ({"task": "multilabel"}, Y, "labels a row are 0 and 1 in y"),
    "unknown labels": ({"classes": [0, 1]}, Y, r"not in classes=\[0, 1\]: \[2\]"),
    "classes twice": ({"classes": [0, 1, 1]}, Y, "must differ from each other"),
    "classes in two dimensions": ({"classes": [[0], [1]]}, Y, "must be one-dimensional"),
    "classes for values": ({"task": "regression", "classes": [0, 1]}, Y, "are for labels, but y"),
    "values for labels": ({"task": "classification"}, X[:, 0], "Unknown label type: continuous"),
    "no probabilities": ({"task": "classification"}, X[:, :3], "sum of 1 in each row; row 0 is"),
    "other columns": (
        {"task": "classification", "classes": [0, 1]}, np.eye(3)[Y], "y has 3 columns, but there",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_does_not_fit_is_refused(what):
    params, y, message = WRONG[what]
    with pytest.raises(ValueError, match=message):
        effects(mlp(), y, **params)


def test_task_and_classes_are_saved(tmp_path):
    network = train(mlp(), X, Y, nn.CrossEntropyLoss())
    params = FAST | {"classes": np.array([0, 1, 2]), "task": "classification"}
    attributor = SynsetAttributor(network, **params).fit(X, Y)
    attributor.save(tmp_path / "saved")
    loaded = SynsetAttributor.load(tmp_path / "saved", network)
    np.testing.assert_array_equal(loaded.attribute(X, Y), attributor.attribute(X, Y))
    assert loaded.task == "classification"
