"""Small networks of many kinds, each with the rows and the training that go with it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from skorch import NeuralNet, NeuralNetBinaryClassifier, NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import EarlyStopping, GradientNormClipping, LRScheduler
from skorch.dataset import Dataset
from skorch.helper import SliceDict, predefined_split
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations
from torch.utils.data import WeightedRandomSampler

N, N_QUERY, N_GROUPS = 90, 60, 6


@dataclass(frozen=True)
class Animal:
    """A network, the rows it takes, and how it is trained.

    Parameters
    ----------
    make : callable
        Returns the untrained network.
    rows : str, default="table"
        One of `ROWS`.
    net : type, default=NeuralNetClassifier
        The skorch net around it.
    params : dict
        Its parameters.
    fit : dict
        Further arguments of `fit` and of the retraining.
    bare : bool, default=False
        Whether the trained module is explained without its net.
    instance : bool, default=False
        Whether the net holds a module instance.
    dtype : torch.dtype, default=None
        What a bare module is converted to after its training.
    """

    make: Callable
    rows: str = "table"
    net: type = NeuralNetClassifier
    params: dict = field(default_factory=dict)
    fit: dict = field(default_factory=dict)
    bare: bool = False
    instance: bool = False
    dtype: torch.dtype | None = None

    def estimator(self):
        """Return the untrained net."""
        settings = {"optimizer": torch.optim.Adam, "lr": 0.01, "max_epochs": 20, "batch_size": 16}
        settings |= {"train_split": None, "verbose": 0, "iterator_train__shuffle": True}
        if issubclass(self.net, NeuralNetClassifier):
            settings["criterion"] = nn.CrossEntropyLoss
        module = seeded(self.make) if self.instance else self.make
        return self.net(module, **settings | self.params)


def seeded(make):
    """Return a module with the weights of a fixed seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make()


# Rows


def _table(rng, n):
    y = np.arange(n) % 3
    X = rng.normal(size=(n, 8))
    X[np.arange(n), y] += 1.2
    return X.astype(np.float32), y


def _two(rng, n):
    X, y = _table(rng, n)
    return X, (y > 0).astype(int)


def _values(rng, n):
    X = rng.normal(size=(n, 8)).astype(np.float32)
    y = X[:, 0] + X[:, 1] * X[:, 2] + 0.3 * rng.normal(size=n)
    return X, y.astype(np.float32)[:, None]


def _two_values(rng, n):
    X, y = _values(rng, n)
    return X, np.concatenate([y, X[:, 3:4] ** 2], axis=1)


def _counts(rng, n):
    X = rng.normal(size=(n, 8)).astype(np.float32)
    return X, rng.poisson(np.exp(0.5 * X[:, 0] + 0.3 * X[:, 1]))[:, None].astype(np.float32)


def _soft(rng, n):
    X, y = _table(rng, n)
    return X, (0.7 * np.eye(3)[y] + 0.1).astype(np.float32)


def _several(rng, n):
    X = rng.normal(size=(n, 8)).astype(np.float32)
    y = X[:, :3] + X[:, 3:6] + 0.5 * rng.normal(size=(n, 3)) > 0.3
    return X, y.astype(np.float32)


def _images(rng, n):
    X, y = rng.normal(size=(n, 1, 6, 6)), np.arange(n) % 3
    X[y == 0, :, :3] += 0.7
    X[y == 1, :, :, :3] += 0.7
    return X.astype(np.float32), y


def _sequences(rng, n):
    X, y = rng.normal(size=(n, 6, 3)), np.arange(n) % 3
    X[np.arange(n), :, y] += 0.7
    return X.astype(np.float32), y


def _ids(rng, n):
    y = np.arange(n) % 3
    common = rng.randint(4, size=(n, 5)) + 4 * y[:, None]
    return np.where(rng.uniform(size=(n, 5)) < 0.6, common, rng.randint(12, size=(n, 5))), y


def _inputs(rng, n):
    X, y = _table(rng, n)
    return SliceDict(left=X[:, :4], right=X[:, 4:]), y


ROWS = {
    "table": _table,
    "two": _two,
    "values": _values,
    "two values": _two_values,
    "counts": _counts,
    "soft": _soft,
    "several labels": _several,
    "images": _images,
    "sequences": _sequences,
    "ids": _ids,
    "inputs": _inputs,
}


