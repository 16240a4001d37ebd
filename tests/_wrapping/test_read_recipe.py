"""What is read off a net's training, and what is refused by name."""

import numpy as np
import pytest
import torch
from sklearn.model_selection import KFold
from skorch import NeuralNetClassifier
from skorch.callbacks import (
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    GradientNormClipping,
    LRScheduler,
)
from skorch.dataset import Dataset, ValidSplit
from skorch.helper import predefined_split
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler, WeightedRandomSampler

from sklearn_synset._network.recipe import NotReplayableError, RefusedTrainingError, Stopping
from sklearn_synset._wrapping.read_recipe import ResetModule, read_recipe
from tests.problems import mlp
from tests.replayed import N, SmallMLP, small_net

STOP = EarlyStopping(patience=2)


def read(seed=None, y=None, **params):
    net, _, labels, _ = small_net(**params)
    return read_recipe(
        net.initialize(), labels if y is None else y, link="identity", n_outputs=3, seed=seed
    )


def test_a_plain_training_is_its_epochs_on_all_rows():
    recipe = read(seed=7)
    assert (recipe.seed, recipe.n_epochs, recipe.batch_size) == (7, 4, 16)
    assert recipe.is_trained_on.all() and len(recipe.is_trained_on) == N
    assert recipe.n_steps_per_epoch == 4 and recipe.n_rows_seen == 4 * 4 * 16
    nothing = (recipe.schedules, recipe.clipping, recipe.stopping, recipe.valid_rows)
    assert nothing == ((), None, None, None) and not recipe.has_validation


@pytest.mark.parametrize(
    ("params", "size", "n_steps"),
    [
        ({"batch_size": -1}, N, 1),
        ({"batch_size": 100}, N, 1),
        ({"iterator_train__drop_last": True}, 16, 3),
        ({"iterator_train__batch_size": 30}, 30, 2),
    ],
)
def test_minibatches_are_those_of_the_loader(params, size, n_steps):
    recipe = read(**params)
    assert (recipe.batch_size, recipe.n_steps_per_epoch) == (size, n_steps)


def test_the_optimizer_is_the_nets():
    recipe = read(
        optimizer=torch.optim.AdamW,
        optimizer__betas=(0.8, 0.9),
        optimizer__param_groups=[("*bias", {"weight_decay": 0.0})],
    )
    optimizer = recipe.optimizer(SmallMLP().named_parameters())
    assert type(optimizer) is torch.optim.AdamW
    assert [len(group["params"]) for group in optimizer.param_groups] == [2, 2]
    assert all(group["betas"] == (0.8, 0.9) for group in optimizer.param_groups)
    assert recipe.is_entrywise and not recipe.needs_own_optimizers


class ByNorm(torch.optim.SGD):
    """Steps of the same length, whatever the gradient."""

    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad /= parameter.grad.norm()
        return super().step(closure)


def test_an_optimizer_that_looks_at_whole_matrices_is_one_a_network():
    recipe = read(optimizer=ByNorm)
    assert not recipe.is_entrywise and recipe.needs_own_optimizers


def test_callbacks_that_act_are_read():
    recipe = read(
        train_split=ValidSplit(4),
        callbacks=[
            ("step", LRScheduler("StepLR", step_size=3)),
            ("batch", LRScheduler("CosineAnnealingLR", T_max=9, step_every="batch")),
            ("clip", GradientNormClipping(2.0)),
            ("stop", EarlyStopping("valid_acc", patience=3, lower_is_better=False)),
            ("score", EpochScoring("accuracy")),
        ],
    )
    assert [(each.is_by_batch, each.params) for each in recipe.schedules] == [
        (False, {"step_size": 3}),
        (True, {"T_max": 9}),
    ]
    assert recipe.clipping == (2.0, 2.0)
    assert recipe.stopping == Stopping("valid_acc", False, 0.0001, True, 3, False)


def test_a_checkpoint_keeps_the_best_epoch_of_a_training_that_may_stop():
    best = Checkpoint(load_best=True)
    alone = read(train_split=ValidSplit(4), callbacks=[("best", best)]).stopping
    assert alone == Stopping("valid_loss", keeps_best=True)
    both = read(train_split=ValidSplit(4), callbacks=[("best", best), ("stop", STOP)]).stopping
    assert both == Stopping("valid_loss", True, 0.0001, True, 2, True)


def test_validation_rows_are_those_of_the_split():
    recipe = read(train_split=ValidSplit(4, stratified=False))
    _, held = next(iter(KFold(4).split(np.zeros(N))))
    np.testing.assert_array_equal(recipe.valid_rows, held)
    assert (~recipe.is_trained_on).nonzero()[0].tolist() == held.tolist()
    assert recipe.has_validation and recipe.valid_data is None


