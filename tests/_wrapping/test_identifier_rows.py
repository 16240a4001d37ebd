"""Identifiers never pass through floats: groups, labels, and the integer rows of embeddings."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNetClassifier
from torch import nn

from sklearn_synset import SynsetAttributor
from sklearn_synset._wrapping.identifier_rows import integer_rows
from tests.problems import mlp, seeded, train

FAST = {"n_groups": 6, "max_iter": 4, "n_probes": 0, "n_steps": 20, "random_state": 0}
N = 60
RNG = np.random.RandomState(0)
IDS = RNG.randint(8, size=(N, 2))
FIRST = 1_200_000_000
Y = (IDS.sum(1) + RNG.randint(2, size=N)) % 3


class Hashed(nn.Module):
    """Embeddings of identifiers that start anywhere; `cast` makes integers of them."""

    def __init__(self, first=0, cast=None, dtype=torch.float64):
        super().__init__()
        self.first, self.cast = first, cast
        self.embedding = nn.Embedding(8, 4, dtype=dtype)
        self.head = nn.Linear(8, 3, dtype=dtype)

    def forward(self, X):
        X = X if self.cast is None else X.to(self.cast)
        return self.head(self.embedding(X - self.first).flatten(1).tanh())


def effects(module, X, queries=None, **params):
    attributor = SynsetAttributor(module, **FAST | params).fit(X, Y, groups=np.arange(N) % 6)
    return attributor.transform(X if queries is None else queries)


def module(**params):
    return seeded(lambda: Hashed(**params))


def test_integer_rows_stay_integers_for_an_embedding():
    expected = effects(module(cast=torch.int64), IDS.astype(float), max_iter=0)
    found = effects(module(), IDS, max_iter=0)
    np.testing.assert_allclose(found, expected, atol=1e-10)
    assert found.dtype == np.float64
    attributor = SynsetAttributor(module(), **FAST).fit(IDS, Y)
    assert attributor.X_synset_.dtype == np.int64
    assert {tuple(row) for row in attributor.X_synset_} <= {tuple(row) for row in IDS}
    assert np.isfinite(attributor.attribute(IDS, Y, level="samples")).all()
    assert np.isfinite(attributor.score_samples(IDS, Y)).all()
    np.testing.assert_array_equal(
        attributor.transform(IDS.astype(float)), attributor.transform(IDS.astype(np.int32))
    )
    with pytest.raises(ValueError, match="X must hold integers, as in fit; got .*5"):
        attributor.transform(IDS + 0.5)


@pytest.mark.parametrize("dtype", [np.int64, np.float64])
def test_large_identifiers_are_exact(dtype):
    expected = effects(module(dtype=torch.float32), IDS)
    large = module(first=FIRST, cast=torch.int64, dtype=torch.float32)
    found = effects(large, (IDS + FIRST).astype(dtype))
    np.testing.assert_array_equal(found, expected)


def test_large_identifiers_beside_other_columns_are_refused():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.head = nn.Embedding(8, 3), nn.Linear(3, 3)

        def forward(self, X):
            embedded = self.embedding(X[:, 0].long() % 8)
            return self.head(embedded * X[:, 1:].float())

    X = np.c_[IDS[:, 0] + FIRST, RNG.normal(size=N)]
    with pytest.raises(ValueError, match="X holds integers up to 120000000., more than the netw"):
        effects(seeded(Mixed), X)
    timestamps = np.c_[1.7e9 + IDS, RNG.normal(size=(N, 2))]
    assert integer_rows(mlp(dtype=torch.float32), timestamps, None) is None


def test_integers_that_are_measures_become_floats():
    X = IDS.repeat(2, axis=1)
    np.testing.assert_array_equal(effects(mlp(), X), effects(mlp(), X.astype(float)))


@pytest.mark.parametrize("frozen", [False, True])
def test_a_net_takes_integers(frozen, tmp_path):
    net = NeuralNetClassifier(
        Hashed, criterion=nn.CrossEntropyLoss, train_split=None, verbose=0, max_epochs=3, lr=0.1
    )
    if frozen:
        net = FrozenEstimator(net.fit(IDS, Y))
    attributor = SynsetAttributor(net, **FAST).fit(IDS, Y)
    with torch.no_grad():
        expected = attributor.estimator_.forward(IDS).argmax(1)
    np.testing.assert_array_equal(attributor._online.predictions(IDS), expected)
    attributor.save(tmp_path / "saved")
    loaded = SynsetAttributor.load(tmp_path / "saved", net)
    np.testing.assert_array_equal(loaded.transform(IDS), attributor.transform(IDS))


def test_synset_rows_of_identifiers_are_rows():
    X = np.c_[IDS, IDS[:, ::-1]].astype(float)

    class Rounding(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(8, 4, dtype=torch.float64)
            self.head = nn.Linear(10, 3, dtype=torch.float64)

        def forward(self, X):
            return self.head(torch.cat([self.embedding(X[:, :2].long()).flatten(1), X[:, 2:]], 1))

    attributor = SynsetAttributor(seeded(Rounding), **FAST | {"max_iter": 0}).fit(X, Y)
    assert {tuple(row) for row in attributor.X_synset_} <= {tuple(row) for row in X}


def test_few_synset_rows_of_identifiers_keep_the_size_of_effects():
    rng = np.random.RandomState(0)
    X = rng.randint(8, size=(240, 2))
    value = rng.normal(size=(2, 8, 3))
    y = (value[0, X[:, 0]] + value[1, X[:, 1]] + rng.normal(size=(240, 3))).argmax(1)
    groups = rng.randint(8, size=240)
    network = train(module(), X, y, nn.CrossEntropyLoss())

    def found(synset_size):
        params = {"synset_size": synset_size, "n_probes": 0, "max_iter": 0, "random_state": 0}
        return SynsetAttributor(network, **params).fit(X, y, groups=groups).transform(X).ravel()

    few, every = found(15), found(100)
    assert 0.5 < (few @ every) / (few @ few) < 2
    assert np.corrcoef(few, every)[0, 1] > 0.5


def test_group_labels_keep_their_type():
    X, y = RNG.normal(size=(N, 4)), np.arange(N) % 3
    codes = np.arange(N) % 6

    def fit(groups):
        return SynsetAttributor(mlp(), **FAST | {"max_iter": 0}).fit(X, y, groups=groups)

    expected = fit(codes).transform(X)
    small = fit(pd.Series(codes, dtype="Int64"))
    assert small.get_feature_names_out()[:2].tolist() == ["group_0", "group_1"]
    large = 2**53 + codes
    huge = [2**63 + int(code) if code else -1 for code in codes]
    for groups in (large, pd.Series(large, dtype="Int64"), large.tolist(), huge):
        attributor = fit(groups)
        assert attributor.groups_.tolist() == sorted(set(np.asarray(groups, dtype=object)))
        np.testing.assert_array_equal(attributor.transform(X), expected)
        attributor.leave_out(pd.array([attributor.groups_[1]]) if groups is not huge else [-1])


def test_labels_keep_their_type():
    X, codes = RNG.normal(size=(N, 4)), np.arange(N) % 3
    large = 2**53 + codes
    for y in (large, pd.Series(large, dtype="Int64"), large.tolist()):
        attributor = SynsetAttributor(mlp(), **FAST | {"max_iter": 0}).fit(X, y)
        assert attributor.classes_.tolist() == [2**53, 2**53 + 1, 2**53 + 2]
        by_series = attributor.attribute(X, pd.Series(large, dtype="Int64"))
        np.testing.assert_array_equal(attributor.attribute(X, large), by_series)