def rows_of(name):
    """Return training rows, targets and groups, and queries with theirs."""
    X, y = ROWS[name](np.random.RandomState(0), N + N_QUERY)
    return X[:N], y[:N], groups_of(X[:N], y[:N]), X[N:], y[N:]


def groups_of(X, y):
    """Part rows into groups of one size: by their target, and then by their first feature."""
    first = np.asarray(X["left"] if isinstance(X, dict) else X).reshape(N, -1)[:, 0]
    target = y.reshape(N, -1)
    target = target.argmax(1) if target.shape[1] == 3 else target[:, 0]
    order, groups = np.lexsort((first, target)), np.empty(N, dtype=int)
    groups[order] = np.arange(N) * N_GROUPS // N
    return groups


# Networks


class Via(nn.Module):
    """A function of values, with the layers that it uses."""

    def __init__(self, function, **layers):
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, X):
        """Map rows to outputs."""
        return self.function(self, X)


def chain(*layers):
    """Return layers one after the other; a function is a layer without weights."""
    return nn.Sequential(
        *(
            each if isinstance(each, nn.Module) else Via(lambda _, X, f=each: f(X))
            for each in layers
        )
    )


def mlp(n_out=3, between=nn.Tanh, n_in=8, n_hidden=16):
    """Return two layers with something between."""
    return nn.Sequential(nn.Linear(n_in, n_hidden), between(), nn.Linear(n_hidden, n_out))


def normed(norm):
    """Return two layers with a norm and an activation between."""
    return chain(nn.Linear(8, 16), norm(16), nn.ReLU(), nn.Linear(16, 3))


def recurrent(layer, **params):
    """Return a recurrent layer and a linear one on its last output."""
    width = 12 * (2 if params.get("bidirectional") else 1)
    return Via(
        lambda net, X: net.head(net.recurrent(X)[0][:, -1]),
        recurrent=layer(3, 12, batch_first=True, **params),
        head=nn.Linear(width, 3),
    )


def cells():
    """Return a loop of an LSTM cell."""

    def run(net, X):
        state = None
        for now in X.unbind(1):
            state = net.cell(now, state)
        return net.head(state[0])

    return Via(run, cell=nn.LSTMCell(3, 12), head=nn.Linear(12, 3))


def embedding_bag():
    """Return a mean of embeddings, and a linear layer."""
    return nn.Sequential(nn.EmbeddingBag(12, 8), nn.Linear(8, 3))


def bag_of_offsets():
    """Return an embedding bag with the offsets at which rows start."""

    def run(net, X):
        return net.head(net.bag(X.flatten(), torch.arange(0, X.numel(), X.shape[1])))

    return Via(run, bag=nn.EmbeddingBag(12, 8, mode="sum"), head=nn.Linear(8, 3))


def attention():
    """Return self-attention, pooled."""

    def run(net, X):
        values = net.start(X)
        return net.head(net.attention(values, values, values, need_weights=False)[0].mean(1))

    return Via(
        run,
        start=nn.Linear(3, 8),
        attention=nn.MultiheadAttention(8, 2, batch_first=True),
        head=nn.Linear(8, 3),
    )


def transformer(dropout=0.0):
    """Return an encoder of one layer, pooled."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout, batch_first=True)
    return chain(nn.Linear(3, 8), layer, lambda X: X.mean(1), nn.Linear(8, 3))


def residual():
    """Return a residual block between linear layers."""
    block = Via(
        lambda net, X: X + net.layer(torch.relu(net.norm(X))),
        layer=nn.Linear(16, 16),
        norm=nn.LayerNorm(16),
    )
    return chain(nn.Linear(8, 16), block, nn.Linear(16, 3))


def parametrized(by):
    """Return two layers whose first weight is parametrized."""
    return chain(by(nn.Linear(8, 16)), nn.Tanh(), nn.Linear(16, 3))


def old_weight_norm():
    """Return a layer with torch's former weight normalisation."""
    return chain(torch.nn.utils.weight_norm(nn.Linear(8, 16)), nn.Tanh(), nn.Linear(16, 3))


def tied():
    """Return a network whose first and third layer share their weight."""
    first, third = nn.Linear(8, 8), nn.Linear(8, 8)
    third.weight = first.weight
    return chain(first, nn.Tanh(), third, nn.Tanh(), nn.Linear(8, 3))


