"""Modules that return probabilities are explained by their logits, as without the last layer."""

from functools import cache

import numpy as np
import pytest
import torch
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNet, NeuralNetBinaryClassifier, NeuralNetClassifier
from torch import nn

from sklearn_synset import SynsetAttributor
from tests.problems import mlp, train

FAST = {"n_groups": 6, "max_iter": 0, "n_probes": 0, "n_steps": 20, "random_state": 0}
N = 36


def rows(n_classes=3):
    rng = np.random.RandomState(0)
    X = rng.normal(size=(N, 4))
    return X, np.arange(N) % n_classes


class Ending(nn.Module):
    """A network, and an operation on its output that is no layer."""

    def __init__(self, network, operation):
        super().__init__()
        self.network, self.operation = network, operation

    def forward(self, X):
        return self.operation(self.network(X))


class Headed(nn.Module):
    """A network whose last layer is an attribute."""

    def __init__(self, network, last):
        super().__init__()
        self.last, self.network = last, network

    def forward(self, X):
        return self.last(self.network(X))


def trained(n_outputs):
    X, y = rows(max(2, n_outputs))
    if n_outputs == 1:
        y = y[:, None].astype(float)
        return train(mlp(n_outputs=1), X, y, nn.BCEWithLogitsLoss())
    return train(mlp(n_outputs=n_outputs), X, y, nn.CrossEntropyLoss())


def flat_sigmoid(output):
    return output.sigmoid().squeeze(-1)


def shares(output):
    return output.exp() / output.exp().sum(1, keepdim=True)


ENDS = {
    "softmax layer": (3, lambda network: nn.Sequential(network, nn.Softmax(dim=1))),
    "softmax attribute": (3, lambda network: Headed(network, nn.Softmax(dim=-1))),
    "softmax function": (3, lambda network: Ending(network, lambda z: z.softmax(1))),
    "shares of a sum": (
        3,
        lambda network: Ending(network, lambda z: z.exp() / z.exp().sum(1, True)),
    ),
    "log-softmax layer": (3, lambda network: nn.Sequential(network, nn.LogSoftmax(dim=1))),
    "log-softmax function": (3, lambda network: Ending(network, lambda z: z.log_softmax(1))),
    "sigmoid layer": (1, lambda network: nn.Sequential(network, nn.Sigmoid())),
    "flat sigmoid layer": (1, lambda network: nn.Sequential(network, nn.Sigmoid(), nn.Flatten(0))),
    "sigmoid function": (1, lambda network: Ending(network, flat_sigmoid)),
}


@cache
def without_activation(n_outputs):
    return SynsetAttributor(trained(n_outputs), **FAST).fit(*rows(max(2, n_outputs)))


@pytest.mark.parametrize("end", ENDS)
def test_a_last_activation_changes_nothing(end):
    n_outputs, build = ENDS[end]
    X, y = rows(max(2, n_outputs))
    plain = without_activation(n_outputs)
    ended = SynsetAttributor(build(trained(n_outputs)), **FAST).fit(X, y)
    for objective in ("margin", "probability", "loss"):
        found, expected = (each.attribute(X, y, objective=objective) for each in (ended, plain))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(ended.score_samples(X, y), plain.score_samples(X, y), rtol=1e-5)


def test_what_is_left_out_has_the_last_layer_and_so_has_what_is_loaded(tmp_path):
    X, y = rows()
    module = nn.Sequential(trained(3), nn.Softmax(dim=1))
    attributor = SynsetAttributor(module, **FAST).fit(X, y)
    left = attributor.leave_out([0])
    assert isinstance(left[1], nn.Softmax)
    with torch.no_grad():
        p = left(torch.as_tensor(X)).numpy(), module(torch.as_tensor(X)).numpy()
    log_odds = [np.log(each[:, 0] / (1 - each[:, 0])) for each in p]
    effect = attributor.attribute(X, np.zeros(N, dtype=int))[:, 0]
    np.testing.assert_allclose(log_odds[1] - log_odds[0], effect, atol=1e-9)
    attributor.save(tmp_path / "saved")
    loaded = SynsetAttributor.load(tmp_path / "saved", module)
    np.testing.assert_array_equal(loaded.transform(X), attributor.transform(X))


def test_probabilities_may_be_values():
    X, _ = rows()
    module = nn.Sequential(mlp(n_outputs=1), nn.Sigmoid())
    attributor = SynsetAttributor(module, **FAST).fit(X, np.linspace(0, 1, N) ** 2)
    with torch.no_grad():
        expected = module(torch.as_tensor(X)).numpy()[:, 0]
    np.testing.assert_allclose(attributor._online.predictions(X), expected)


def test_outputs_that_may_be_either_are_refused():
    X, y = rows(2)
    either = Ending(mlp(n_outputs=1), lambda z: z.sigmoid().clamp(0.2, 0.9))
    message = r"may be a probability or a logit: on training rows it lies between 0\.\d+ and 0\."
    with pytest.raises(ValueError, match=message):
        SynsetAttributor(either, **FAST).fit(X, y)
    with pytest.raises(ValueError, match="ends in Sigmoid with 3 outputs.*Let the module return"):
        SynsetAttributor(nn.Sequential(mlp(), nn.Sigmoid()), **FAST).fit(*rows())


def net(module, cls=NeuralNetClassifier, **params):
    settings = {"train_split": None, "verbose": 0, "max_epochs": 3, "lr": 0.1}
    return cls(module, **settings | params)


def test_a_net_with_an_activation_too_many_is_named():
    module = nn.Sequential(mlp(), nn.Softmax(dim=1))
    estimator = net(module, criterion=nn.CrossEntropyLoss)
    with pytest.warns(UserWarning, match="outputs are probabilities, but CrossEntropyLoss takes"):
        SynsetAttributor(estimator, **FAST).fit(*rows())
    module = nn.Sequential(mlp(n_outputs=1), nn.Sigmoid())
    X, y = rows(2)
    estimator = net(module, NeuralNetBinaryClassifier)
    with pytest.warns(UserWarning, match="outputs are probabilities, but BCEWithLogitsLoss takes"):
        SynsetAttributor(estimator, **FAST).fit(X, y)


def test_logits_for_a_loss_of_log_probabilities_are_refused():
    X, y = rows()
    estimator = net(mlp(), NeuralNet, criterion=nn.NLLLoss).fit(X.astype(float), y)
    with pytest.raises(ValueError, match="NLLLoss expects log-probabilities.*LogSoftmax"):
        SynsetAttributor(FrozenEstimator(estimator), **FAST).fit(X, y)
    module = nn.Sequential(mlp(), nn.LogSoftmax(dim=1))
    SynsetAttributor(net(module, NeuralNet, criterion=nn.NLLLoss), **FAST).fit(X, y)
