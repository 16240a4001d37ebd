"""All that is computed is computed where the network is."""

import numpy as np
import pytest
import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import EarlyStopping
from skorch.dataset import Dataset
from skorch.helper import predefined_split
from torch import nn

from sklearn_synset import SynsetAttributor
from tests.elsewhere import OtherDeviceError, on_another_device

X = np.random.RandomState(0).randn(40, 4).astype(np.float32)
Y = np.arange(40) % 3
STOPS = {
    "train_split": predefined_split(Dataset(X[:10], Y[:10])),
    "callbacks": [EarlyStopping(patience=1, load_best=True)],
}

pytestmark = pytest.mark.filterwarnings("ignore:Attributions agree badly")


def module(n_outputs=3):
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, n_outputs))


def convolutions():
    norm = (nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3), nn.ReLU())
    return nn.Sequential(
        nn.Unflatten(1, (1, 2, 2)), *norm, nn.Flatten(), nn.Dropout(0.2), nn.Linear(12, 3)
    )


def net(make_module=module, **params):
    defaults = {"max_epochs": 3, "lr": 0.05, "batch_size": 8, "train_split": None, "verbose": 0}
    return NeuralNetClassifier(
        make_module,
        criterion=nn.CrossEntropyLoss,
        iterator_train__shuffle=True,
        **defaults | params,
    )


CASES = {
    "replay": lambda: SynsetAttributor(net()),
    "convolutions": lambda: SynsetAttributor(net(convolutions, optimizer=torch.optim.Adam)),
    "synset": lambda: SynsetAttributor(net(), synset_size=2),
    "rewind": lambda: SynsetAttributor(net(), solver="rewind", max_iter=2),
    "module": lambda: SynsetAttributor(module()),
    "layer": lambda: SynsetAttributor(nn.Linear(4, 3)),
    "regression": lambda: SynsetAttributor(module(1), max_iter=2),
    "early stopping": lambda: SynsetAttributor(net(**STOPS)),
}


@pytest.mark.parametrize("name", CASES)
def test_no_tensor_that_is_left_on_the_cpu_meets_the_network(name):
    attributor = CASES[name]().set_params(random_state=0, n_probes=2, n_groups=6)
    y = X[:, 0] if name == "regression" else Y
    with on_another_device():
        attributor.fit(X, y)
        attributor.attribute(X[:5], y[:5])
        attributor.attribute(X[:5], y[:5], level="samples")
        attributor.score_samples(X[:5], y[:5])
        attributor.score(X[:5], y[:5])
        attributor.leave_out(attributor.groups_[:1])
        attributor.leave_out(rows=[0, 1, 2])


@pytest.mark.parametrize(
    "mixes",
    [
        lambda weight: weight + torch.ones(3),
        lambda weight: weight.gather(0, torch.tensor([0, 2])),
        lambda weight: torch.func.vmap(lambda row: row * torch.arange(3))(weight[None]),
        lambda weight: weight @ torch.zeros_like(weight.cpu()),
        lambda weight: torch.from_numpy(np.ones(3, np.float32)).dot(weight),
    ],
)
def test_a_tensor_that_is_left_on_the_cpu_would_be_seen(mixes):
    weight = torch.ones(3)
    with on_another_device(), pytest.raises(OtherDeviceError):
        mixes(weight)


def test_what_a_gpu_allows_is_allowed():
    weight = torch.ones(3)
    with on_another_device():
        found = weight[torch.arange(2)] + torch.tensor(1.0) + torch.ones(2).to(weight)
        assert (torch.zeros(2, device=weight.device) + found).cpu().numpy().tolist() == [3, 3]