class Raw(nn.Module):
    """Raw parameters in the place of layers."""

    def __init__(self):
        super().__init__()
        self.first = nn.Parameter(torch.randn(8, 16) / 3)
        self.second = nn.Parameter(torch.randn(16, 3) / 4)
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, X):
        """Map rows to logits."""
        return torch.tanh(X @ self.first) @ self.second + self.bias


def many_parameters():
    """Return layers in a list of parameters and a dict of modules."""
    return Via(
        lambda net, X: net.parts["end"](torch.tanh(X @ net.weights[0] + net.weights[1])),
        weights=nn.ParameterList([nn.Parameter(torch.randn(8, 16) / 3), torch.zeros(16)]),
        parts=nn.ModuleDict({"end": nn.Linear(16, 3)}),
    )


def frozen_layers():
    """Return a network whose first layer is not trained."""
    network = mlp()
    network[0].requires_grad_(False)
    return network


def branches():
    """Return two branches, side by side, that end in one layer."""
    return Via(
        lambda net, X: net.head(torch.cat([torch.tanh(net.a(X)), torch.relu(net.b(X))], 1)),
        a=nn.Linear(8, 8),
        b=nn.Linear(8, 8),
        head=nn.Linear(16, 3),
    )


def skip():
    """Return a network whose rows go to the last layer, too."""
    return Via(
        lambda net, X: net.head(torch.cat([X, torch.tanh(net.first(X))], 1)),
        first=nn.Linear(8, 8),
        head=nn.Linear(16, 3),
    )


def maxout():
    """Return a layer that takes the larger of two linear functions."""
    return chain(nn.Linear(8, 32), lambda X: X.unflatten(1, (16, 2)).amax(2), nn.Linear(16, 3))


def gated():
    """Return a gated linear unit."""
    return chain(nn.Linear(8, 32), nn.GLU(), nn.Linear(16, 3))


def experts():
    """Return two experts, mixed by a gate."""

    def run(net, X):
        share = net.gate(X).softmax(-1)
        return sum(share[:, k, None] * each(X) for k, each in enumerate(net.experts))

    return Via(run, gate=nn.Linear(8, 2), experts=nn.ModuleList([mlp(), mlp()]))


def conv(*inner):
    """Return convolutions of images, pooled."""
    return chain(nn.Conv2d(1, 8, 3), *inner, nn.ReLU(), nn.Flatten(), nn.Linear(128, 3))


def depthwise():
    """Return a depthwise and a pointwise convolution."""
    return conv(nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 8, 1))


