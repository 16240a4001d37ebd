"""Trainings without each group, as one stack of networks and one by one."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNet, NeuralNetBinaryClassifier, NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import EarlyStopping, GradientNormClipping, LRScheduler
from skorch.dataset import Dataset, ValidSplit
from skorch.helper import predefined_split
from torch import nn

from sklearn_synset.metrics import (
    retraining,
)
from sklearn_synset.metrics._side_by_side import Stack
from tests.metrics.nets import Net, net

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
