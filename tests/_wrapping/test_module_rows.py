"""The function that is explained is the one that the user calls: the net's own way of rows."""

import numpy as np
import pytest
import torch
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNetClassifier
from skorch.dataset import Dataset
from torch import nn
from torch.utils.data import default_collate

from sklearn_synset import SynsetAttributor
from tests.problems import mlp, seeded

FAST = {"n_groups": 6, "max_iter": 0, "n_probes": 0, "n_steps": 8, "random_state": 0}
N = 36
SCALE = np.array([50.0, 0.1, 3.0, 1.0])


def rows(seed=0):
    rng = np.random.RandomState(seed)
    X = rng.normal(size=(N, 4))
    return SCALE * X + 5, np.arange(N) % 3


def scaled(X):
    return (X - 5) / SCALE


class Scaled(Dataset):
    def transform(self, X, y):
        X, y = super().transform(X, y)
        return scaled(X), y


class ScalingNet(NeuralNetClassifier):
    def infer(self, x, **fit_params):
        return super().infer((x - 5) / torch.as_tensor(SCALE), **fit_params)


class HotNet(NeuralNetClassifier):
    def infer(self, x, **fit_params):
        return super().infer(x, **fit_params) / 3


class Shaking(Dataset):
    def transform(self, X, y):
        X, y = super().transform(X, y)
        return X + np.random.normal(size=X.shape), y


class ByItsOwnMean(Dataset):
    def __init__(self, X, y=None):
        super().__init__(X, y)
        self.mean = X.mean(0)

    def transform(self, X, y):
        X, y = super().transform(X, y)
        return X - self.mean, y


class Parts(Dataset):
    def transform(self, X, y):
        X, y = super().transform(X, y)
        return {"X": X, "mask": X}, y


def scaling_collate(items):
    X, y = default_collate(items)
    return (X - 5) / torch.as_tensor(SCALE), y


COLLATED = {
    "iterator_train__collate_fn": scaling_collate,
    "iterator_valid__collate_fn": scaling_collate,
}


def net(cls=NeuralNetClassifier, **params):
    settings = {"criterion": nn.CrossEntropyLoss, "train_split": None, "verbose": 0}
    return cls(seeded(mlp), **settings | {"max_epochs": 5, "lr": 0.1} | params)


WAYS = {
    "dataset": (NeuralNetClassifier, {"dataset": Scaled}),
    "collate_fn": (NeuralNetClassifier, COLLATED),
    "infer": (ScalingNet, {}),
}


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_rows_go_through_what_the_net_does_to_them(way, frozen, tmp_path):
    cls, params = WAYS[way]
    X, y = rows()
    queries = rows(1)[0]

    def prepared(net, X):
        return FrozenEstimator(net.fit(X, y)) if frozen else net

    plain = SynsetAttributor(prepared(net(), scaled(X)), **FAST).fit(scaled(X), y, groups=y)
    own = SynsetAttributor(prepared(net(cls, **params), X), **FAST).fit(X, y, groups=y)
    expected = plain.transform(scaled(queries))
    np.testing.assert_allclose(own.transform(queries), expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(own.X_synset_, plain.X_synset_)
    np.testing.assert_allclose(
        own.attribute(queries, y, level="samples"),
        plain.attribute(scaled(queries), y, level="samples"),
        atol=1e-10,
    )
    np.testing.assert_allclose(own.score_samples(X, y), plain.score_samples(scaled(X), y))
    path = tmp_path / "saved.safetensors"
    own.save(path)
    loaded = SynsetAttributor.load(path, net(cls, **params))
    np.testing.assert_array_equal(loaded.transform(queries), own.transform(queries))


def test_the_network_without_a_group_takes_rows_as_the_net_does():
    X, y = rows()
    own = SynsetAttributor(net(dataset=Scaled), **FAST).fit(X, y, groups=y)
    left = own.leave_out([1])
    assert type(left) is NeuralNetClassifier
    with torch.no_grad():
        logits = left.forward(X).numpy(), own.estimator_.forward(X).numpy()
    margin = [row[:, 0] - np.logaddexp(row[:, 1], row[:, 2]) for row in logits]
    effect = own.attribute(X, np.zeros(N, dtype=int))[:, 1]
    np.testing.assert_allclose(margin[1] - margin[0], effect, atol=1e-9)


REFUSED = {
    "outputs that infer changes": (
        net(HotNet),
        ValueError,
        r"HotNet.forward computes another function than its module: for training row 0 it returns "
        r"\[.*\], and the module \[.*\], because of HotNet.infer. Move what it does",
    ),
    "random changes": (net(dataset=Shaking), ValueError, "random numbers.*dataset=Shaking"),
    "statistics of the batch": (net(dataset=ByItsOwnMean), ValueError, "dataset=ByItsOwnMean"),
    "several inputs": (
        net(dataset=Parts),
        TypeError,
        r"must take one tensor, but the net calls it with \(X=, mask=\)",
    ),
    "other rows in training": (
        net(iterator_train__collate_fn=scaling_collate),
        ValueError,
        "iterator_train__collate_fn=scaling_collate, but .*=default_collate. Give both the same",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_expressed_is_refused_by_name(what):
    estimator, error, pattern = REFUSED[what]
    with pytest.raises(error, match=pattern):
        SynsetAttributor(estimator, **FAST).fit(*rows())
