"""Training a skorch net without some rows."""

import numpy as np
import pytest
import torch
from skorch import NeuralNetClassifier
from torch import nn
from torch.utils.data import DataLoader

from sklearn_synset._wrapping.kept_rows import KeptBatches, clone_without
from sklearn_synset._wrapping.skorch_net import fitted_clone, initialized_clone
from tests.problems import seeded


class OwnLoader(DataLoader):
    """A loader that is not torch's own."""


def net_of(module, **params):
    net = NeuralNetClassifier(
        module,
        criterion=nn.CrossEntropyLoss,
        **{"max_epochs": 3, "lr": 0.1, "train_split": None, "verbose": 0} | params,
    )
    return initialized_clone(net, None, seed=0)


def weights(net):
    return np.concatenate([p.detach().numpy().ravel() for p in net.module_.parameters()])


@pytest.fixture
def rows():
    rng = np.random.RandomState(0)
    return rng.randn(20, 4).astype(np.float32), np.arange(20) % 3


def test_batches_keep_their_order_and_lose_rows():
    kept = np.array([1, 0, 1, 1, 0, 0, 1, 1], bool)
    batches = [[3, 1], [4, 5], [0, 2], [7]]
    assert list(KeptBatches(batches, kept, 1)) == [[3], [0, 2], [7]]
    # A batch of one row that nothing was taken from is the user's own choice.
    assert list(KeptBatches(batches, kept, 2)) == [[0, 2], [7]]


@pytest.mark.parametrize("shuffle", [True, False])
def test_leaving_nothing_out_gives_the_same_bits(rows, shuffle):
    net = net_of(seeded(lambda: nn.Linear(4, 3)), batch_size=6, iterator_train__shuffle=shuffle)
    everything = fitted_clone(net, *rows, seed=1)
    kept = fitted_clone(net, *rows, seed=1, kept=np.ones(20, bool))
    np.testing.assert_array_equal(weights(everything), weights(kept))


@pytest.mark.parametrize("params", [{}, {"iterator_train": OwnLoader}])
def test_full_batches_are_trained_on_the_kept_rows_alone(rows, params):
    X, y = rows
    kept = np.arange(20) % 4 != 1
    net = net_of(seeded(lambda: nn.Linear(4, 3)), batch_size=-1, **params)
    found = fitted_clone(net, X, y, seed=1, kept=kept)
    expected = fitted_clone(net, X[kept], y[kept], seed=1)
    np.testing.assert_allclose(weights(found), weights(expected), rtol=1e-5)
    assert np.abs(weights(found) - weights(fitted_clone(net, X, y, seed=1))).max() > 1e-3


def test_the_order_of_the_other_rows_does_not_change(rows):
    X, y = rows
    net = net_of(seeded(lambda: nn.Linear(4, 3)), batch_size=5, iterator_train__shuffle=True)
    kept = np.arange(20) != 7
    clone, *data = clone_without(net, X, y, kept)
    orders = []
    for prepared in (net, clone):
        loader = prepared.initialize().get_iterator(prepared.get_dataset(*data), training=True)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            orders.append([batch for _, batch in loader])
    everything, without = (torch.cat(order) for order in orders)
    assert len(everything) == 20 and len(without) == 19
    assert [len(batch) for batch in orders[1]].count(4) == 1


def test_a_batch_of_one_row_does_not_stop_normalisation(rows):
    X, y = rows
    module = seeded(lambda: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)))
    net = net_of(module, batch_size=2)
    fitted = fitted_clone(net, X, y, seed=0, kept=np.arange(20) % 2 == 0)
    np.testing.assert_array_equal(weights(fitted), weights(net))
    assert np.isfinite(weights(fitted_clone(net, X, y, seed=0, kept=np.arange(20) != 3))).all()
