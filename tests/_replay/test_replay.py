"""A replayed training is `net.fit`: with all rows, and without a group."""

from functools import partial

import numpy as np
import pytest
import torch
from skorch import NeuralNet, NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import Checkpoint, EarlyStopping, GradientNormClipping, LRScheduler
from skorch.dataset import ValidSplit
from torch import nn
from torch.utils.data import WeightedRandomSampler

from tests.replayed import (
    N_GROUPS,
    N,
    SmallMLP,
    fitted_by_hand,
    fitted_ignoring,
    replayed,
    small_net,
    trained,
    weights_of,
)

SPLIT = ValidSplit(4, stratified=False)
pytestmark = pytest.mark.filterwarnings("ignore:The net's train_split:UserWarning")


class Images(nn.Module):
    """Takes four features for a picture of 2 x 2."""

    def __init__(self, norm=nn.BatchNorm2d):
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 4, 2, padding=1), norm(4), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)),
        ).double()

    def forward(self, X):
        return self.layers(X)


class Residual(nn.Module):
    """No chain of layers."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 4).double(), nn.Linear(4, 3).double()

    def forward(self, X):
        return self.last(X + self.first(X).relu())


class Sequence(nn.Module):
    """Reads features one after the other."""

    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.GRU(1, 3, batch_first=True).double(), nn.Linear(3, 3).double()

    def forward(self, X):
        return self.head(self.layer(X[..., None])[0][:, -1])


class Scaled(nn.Module):
    """A trained scalar."""

    def __init__(self):
        super().__init__()
        self.scale, self.layer = nn.Parameter(torch.ones(()).double()), SmallMLP().layers

    def forward(self, X):
        return self.scale * self.layer(X)


def tied():
    """Return a chain of layers, two of which share their weight."""
    first, second = nn.Linear(4, 4).double(), nn.Linear(4, 4).double()
    second.weight = first.weight
    return nn.Sequential(first, nn.Tanh(), second, nn.Tanh(), nn.Linear(4, 3).double())


class Probabilities(nn.Module):
    """Returns probabilities, for skorch's classifier."""

    def __init__(self):
        super().__init__()
        self.layers = SmallMLP().layers

    def forward(self, X):
        return self.layers(X).softmax(-1)


def between(*layers):
    return {"module__between": layers}


def drop():
    return nn.Dropout(0.3)


def batch_norm():
    return nn.BatchNorm1d(6)


def schedule(policy, **params):
    return {"callbacks": [("schedule", LRScheduler(policy, **params))]}


# Every case trains without a split, so that a net without some rows sees the same batches.
PLAIN = {
    "descent": {},
    "whole batches": {"batch_size": -1},
    "momentum": {"optimizer__momentum": 0.9},
    "Nesterov": {"optimizer__momentum": 0.9, "optimizer__nesterov": True},
    "weight decay": {"optimizer__weight_decay": 0.1},
    "Adam": {"optimizer": torch.optim.Adam, "lr": 0.02},
    "Adam, decayed": {"optimizer": torch.optim.Adam, "lr": 0.02, "optimizer__weight_decay": 0.1},
    "AdamW": {"optimizer": torch.optim.AdamW, "lr": 0.02, "optimizer__weight_decay": 0.1},
    "RMSprop": {"optimizer": torch.optim.RMSprop, "lr": 0.01, "optimizer__momentum": 0.5},
    "parameter groups": {
        "optimizer": torch.optim.Adam,
        "lr": 0.02,
        "optimizer__param_groups": [("layers.0.*", {"lr": 0.001, "eps": 0.1})],
    },
    "schedule by epoch": schedule("StepLR", step_size=2, gamma=0.1),
    "schedule by batch": schedule("CosineAnnealingLR", T_max=16, step_every="batch"),
    "clipping": {"callbacks": [("clip", GradientNormClipping(0.1))]},
    "class weights": {"criterion__weight": torch.tensor([1.0, 3.0, 0.5]).double()},
    "label smoothing": {"criterion__label_smoothing": 0.2},
    "an ignored label": {"criterion__ignore_index": 2},
    "weights and smoothing": {
        "criterion__label_smoothing": 0.2,
        "criterion__weight": torch.tensor([1.0, 3.0, 0.5]).double(),
    },
    "dropout": between(nn.ReLU, drop),
    "batch normalisation": between(batch_norm, nn.Tanh),
    "normalisation and dropout": between(batch_norm, nn.ReLU, drop),
    "normalised images": {"module": Images},
    "group normalisation": {"module": partial(Images, partial(nn.GroupNorm, 2))},
    "residual": {"module": Residual},
    "recurrent": {"module": Sequence},
    "tied weights": {"module": tied},
    "a scalar parameter": {"module": Scaled},
    "slopes": between(nn.PReLU),
    "probabilities": {"module": Probabilities, "criterion": nn.NLLLoss},
    "in order": {"iterator_train__shuffle": False},
    "without the last batch": {"iterator_train__drop_last": True},
    "sampler": {
        "iterator_train__shuffle": False,
        "iterator_train__sampler": WeightedRandomSampler(np.linspace(1, 2, N), N),
    },
}
SPLITS = {
    "a split": {},
    "early stopping": {
        "callbacks": [("stop", EarlyStopping(patience=1, threshold=0.05, threshold_mode="abs"))]
    },
    "the best epoch": {"callbacks": [("stop", EarlyStopping(patience=2, load_best=True))]},
    "early stopping by accuracy": {
        "callbacks": [("stop", EarlyStopping("valid_acc", patience=2, lower_is_better=False))]
    },
    "a plateau": schedule("ReduceLROnPlateau", monitor="valid_loss", patience=0, factor=0.1),
    "a plateau of the training": schedule(
        "ReduceLROnPlateau", monitor="train_loss", patience=0, threshold=0.5, factor=0.1
    ),
}