def conv_1d():
    """Return convolutions of sequences."""
    parts = (nn.Conv1d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    return chain(lambda X: X.transpose(1, 2), *parts, nn.Linear(8, 3))


def unet():
    """Return a convolution whose input skips a pooling."""

    def run(net, X):
        fine = torch.relu(net.down(X))
        coarse = functional.interpolate(functional.max_pool2d(fine, 2), scale_factor=2)
        return net.head(torch.cat([fine, coarse], 1).mean((2, 3)))

    return Via(run, down=nn.Conv2d(1, 12, 3, padding=1), head=nn.Linear(24, 3))


def embedded(n_hidden=8):
    """Return embeddings side by side, and two layers."""
    return chain(
        nn.Embedding(12, 4),
        nn.Flatten(),
        nn.Linear(20, n_hidden),
        nn.ReLU(),
        nn.Linear(n_hidden, 3),
    )


def embedded_recurrent():
    """Return embeddings that a GRU reads."""
    return Via(
        lambda net, X: net.head(net.gru(net.embedding(X))[1][-1]),
        embedding=nn.Embedding(12, 4),
        gru=nn.GRU(4, 8, batch_first=True),
        head=nn.Linear(8, 3),
    )


def with_scalar():
    """Return logits over a trained temperature."""
    return Via(
        lambda net, X: net.body(X) * net.scale.exp(),
        body=mlp(),
        scale=nn.Parameter(torch.zeros(())),
    )


def cosine():
    """Return a layer of unit rows and unit weights."""
    return Via(
        lambda net, X: 5 * functional.normalize(net.body(X)) @ functional.normalize(net.centres).T,
        body=nn.Sequential(nn.Linear(8, 16), nn.Tanh()),
        centres=nn.Parameter(torch.randn(3, 16)),
    )


def radial():
    """Return radial basis functions around trained centres."""
    return Via(
        lambda net, X: net.head((-(X[:, None] - net.centres).square().sum(-1) / 8).exp()),
        centres=nn.Parameter(torch.randn(16, 8)),
        head=nn.Linear(16, 3),
    )


def pair_of_outputs():
    """Return logits and what they are made of."""
    return Via(
        lambda net, X: (net.head(net.body(X)), X), body=nn.Linear(8, 16), head=nn.Linear(16, 3)
    )


def dict_of_outputs():
    """Return logits in a dict."""
    return Via(lambda net, X: {"logits": net.layer(X)}, layer=nn.Linear(8, 3))


class TwoInputs(nn.Module):
    """Takes a dict of inputs as keyword arguments, as skorch passes them."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, left, right):
        """Map two inputs to logits."""
        return self.a(left) + self.b(right)


class Scaled(Dataset):
    """Scales rows on their way to the net."""

    def transform(self, X, y):
        """Halve the rows."""
        X, y = super().transform(X, y)
        return X / 2, y


class TupleNet(NeuralNetClassifier):
    """Takes the loss of the first output."""

    def get_loss(self, y_pred, y_true, *args, **kwargs):
        """Return the loss of the logits."""
        return super().get_loss(y_pred[0], y_true, *args, **kwargs)


class Penalised(NeuralNetClassifier):
    """Adds a penalty of its own."""

    def get_loss(self, *args, **kwargs):
        """Return the loss, and a penalty."""
        penalty = sum(each.abs().sum() for each in self.module_.parameters())
        return super().get_loss(*args, **kwargs) + 1e-3 * penalty


def _weight(n):
    return np.random.RandomState(1).uniform(0.2, 2, n)


def _held_back():
    return _table(np.random.RandomState(1), 60)


def _callbacks(*each):
    return {"callbacks": list(each)}


BINARY, REGRESSOR = NeuralNetBinaryClassifier, NeuralNetRegressor

ANIMALS = {
    # Recurrent
    "RNN": Animal(partial(recurrent, nn.RNN), "sequences"),
    "GRU": Animal(partial(recurrent, nn.GRU), "sequences"),
    "LSTM": Animal(partial(recurrent, nn.LSTM), "sequences"),
    "GRU, two directions and layers": Animal(
        partial(recurrent, nn.GRU, num_layers=2, bidirectional=True), "sequences"
    ),
    "LSTM cell in a loop": Animal(cells, "sequences"),
    "GRU, bare module": Animal(partial(recurrent, nn.GRU), "sequences", bare=True),
    # Identifiers
    "embedding": Animal(embedded, "ids"),
    "embedding and GRU": Animal(embedded_recurrent, "ids"),
    "embedding bag": Animal(embedding_bag, "ids"),
    "embedding bag with offsets": Animal(bag_of_offsets, "ids"),
    # Attention
    "attention": Animal(attention, "sequences"),
    "transformer layer": Animal(transformer, "sequences"),
    "transformer layer with dropout": Animal(partial(transformer, 0.1), "sequences"),
    # Convolutions
    "convolution": Animal(conv, "images"),
    "convolution, batch norm": Animal(partial(conv, nn.BatchNorm2d(8)), "images"),
    "convolution, group norm": Animal(partial(conv, nn.GroupNorm(2, 8)), "images"),
    "convolution, instance norm": Animal(
        partial(conv, nn.InstanceNorm2d(8, affine=True)), "images"
    ),
    "depthwise convolution": Animal(depthwise, "images"),
    "convolution of sequences": Animal(conv_1d, "sequences"),
    "U-shaped": Animal(unet, "images"),
    "convolution, bare module": Animal(conv, "images", bare=True),
    # Norms and dropout
    "batch norm": Animal(partial(normed, nn.BatchNorm1d)),
    "layer norm": Animal(partial(normed, nn.LayerNorm)),
    "RMS norm": Animal(partial(normed, nn.RMSNorm)),
    "dropout": Animal(partial(mlp, between=lambda: nn.Sequential(nn.ReLU(), nn.Dropout(0.2)))),
    # Shapes
    "linear": Animal(partial(nn.Linear, 8, 3)),
    "residual": Animal(residual),
    "branches": Animal(branches),
    "rows to the last layer": Animal(skip),
    "maxout": Animal(maxout),
    "gated linear unit": Animal(gated),
    "experts and a gate": Animal(experts),
    "radial basis functions": Animal(radial),
    "PReLU": Animal(partial(mlp, between=nn.PReLU)),
    # Parameters
    "weight norm": Animal(partial(parametrized, parametrizations.weight_norm)),
    "spectral norm": Animal(partial(parametrized, parametrizations.spectral_norm)),
    "orthogonal": Animal(partial(parametrized, parametrizations.orthogonal)),
    "tied weights": Animal(tied),
    "raw parameters": Animal(Raw),
    "parameter list and module dict": Animal(many_parameters),
    "frozen layers": Animal(frozen_layers),
    "trained temperature": Animal(with_scalar),
    "cosine logits": Animal(cosine),
    "float64": Animal(lambda: mlp().double()),
    "bfloat16": Animal(mlp, bare=True, dtype=torch.bfloat16),
    # Ends
    "softmax, NLLLoss": Animal(
        lambda: chain(mlp(), nn.Softmax(-1)), params={"criterion": nn.NLLLoss}
    ),
    "log-softmax, NLLLoss": Animal(
        lambda: chain(mlp(), nn.LogSoftmax(-1)), net=NeuralNet, params={"criterion": nn.NLLLoss}
    ),
    "softmax, bare module": Animal(
        lambda: chain(mlp(), nn.Softmax(-1)), params={"criterion": nn.NLLLoss}, bare=True
    ),
    "one logit, BCEWithLogitsLoss": Animal(partial(mlp, 1), "two", BINARY),
    "tuple of outputs, bare module": Animal(pair_of_outputs, net=TupleNet, bare=True),
    "dict of outputs": Animal(dict_of_outputs),
    "two inputs": Animal(TwoInputs, "inputs"),
    # Criteria
    "class weights": Animal(mlp, params={"criterion__weight": torch.tensor([1.0, 3.0, 0.5])}),
    "label smoothing": Animal(mlp, params={"criterion__label_smoothing": 0.1}),
    "ignored class": Animal(mlp, params={"criterion__ignore_index": 2}),
    "soft labels": Animal(mlp, "soft"),
    "several labels a row": Animal(
        mlp, "several labels", NeuralNet, {"criterion": nn.BCEWithLogitsLoss}
    ),
    "squared error": Animal(partial(mlp, 1), "values", REGRESSOR),
    "Huber loss": Animal(partial(mlp, 1), "values", REGRESSOR, {"criterion": nn.HuberLoss}),
    "two values": Animal(partial(mlp, 2), "two values", REGRESSOR),
    "Poisson counts": Animal(
        partial(mlp, 1), "counts", REGRESSOR, {"criterion": nn.PoissonNLLLoss}
    ),
    "penalty of its own": Animal(mlp, net=Penalised),
    # Trainings
    "sample weights": Animal(mlp, fit={"sample_weight": _weight(N)}),
    "weighted sampler": Animal(
        mlp,
        params={
            "iterator_train__shuffle": False,
            "iterator_train__sampler": WeightedRandomSampler(_weight(N), N),
        },
    ),
    "SGD with momentum and cosine": Animal(
        mlp,
        params={"optimizer": torch.optim.SGD, "optimizer__momentum": 0.9, "lr": 0.05}
        | _callbacks(LRScheduler("CosineAnnealingLR", T_max=20)),
    ),
    "AdamW, large decay": Animal(
        mlp, params={"optimizer": torch.optim.AdamW, "optimizer__weight_decay": 0.3}
    ),
    "decay of one layer": Animal(
        mlp,
        params={"optimizer__param_groups": [("0.*", {"weight_decay": 0.05})]},
    ),
    "clipping": Animal(
        mlp,
        params={"optimizer": torch.optim.SGD, "lr": 0.3} | _callbacks(GradientNormClipping(0.5)),
    ),
    "RMSprop": Animal(mlp, params={"optimizer": torch.optim.RMSprop, "lr": 0.003}),
    "LBFGS": Animal(mlp, params={"optimizer": torch.optim.LBFGS, "batch_size": -1, "lr": 0.1}),
    "early stopping": Animal(
        mlp,
        params={"max_epochs": 40, "train_split": predefined_split(Dataset(*_held_back()))}
        | _callbacks(EarlyStopping(patience=3, load_best=True)),
    ),
    "dataset of its own": Animal(mlp, params={"dataset": Scaled}),
    "module instance": Animal(mlp, instance=True),
}