def test_validation_rows_may_come_from_elsewhere():
    X, y = np.ones((5, 4)), np.arange(5) % 3
    recipe = read(train_split=predefined_split(Dataset(X, y)))
    assert recipe.is_trained_on.all() and recipe.valid_rows is None and recipe.has_validation
    for found, expected in zip(recipe.valid_data, (X, y), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_trained_net_has_as_many_epochs_as_it_has_seen():
    net, X, y, _ = small_net()
    net.fit(X, y).partial_fit(X, y)
    recipe = read_recipe(net, y, link="identity", n_outputs=3)
    assert recipe.n_epochs == len(net.history) == 8


def test_weights_of_a_module_instance_are_drawn_anew():
    recipe = read(seed=3, module=mlp())
    assert recipe.seed is None  # the instance's own weights are those that training began with
    with torch.random.fork_rng():
        first, second = (recipe.initialised().module_[0].weight for _ in range(2))
    assert first.dtype == torch.float64 and not torch.equal(first, second)


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.scale = nn.Linear(4, 3), nn.Parameter(torch.ones(3))

    def forward(self, X):
        return self.layer(X) * self.scale


def test_a_layer_without_initial_weights_is_named():
    with pytest.raises(NotReplayableError, match=r"itself \(Scaled\) has no reset_parameters"):
        ResetModule(Scaled())


# Refusals


class OwnStep(NeuralNetClassifier):
    def train_step_single(self, batch, **params):
        return super().train_step_single(batch, **params)


class OwnLoss(NeuralNetClassifier):
    def get_loss(self, *args, **kwargs):
        return super().get_loss(*args, **kwargs)


class OnGradients(Callback):
    def on_grad_computed(self, net, **kwargs):
        pass


class OnBatches(Callback):
    def on_batch_end(self, net, **kwargs):
        pass


class Discriminator(NeuralNetClassifier):
    def initialize_module(self):
        super().initialize_module()
        self.judge_ = nn.Linear(3, 1)
        return self


class Trained(nn.CrossEntropyLoss):
    def __init__(self):
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(()))


class Halves(DataLoader):
    pass


def reverse(dataset, y=None):
    return torch.utils.data.Subset(dataset, list(range(N))[::-1]), None


BATCHES = BatchSampler(SequentialSampler(range(N)), 10, False)
REFUSED = {
    "a step": ({"cls": OwnStep}, "OwnStep has a train_step_single of its own"),
    "a loss": ({"cls": OwnLoss}, "OwnLoss has a get_loss of its own"),
    "gradients": ({"callbacks": [OnGradients()]}, "callback OnGradients acts on each step"),
    "batches": ({"callbacks": [OnBatches()]}, "callback OnBatches acts on each step"),
}
NOT_REPLAYABLE = {
    "modules": ({"cls": Discriminator}, "Discriminator trains further modules"),
    "a trained criterion": ({"criterion": Trained}, "the criterion Trained is trained, too"),
    "a batch sampler": (
        {"iterator_train__batch_sampler": BATCHES, "iterator_train__shuffle": False},
        "batch_sampler",
    ),
    "a loader": ({"iterator_train": Halves}, "iterator_train is 'Halves', not torch's DataLoader"),
    "a sampler": (
        {
            "iterator_train__sampler": torch.utils.data.SubsetRandomSampler(range(9)),
            "iterator_train__shuffle": False,
        },
        "the sampler SubsetRandomSampler is not known",
    ),
    "too few weights": (
        {
            "iterator_train__sampler": WeightedRandomSampler([1.0], 9),
            "iterator_train__shuffle": False,
        },
        "the sampler has 1 weights for 60 training rows",
    ),
    "a monitor": (
        {"train_split": ValidSplit(4), "callbacks": [EarlyStopping("f1")]},
        "the training watches 'f1'",
    ),
    "no validation rows": ({"callbacks": [STOP]}, "'valid_loss' is watched, but.*train_split"),
    "several ends": (
        {"train_split": ValidSplit(4), "callbacks": [("a", STOP), ("b", EarlyStopping())]},
        "several callbacks stop the training",
    ),
    "another checkpoint": (
        {"train_split": ValidSplit(4), "callbacks": [Checkpoint(monitor=None, load_best=True)]},
        "a Checkpoint watches None",
    ),
    "an order": ({"train_split": reverse}, "train_split changes the order of the rows"),
    "closures": (
        {"optimizer": torch.optim.LBFGS},
        "optimizer LBFGS cannot be stepped by gradients",
    ),
    "no loss a row": ({"criterion": nn.CosineEmbeddingLoss}, "CosineEmbeddingLoss"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_steps_that_are_not_known_are_refused_by_name(name):
    params, message = REFUSED[name]
    with pytest.raises(RefusedTrainingError, match=message):
        read(**params)


@pytest.mark.parametrize("name", NOT_REPLAYABLE)
def test_what_cannot_be_repeated_is_named(name):
    params, message = NOT_REPLAYABLE[name]
    with pytest.raises(NotReplayableError, match=message):
        read(**params)
