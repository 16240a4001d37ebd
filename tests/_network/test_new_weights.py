"""Nets that hold a module instance start from other weights for other seeds; scripts run."""

import copy
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNetClassifier
from torch import nn

from sklearn_synset import SynsetAttributor
from sklearn_synset.metrics import retraining
from tests.problems import mlp

FAST = {"n_groups": 6, "max_iter": 0, "n_probes": 0, "n_steps": 8, "random_state": 0}
N = 36
X = np.random.RandomState(0).normal(size=(N, 4))
Y = np.arange(N) % 3


class Raw(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4, 3, dtype=torch.float64))

    def forward(self, X):
        return X @ self.weight


def net(module):
    return NeuralNetClassifier(
        module, criterion=nn.CrossEntropyLoss, train_split=None, verbose=0, max_epochs=3, lr=0.1
    )


def test_networks_of_several_seeds_differ_and_the_instance_is_never_trained():
    module = mlp()
    before = copy.deepcopy(module.state_dict())
    attributor = SynsetAttributor(net(module), n_models=2, **FAST).fit(X, Y)
    first, second = (each.module_[0].weight for each in attributor.estimators_)
    assert (first - second).abs().max() > 0.1
    assert attributor.attribute(X, return_std=True)[1].min() > 0
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_net_that_was_fitted_is_trained_from_new_weights():
    fitted = net(mlp()).fit(X, Y).fit(X, Y)
    params = {"groups": Y, "random_state": 0, "leave_one_out": False}
    again = retraining(fitted, X, Y, X, Y, **params)
    more = retraining(copy.deepcopy(fitted).partial_fit(X, Y), X, Y, X, Y, **params)
    np.testing.assert_array_equal(again.full_outputs, more.full_outputs)
    by_seed = retraining(net(mlp()), X, Y, X, Y, n_seeds=2, **params).full_outputs
    assert np.abs(by_seed[0] - by_seed[1]).max() > 0.1


def test_layers_that_cannot_be_reset_are_named():
    message = r"but itself \(Raw\) has no reset_parameters. Pass the module's class"
    with pytest.raises(ValueError, match=message):
        SynsetAttributor(net(Raw()), n_models=2, **FAST).fit(X, Y)
    with pytest.raises(ValueError, match=message):
        retraining(net(Raw()), X, Y, X, Y, groups=Y, n_seeds=2, random_state=0)
    with pytest.warns(
        UserWarning, match=r"cannot be repeated: of a module instance, itself \(Raw\)"
    ):
        SynsetAttributor(FrozenEstimator(net(Raw()).fit(X, Y)), **FAST).fit(X, Y)


SCRIPT = """
import numpy as np, torch
from skorch import NeuralNetClassifier
from sklearn_synset import SynsetAttributor
from sklearn_synset.metrics import retraining

class Own(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 3, dtype=torch.float64)
    def forward(self, X):
        return self.layer(X)

if __name__ == "__main__":
    X, y = np.random.RandomState(0).normal(size=(36, 4)), np.arange(36) % 3
    net = NeuralNetClassifier(Own, criterion=torch.nn.CrossEntropyLoss, train_split=None,
                              verbose=0, max_epochs=2).fit(X, y)
    params = dict(n_groups=6, max_iter=0, n_steps=8, random_state=0, n_models=2)
    found = [SynsetAttributor(net, n_jobs=n, n_probes=0, **params).fit(X, y).transform(X)
             for n in (1, 2)]
    np.testing.assert_array_equal(*found)
    truth = [retraining(net, X, y, X, y, groups=y, random_state=0, n_jobs=n).effects
             for n in (1, 2)]
    np.testing.assert_array_equal(*truth)
    print("the same")
"""


@pytest.mark.slow
def test_classes_of_a_script_are_trained_in_other_processes(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    run = subprocess.run([sys.executable, path], capture_output=True, text=True)
    assert run.stdout.strip() == "the same", run.stderr