def without_group(kept_groups, groups):
    return np.isin(groups, np.flatnonzero(kept_groups))


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


def everything_and_without(group):
    kept = np.ones((3, N_GROUPS))
    kept[1, group] = 0
    return kept


@pytest.mark.parametrize("case", PLAIN)
def test_a_stack_is_the_net_that_skorch_trains_with_and_without_a_group(case):
    net, X, y, groups = small_net(**PLAIN[case])
    network, model, rows = trained(net, X, y, groups)
    kept, seed = everything_and_without(2), model.recipe.seed
    found, stack = replayed(model, rows, kept, seed)
    close(found[0], weights_of(network.module_))
    if case != "normalisation and dropout":  # neither oracle has both
        by_hand = fitted_ignoring if case == "dropout" else fitted_by_hand
        close(found[1], by_hand(net, X, y, seed, without_group(kept[1], groups)))
    # Nothing left out changes nothing, and a group does.
    close(found[2], found[0])
    assert (found[1] - found[0]).abs().max() > 1e-5
    assert not stack.is_loop


@pytest.mark.parametrize("case", SPLITS)
@pytest.mark.parametrize("lr", [0.1, 1.0])
def test_a_stack_is_the_net_that_skorch_trains_with_validation_rows(case, lr):
    settings = {"train_split": SPLIT, "max_epochs": 12, "lr": lr}
    net, X, y, groups = small_net(**settings | SPLITS[case])
    network, model, rows = trained(net, X, y, groups)
    found, _ = replayed(model, rows, np.ones((2, N_GROUPS)), model.recipe.seed)
    close(found[0], weights_of(network.module_))
    close(found[1], found[0])
    if "stopping" in case:
        assert len(network.history) < 12 or lr == 0.1


def test_the_best_epoch_of_a_checkpoint_is_kept(tmp_path):
    best = Checkpoint(dirname=str(tmp_path), load_best=True)
    net, X, y, groups = small_net(
        callbacks=[("best", best)], train_split=SPLIT, lr=3.0, max_epochs=9
    )
    network, model, rows = trained(net, X, y, groups)
    found, _ = replayed(model, rows, np.ones((1, N_GROUPS)), model.recipe.seed)
    close(found[0], weights_of(network.module_))
    assert len(network.history) < 9  # as long as until the best epoch


@pytest.mark.parametrize("layers", [(nn.Tanh,), (nn.Tanh, drop)], ids=["plain", "dropout"])
def test_each_network_stops_by_itself(layers):
    stop = EarlyStopping("train_loss", patience=1, threshold=0.02, threshold_mode="abs")
    net, X, y, groups = small_net(
        module__between=layers, callbacks=[("stop", stop)], max_epochs=30, lr=0.5
    )
    _, model, rows = trained(net, X, y, groups)
    kept = np.vstack([np.ones(N_GROUPS), 1 - np.eye(N_GROUPS)])
    found, _ = replayed(model, rows, kept, model.recipe.seed)
    for own, theta in zip(kept, found, strict=True):
        is_kept = without_group(own, groups)
        close(theta, fitted_ignoring(net, X, y, model.recipe.seed, is_kept))


REGRESSIONS = {
    "squared error": nn.MSELoss,
    "absolute error": nn.L1Loss,
    "Huber": nn.SmoothL1Loss,
    "sum": partial(nn.MSELoss, reduction="sum"),
}


@pytest.mark.parametrize("name", REGRESSIONS)
def test_values_are_fitted_as_by_skorch(name):
    net, X, y, groups = small_net(
        NeuralNetRegressor, module__n_outputs=2, criterion=REGRESSIONS[name], lr=0.003
    )
    y = np.column_stack([X[:, 0] * y, X[:, 1] - y])
    network, model, rows = trained(net, X, y, groups)
    kept = everything_and_without(1)
    found, _ = replayed(model, rows, kept, model.recipe.seed)
    close(found[0], weights_of(network.module_))
    is_kept = without_group(kept[1], groups)
    close(found[1], fitted_by_hand(net, X, y, model.recipe.seed, is_kept))


def test_a_single_logit_is_fitted_as_by_skorch():
    net, X, y, groups = small_net(
        NeuralNet,
        module=lambda: nn.Sequential(SmallMLP(1), nn.Flatten(0)),
        criterion=nn.BCEWithLogitsLoss,
    )
    y = y % 2
    network, model, rows = trained(net, X, y, groups)
    found, _ = replayed(model, rows, np.ones((1, N_GROUPS)), model.recipe.seed)
    close(found[0], weights_of(network.module_))


def test_single_precision_is_that_of_the_net():
    X, y = small_net()[1:3]
    groups = small_net()[3]
    net = NeuralNetClassifier(
        nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).float(),
        criterion=nn.CrossEntropyLoss,
        train_split=None,
        max_epochs=2,
        verbose=0,
    )
    X = X.astype(np.float32)
    _, model, rows = trained(net, X, y, groups)
    found, _ = replayed(model, rows, np.ones((2, N_GROUPS)), 0)
    assert found.dtype == torch.float32 and torch.equal(found[0], found[1])
    # All seeds start from the weights that the module instance has, as the training did.
    other, _ = replayed(model, rows, np.ones((1, N_GROUPS)), 1)
    torch.testing.assert_close(other, found[:1])
