"""What a skorch net does in its own way: thresholds, splits, histories."""

import numpy as np
import pytest
import torch
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetBinaryClassifier, NeuralNetClassifier
from skorch.callbacks import EarlyStopping
from skorch.dataset import Dataset
from skorch.helper import SliceDict, predefined_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from sklearn_synset import SynsetAttributor
from tests.problems import mlp, seeded

FAST = {"n_groups": 6, "max_iter": 0, "n_probes": 0, "n_steps": 8, "random_state": 0}
N = 60
X = np.random.RandomState(0).normal(size=(N, 4))
Y = np.arange(N) % 3


def net(cls=NeuralNetClassifier, module=None, **params):
    settings = {"train_split": None, "verbose": 0, "max_epochs": 3, "lr": 0.1}
    if cls is NeuralNetClassifier:
        settings["criterion"] = nn.CrossEntropyLoss
    return cls(module or mlp, **settings | params)


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("frozen", [False, True])
def test_the_threshold_of_a_binary_net_decides_on_labels(threshold, frozen):
    y = (X[:, 0] > 0).astype(int)
    estimator = net(NeuralNetBinaryClassifier, seeded(lambda: mlp(n_outputs=1)))
    estimator.set_params(threshold=threshold)
    if frozen:
        estimator = FrozenEstimator(estimator.fit(X, y.astype(float)))
    attributor = SynsetAttributor(estimator, **FAST).fit(X, y)
    labels = attributor.estimator_.predict(X).astype(int)
    np.testing.assert_array_equal(attributor._online.predictions(X), labels)
    np.testing.assert_array_equal(attributor.transform(X), attributor.attribute(X, labels))


@pytest.mark.filterwarnings("error")
def test_a_split_that_holds_nothing_back_is_no_reason_to_warn():
    split = predefined_split(Dataset(X[:9], Y[:9]))
    estimator = net(train_split=split, callbacks=[EarlyStopping()])
    SynsetAttributor(estimator, **FAST).fit(X, Y)
    SynsetAttributor(FrozenEstimator(estimator.fit(X, Y)), **FAST).fit(X, Y)


def test_a_split_that_holds_rows_back_is_named():
    estimator = NeuralNetClassifier(mlp, criterion=nn.CrossEntropyLoss, verbose=0, max_epochs=2)
    message = r"train_split holds back 12 of 60 rows.*EarlyStopping\), train_split=skorch.helper"
    with pytest.warns(UserWarning, match="The net's " + message):
        SynsetAttributor(estimator, **FAST).fit(X, Y)
    with pytest.warns(UserWarning, match="If the frozen net was fitted .* its " + message):
        SynsetAttributor(FrozenEstimator(estimator.fit(X, Y)), **FAST).fit(X, Y)


def test_a_frozen_net_without_a_history_is_named():
    message = r"has no training history.*all max_epochs=3 epochs\. Load the history, too"
    with pytest.warns(UserWarning, match=message):
        SynsetAttributor(FrozenEstimator(net().initialize()), **FAST).fit(X, Y)


def test_tensors_of_any_kind_are_rows():
    module = mlp(dtype=torch.float32)
    rows = torch.as_tensor(X, dtype=torch.bfloat16)
    expected = SynsetAttributor(module, **FAST).fit(rows.float().numpy(), Y).transform(X)
    for given in (rows, rows.float().requires_grad_()):
        found = SynsetAttributor(module, **FAST).fit(given, Y)
        np.testing.assert_array_equal(found.transform(X), expected)
        assert np.isfinite(found.transform(given)).all()


WRONG = {
    "dict": ({"a": X, "b": X}, "X is a dict of several inputs \\('a', 'b'\\).*side by side"),
    "SliceDict": (SliceDict(a=X, b=X), "X is a SliceDict of several inputs"),
    "loader": (
        DataLoader(TensorDataset(torch.as_tensor(X), torch.as_tensor(Y))),
        "X is a DataLoader; pass its dataset, loader.dataset",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_other_containers_say_what_to_pass(what):
    rows, message = WRONG[what]
    with pytest.raises(TypeError, match=message):
        SynsetAttributor(mlp(), **FAST).fit(rows, Y)
    attributor = SynsetAttributor(mlp(), **FAST).fit(X, Y)
    with pytest.raises(TypeError, match=message):
        attributor.transform(rows)


def test_a_pipeline_says_where_the_attributor_goes():
    pipeline = make_pipeline(StandardScaler(), net())
    for estimator in (pipeline, FrozenEstimator(pipeline)):
        with pytest.raises(TypeError, match=r"make_pipeline\(\*steps\[:-1\], SynsetAttributor"):
            SynsetAttributor(estimator, **FAST).fit(X, Y)
    inside = make_pipeline(StandardScaler(), SynsetAttributor(net(), **FAST)).fit(X, Y)
    assert inside.transform(X).shape == (N, 6)


def test_complex_weights_are_refused():
    module = nn.Linear(4, 3, dtype=torch.complex128)
    with pytest.raises(ValueError, match="weight is complex; real weights are expected"):
        SynsetAttributor(module, **FAST).fit(X, Y)


def with_lambda():
    """Return a network that cannot be pickled."""
    network = mlp()
    network.scale = lambda outputs: outputs
    return network


@pytest.mark.parametrize("frozen", [False, True])
def test_networks_that_cannot_be_pickled_are_copied(frozen):
    estimator = net(module=with_lambda)
    if frozen:
        estimator = FrozenEstimator(estimator.fit(X, Y))
    attributor = SynsetAttributor(estimator, **FAST).fit(X, Y)
    before = attributor.estimator_.forward(X)
    without = attributor.leave_out([attributor.groups_[0]])
    assert not torch.allclose(without.forward(X), before)
    torch.testing.assert_close(attributor.estimator_.forward(X), before)


class WithInputs(nn.Linear):
    def forward(self, X):
        return super().forward(X), X


def test_of_several_outputs_the_first_is_explained():
    module = seeded(lambda: WithInputs(4, 3).double())
    plain = nn.Linear(4, 3).double()
    plain.load_state_dict(module.state_dict())
    found, expected = (SynsetAttributor(each, **FAST).fit(X, Y) for each in (module, plain))
    np.testing.assert_array_equal(found.transform(X), expected.transform(X))
    without = found.leave_out([found.groups_[0]])
    assert isinstance(without, WithInputs) and len(without(torch.as_tensor(X))) == 2
