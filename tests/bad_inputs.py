"""Every wrong input that is known, and the error that it gets: what doc/bad_input.rst tabulates.

``python -m tests.bad_inputs`` writes that page.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse
import torch
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNet, NeuralNetClassifier
from skorch.callbacks import Callback
from skorch.dataset import Dataset as SkorchDataset
from torch import nn
from torch.utils.data import DataLoader, Dataset, default_collate

from sklearn_synset import SynsetAttributor
from tests.problems import FAST, seeded

PAGE = Path(__file__).parents[1] / "doc" / "bad_input.rst"
N = 30


@dataclass(frozen=True)
class BadInput:
    """A wrong input: what it is, what raises, and a part of what the error says.

    `needs_work` marks what cannot be known before the network has been trained or retrained.
    """

    what: str
    error: type[Exception]
    says: str
    run: Callable[[], object]
    needs_work: bool = False


class Items(Dataset):
    """A dataset of the items of a list."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


class NoWork(Callback):
    """Fails as soon as a training begins."""

    def on_train_begin(self, net, **kwargs):
        raise AssertionError("work was spent before the input was checked")


def rows():
    rng = np.random.RandomState(0)
    return rng.normal(size=(N, 4)), np.arange(N) % 3


X, Y = rows()
VALUES = X[:, 0].copy()


def linear(n_outputs=3, n_features=4, dtype=torch.float64):
    return seeded(lambda: nn.Linear(n_features, n_outputs).to(dtype))


def net(module=None, cls=NeuralNetClassifier, **params):
    """Return a net that fails when it is trained."""
    settings = {"criterion": nn.CrossEntropyLoss, "train_split": None, "verbose": 0}
    module = linear() if module is None else module
    return cls(module, callbacks=[NoWork()], **settings | params)


def fit(X=X, y=Y, groups=None, estimator=None, sample_weight=None, **params):
    attributor = SynsetAttributor(
        net() if estimator is None else estimator, **FAST | {"n_groups": 6} | params
    )
    return attributor.fit(X, y, groups=groups, sample_weight=sample_weight)


_FITTED = {}


def fitted(kind="labels"):
    """Return an attributor for queries, fitted once."""
    if kind not in _FITTED:
        forms = {
            "labels": (linear(), X, Y, {}),
            "values": (linear(1), X, VALUES, {}),
            "two values": (linear(2), X, X[:, :2], {"objective": "loss"}),
            "words": (linear(), X, np.array(["cat", "dog", "emu"])[Y], {}),
            "images": (nn.Sequential(nn.Flatten(), linear()), X.reshape(N, 2, 2), Y, {}),
            "float32": (linear(dtype=torch.float32), X, Y, {}),
        }
        estimator, rows, y, params = forms[kind]
        _FITTED[kind] = fit(rows, y, estimator=estimator, **params)
    return _FITTED[kind]


def spoilt(array, value, dtype=float):
    array = np.array(array, dtype=dtype)
    array.flat[-1] = value
    return array


def frame(**columns):
    """Return a frame with some columns replaced."""
    return pd.DataFrame(X, columns=list("abcd")).assign(**columns)


class Named(nn.Linear):
    def forward(self, X):
        return {"logits": super().forward(X)}


class Always(nn.Linear):
    def forward(self, X):
        return nn.functional.dropout(super().forward(X), training=True)


class InPlace(nn.Linear):
    def forward(self, X):
        return super().forward(X.mul_(2))


class Branching(nn.Linear):
    def forward(self, X):
        output = super().forward(X)
        return output if output.sum() > 0 else 2 * output


class Detached(nn.Linear):
    def forward(self, X):
        return super().forward(X).detach()


class Counting(nn.Linear):
    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.register_buffer("n_calls", torch.zeros(()))

    def forward(self, X):
        self.n_calls += 1
        return super().forward(X)


def own_loader(dataset, **params):
    return DataLoader(dataset, **params)


class OwnLoss(NeuralNetClassifier):
    def get_loss(self, *args, **kwargs):
        return super().get_loss(*args, **kwargs)


def poisoned(value=torch.nan):
    module = linear()
    with torch.no_grad():
        module.bias[0] = value
    return module


def hooked():
    module = linear()
    module.register_full_backward_hook(lambda *args: None)
    return module


def fitted_to_zeros_and_ones():
    """Return a module that was trained on 0 and 1 by squared error, in closed form."""
    module, design = linear(1), np.c_[X, np.ones(N)]
    weight = torch.as_tensor(np.linalg.lstsq(design, X[:, 0] > 0, rcond=None)[0])
    with torch.no_grad():
        module.weight.copy_(weight[None, :4]), module.bias.copy_(weight[4])
    return module


class Ending(nn.Module):
    """A network, and an operation on its output that is no layer."""

    def __init__(self, network, operation):
        super().__init__()
        self.network, self.operation = network, operation

    def forward(self, X):
        return self.operation(self.network(X))


class HotNet(NeuralNetClassifier):
    def infer(self, x, **fit_params):
        return super().infer(x, **fit_params) / 3


class Shaking(SkorchDataset):
    def transform(self, X, y):
        X, y = super().transform(X, y)
        return X + np.random.normal(size=X.shape), y


class Parts(SkorchDataset):
    def transform(self, X, y):
        X, y = super().transform(X, y)
        return {"X": X, "mask": X}, y


def doubled(items):
    X, y = default_collate(items)
    return 2 * X, y


class Hashing(nn.Module):
    """Reads the first column as an identifier."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(8, 3)

    def forward(self, X):
        return self.embedding(X[:, 0].long() % 8)


def module_case(what, error, says, build):
    return BadInput(what, error, says, lambda: fit(estimator=seeded(build)))


def net_case(what, says, **params):
    return BadInput(what, ValueError, says, lambda: fit(estimator=net(**params)))


def parameter_case(name, value):
    return BadInput(
        f"``{name}={value!r}``",
        ValueError,
        f"The '{name}' parameter of SynsetAttributor must be",
        lambda: fit(**{name: value}),
    )


MANY = np.array([None, "a", 1], dtype=object)
DATES = np.array(["NaT", "2024-01-01"] * (N // 2), dtype="datetime64[D]")

SECTIONS = {
    "Training rows": [
        BadInput("NaN", ValueError, "Input X contains NaN", lambda: fit(spoilt(X, np.nan))),
        BadInput("infinity", ValueError, "Input X contains infinity",
                 lambda: fit(spoilt(X, np.inf))),
        BadInput("values whose squares overflow", ValueError, "whose squares overflow in float64",
                 lambda: fit(1e200 * X)),
        BadInput("values beyond the network's dtype", ValueError,
                 "more than the network's torch.float32 can hold",
                 lambda: fit(1e100 * X, estimator=linear(dtype=torch.float32))),
        BadInput("sparse", TypeError, "Sparse data was passed for X",
                 lambda: fit(scipy.sparse.csr_matrix(X))),
        BadInput("masked values", ValueError, "X is a masked array",
                 lambda: fit(np.ma.masked_array(X, mask=X > 1))),
        BadInput("a dataset without labels", ValueError, "requires y to be passed",
                 lambda: fit(Items(X), None)),
        BadInput("a dataset of rows of several shapes", ValueError, "not of one shape",
                 lambda: fit(Items([X[0], X[0, :1]]))),
        BadInput("a dataset of other items", TypeError, "A dataset's items must be rows, or pairs",
                 lambda: fit(Items([{"x": row} for row in X]))),
        BadInput("an empty dataset", ValueError, "Found a dataset with 0 items",
                 lambda: fit(Items([]))),
        BadInput("complex", ValueError, "Complex data not supported", lambda: fit(X + 1j)),
        BadInput("a dict", TypeError, "X is a dict of several inputs ('a', 'b')",
                 lambda: fit({"a": X, "b": X})),
        BadInput("a ``DataLoader``", TypeError,
                 "X is a DataLoader; pass its dataset, loader.dataset",
                 lambda: fit(DataLoader(Items(list(zip(X, Y, strict=True)))), None)),
        BadInput("words", ValueError, "could not convert string to float",
                 lambda: fit(frame(a="x"))),
        BadInput("a frame with categories", ValueError, "could not convert string to float",
                 lambda: fit(frame(a=pd.Categorical(["x", "y"] * (N // 2))))),
        BadInput("a frame with dates", TypeError, "could not be promoted",
                 lambda: fit(frame(a=pd.Timestamp("2024-01-01")))),
        BadInput("a frame with missing values", ValueError, "Input X contains NaN",
                 lambda: fit(frame(a=pd.array([None, 1.0] * (N // 2), dtype="Float64")))),
        BadInput("a frame with names of several types", TypeError,
                 "Feature names are only supported if all input features have string names",
                 lambda: fit(pd.DataFrame(X, columns=["a", 1, 2, "d"]))),
        BadInput("one dimension", ValueError, "Expected 2D array, got 1D array",
                 lambda: fit(X[:, 0])),
        BadInput("rows of different lengths", ValueError, "inhomogeneous shape",
                 lambda: fit([[1, 2, 3, 4], [1, 2]] * (N // 2))),
        BadInput("no rows", ValueError, "Found array with 0 sample(s)", lambda: fit(X[:0], Y[:0])),
        BadInput("no features", ValueError, "Found array with 0 feature(s)",
                 lambda: fit(X[:, :0])),
        BadInput("fewer than two groups", ValueError, "At least 2 groups are needed",
                 lambda: fit(X[:1], Y[:1], n_groups=1)),
        BadInput("fewer rows than groups", ValueError, "fewer rows than groups",
                 lambda: fit(n_groups=N + 1)),
        BadInput("another width than the network takes", ValueError, "cannot take rows of shape",
                 lambda: fit(X[:, :3])),
    ],
    "Training labels and values": [
        BadInput("none", ValueError, "requires y to be passed", lambda: fit(y=None)),
        BadInput("another length", ValueError, "inconsistent numbers of samples",
                 lambda: fit(y=Y[1:])),
        BadInput("NaN", ValueError, "Input y contains NaN", lambda: fit(y=spoilt(Y, np.nan))),
        BadInput("infinity", ValueError, "Input y contains infinity",
                 lambda: fit(y=spoilt(Y, np.inf))),
        BadInput("NaT", ValueError, "y holds NaT", lambda: fit(y=DATES)),
        BadInput("missing integers", ValueError, "Input y contains NaN",
                 lambda: fit(y=pd.array([None, *Y[1:]], dtype="Int64"))),
        BadInput("masked values", ValueError, "y is a masked array",
                 lambda: fit(y=np.ma.masked_array(Y, mask=Y > 1))),
        BadInput("labels of several types", TypeError, "y must hold labels of one type",
                 lambda: fit(y=MANY[Y])),
        BadInput("sparse", TypeError, "Sparse data was passed for y",
                 lambda: fit(y=scipy.sparse.csr_matrix(np.eye(3)[Y]))),
        BadInput("complex", ValueError, "Complex data not supported", lambda: fit(y=Y + 1j)),
        BadInput("three dimensions", ValueError, "Found array with dim 3",
                 lambda: fit(y=np.zeros((N, 3, 1)))),
        BadInput("one-hot rows for a module, and no ``task``", ValueError,
                 "may hold class probabilities or values: its rows sum to 1",
                 lambda: fit(y=np.eye(3)[Y], estimator=linear())),
        BadInput("several labels a row for a module, and no ``task``", ValueError,
                 "several labels a row, or values? Pass task='regression' for values",
                 lambda: fit(y=X > 0, estimator=linear(4))),
        BadInput("several labels a row for a net", ValueError, "y holds several labels a row",
                 lambda: fit(y=X > 0)),
        BadInput("several integers a row for a net", ValueError, "y should be a 1d array",
                 lambda: fit(y=np.stack([Y, Y + 1], axis=1))),
        BadInput("several labels a row for another criterion", ValueError,
                 "The net's criterion is CrossEntropyLoss(), but y holds several labels a row",
                 lambda: fit(y=X[:, :3] > 0, task="multilabel")),
        BadInput("other values than 0 and 1 with ``task='multilabel'``", ValueError,
                 "Several labels a row are 0 and 1 in y of shape (n_rows, n_labels)",
                 lambda: fit(y=X[:, :3], task="multilabel")),
        BadInput("several labels a row for probabilities", ValueError,
                 "The module's outputs lie between 0 and 1: several labels a row need logits",
                 lambda: fit(y=X[:, :3] > 0, task="multilabel",
                             estimator=nn.Sequential(linear(), nn.Sigmoid()))),
        BadInput("labels that the criterion ignores", ValueError,
                 "the net's criterion ignores the label -100 (ignore_index). Leave these rows out",
                 lambda: fit(y=np.where(Y == 1, -100, Y))),
        BadInput("rows that are no class probabilities", ValueError,
                 "must hold class probabilities, not negative and with a sum of 1 in each row",
                 lambda: fit(y=X[:, :3], task="classification")),
        BadInput("class probabilities for another criterion", ValueError,
                 "Class probabilities as y need criterion=torch.nn.CrossEntropyLoss",
                 lambda: fit(y=np.eye(3)[Y], task="classification",
                             estimator=net(nn.Sequential(linear(), nn.Softmax(1)),
                                           criterion=nn.NLLLoss))),
        BadInput("values with ``task='classification'``", ValueError, "Unknown label type",
                 lambda: fit(y=VALUES, task="classification")),
        BadInput("labels that are not in ``classes``", ValueError,
                 "y holds labels that are not in classes=[0, 1]: [2]",
                 lambda: fit(classes=[0, 1])),
        BadInput("``classes`` that repeat", ValueError, "classes must differ from each other",
                 lambda: fit(classes=[0, 1, 2, 2])),
        BadInput("``classes`` in two dimensions", ValueError, "classes must be one-dimensional",
                 lambda: fit(classes=[[0, 1, 2]])),
        BadInput("``classes`` for values", ValueError, "classes are for labels, but y holds values",
                 lambda: fit(y=VALUES, classes=[0, 1], estimator=linear(1))),
        BadInput("another number of ``classes`` than of probabilities", ValueError,
                 "y has 3 columns, but there are 2 classes",
                 lambda: fit(y=np.eye(3)[Y], classes=[0, 1])),
        BadInput("a class without rows that ``classes`` does not name", ValueError,
                 "If a class has no rows, pass all of them as classes=[...]",
                 lambda: fit(y=Y % 2, estimator=linear())),
        BadInput("counts under a single output, and no ``task``", ValueError,
                 "If y holds values, pass task='regression'", lambda: fit(estimator=linear(1))),
        BadInput("0 and 1 that a module fits as values, and no ``task``", ValueError,
                 "fits them better as the values 0 and 1",
                 lambda: fit(y=(X[:, 0] > 0).astype(int), estimator=fitted_to_zeros_and_ones())),
        BadInput("several values, with the objective \"prediction\"", ValueError,
                 "needs a model with one output, got 2",
                 lambda: fit(y=X[:, :2], estimator=linear(2))),
        BadInput("fewer groups than classes", ValueError, "fewer groups than classes",
                 lambda: fit(n_groups=2)),
        BadInput(
            "bytes", TypeError, "y holds bytes", lambda: fit(y=np.array([b"a", b"b", b"c"])[Y])
        ),
    ],
    "Groups": [
        BadInput("another length", ValueError, "inconsistent numbers of samples",
                 lambda: fit(groups=Y[1:])),
        BadInput("two dimensions", ValueError, "groups should be a 1d array",
                 lambda: fit(groups=np.zeros((N, 2)))),
        BadInput("a number", ValueError, "groups should be a 1d array", lambda: fit(groups=3)),
        BadInput("NaN or infinity", ValueError, "groups holds NaN or infinity",
                 lambda: fit(groups=spoilt(Y, np.inf))),
        BadInput("NaT", ValueError, "groups holds NaT", lambda: fit(groups=DATES)),
        BadInput("missing integers", ValueError, "groups holds NaN or infinity",
                 lambda: fit(groups=pd.Series([None, *Y[1:]], dtype="Int64"))),
        BadInput("masked values", ValueError, "groups is a masked array",
                 lambda: fit(groups=np.ma.masked_array(Y, mask=Y > 1))),
        BadInput("labels of several types, or None", TypeError,
                 "groups must hold labels of one type", lambda: fit(groups=MANY[Y])),
        BadInput("complex", ValueError, "Complex data not supported",
                 lambda: fit(groups=Y + 1j)),
        BadInput("a single group", ValueError, "At least 2 groups are needed",
                 lambda: fit(groups=np.zeros(N))),
    ],
    "Sample weights": [
        BadInput("another length", ValueError, "inconsistent numbers of samples",
                 lambda: fit(sample_weight=np.ones(N - 1))),
        BadInput("two dimensions", ValueError, "sample_weight should be a 1d array",
                 lambda: fit(sample_weight=np.ones((N, 1)))),
        BadInput("NaN", ValueError, "Input sample_weight contains NaN",
                 lambda: fit(sample_weight=spoilt(np.ones(N), np.nan))),
        BadInput("negative", ValueError, "sample_weight holds negative values, such as -1",
                 lambda: fit(sample_weight=spoilt(np.ones(N), -1))),
        BadInput("all zero", ValueError, "sample_weight is zero for all rows",
                 lambda: fit(sample_weight=np.zeros(N))),
        BadInput("a net with batches of its own", ValueError,
                 "weights the loss of each row, but the net's iterator_train is not torch's",
                 lambda: fit(sample_weight=np.ones(N), estimator=net(iterator_train=own_loader))),
    ],
    "Parameters": [
        *[parameter_case(*each) for each in (
            ("n_groups", 0), ("n_groups", "many"), ("synset_size", 0), ("synset_size", 2.5),
            ("initialization", "best"),
            ("distance", "euclidean"), ("max_iter", -1), ("learning_rate", 0.0),
            ("learning_rate", float("inf")), ("learning_rate", float("nan")), ("tol", -1e-3),
            ("solver", "newton"), ("rewind", 1.0), ("rewind", -0.1), ("n_steps", 0),
            ("weight_decay", -1.0), ("weight_decay", float("inf")), ("removal", "all"),
            ("n_removals", 1), ("objective", "margins"), ("n_models", 0), ("n_probes", -1),
            ("input_shape", 16), ("batch_size", 0), ("device", 0.5), ("n_jobs", "two"),
            ("random_state", -1), ("random_state", "seed"), ("verbose", -1),
        )],
        BadInput("replay of a training that is not known", ValueError,
                 "solver='replay' repeats the training, which cannot be done: a bare module",
                 lambda: fit(estimator=linear(), solver="replay"), needs_work=True),
        BadInput("an objective for other targets", ValueError, "is not defined for class labels",
                 lambda: fit(objective="prediction")),
        BadInput("an objective that returns another shape", ValueError,
                 "objective must map outputs (..., n, C) to values (..., n)",
                 lambda: fit(objective=lambda outputs, y: outputs)),
        BadInput("an objective that returns no tensor", ValueError, "it returned float of shape ()",
                 lambda: fit(objective=lambda outputs, y: 1.0)),
        BadInput("an objective that fails", ValueError, "It says: division by zero",
                 lambda: fit(objective=lambda outputs, y: 1 / 0)),
        BadInput("a device that is not there", ValueError, "device='quantum' cannot be used",
                 lambda: fit(device="quantum")),
        BadInput("a device without values", ValueError, "device='meta' cannot be used",
                 lambda: fit(device="meta")),
        BadInput("an ``input_shape`` of another size", ValueError, "but a row has 4 features",
                 lambda: fit(input_shape=(3, 3))),
        BadInput("an ``input_shape`` of other things", ValueError,
                 "input_shape must hold positive integers", lambda: fit(input_shape=(2.0, 2))),
        BadInput("``n_models`` for a network that is trained", ValueError,
                 "needs a network that is trained in fit",
                 lambda: fit(estimator=linear(), n_models=2)),
        BadInput("``n_models`` for a frozen net", ValueError,
                 "needs a network that is trained in fit",
                 lambda: fit(estimator=FrozenEstimator(net()), n_models=2)),
        BadInput("an initialization that returns other shapes", ValueError,
                 "initialization must return averages of shape",
                 lambda: fit(estimator=linear(),
                             initialization=lambda X, *_: (torch.zeros(3), torch.ones(2))),
                 needs_work=True),
        BadInput("an initialization with weights that are not positive", ValueError,
                 "m positive weights",
                 lambda: fit(estimator=linear(),
                             initialization=lambda X, *_: (torch.eye(len(X)), -torch.ones(len(X)))),
                 needs_work=True),
        BadInput("a distance that is no scalar", ValueError, "distance must return a scalar",
                 lambda: fit(estimator=linear(), distance=lambda a, b: a - b), needs_work=True),
        BadInput("features whose scales are too far apart to train on", FloatingPointError,
                 "Scale the features (and the target), or raise weight_decay",
                 lambda: fit(X * [1e6, 1, 1e-6, 1e-3], estimator=linear()),
                 needs_work=True),
    ],
    "Networks": [
        BadInput("no network", TypeError, "estimator must be None, a torch.nn.Module, a skorch net",
                 lambda: fit(estimator="network")),
        BadInput("a pipeline that ends in a net", TypeError,
                 "make_pipeline(*steps[:-1], SynsetAttributor(net))",
                 lambda: fit(estimator=make_pipeline(StandardScaler(), net()))),
        module_case("complex weights", ValueError, "The module's weight is complex",
                    lambda: nn.Linear(4, 3, dtype=torch.complex128)),
        BadInput("identifiers that the network's dtype does not hold", ValueError,
                 "X holds integers up to 120000000",
                 lambda: fit(np.c_[1.2e9 + Y, X], estimator=seeded(Hashing))),
        BadInput("a class", TypeError, "estimator must be None, a torch.nn.Module, a skorch net",
                 lambda: fit(estimator=nn.Linear)),
        module_case("a weight that is NaN or infinite", ValueError,
                    "The module's bias holds NaN or infinity", poisoned),
        module_case("outputs that are NaN or infinite", ValueError,
                    "output on training rows holds NaN or infinity",
                    lambda: nn.Sequential(linear(), nn.Threshold(1e9, torch.inf))),
        module_case("another output width", ValueError, "output width must be 3 for 3 classes",
                    lambda: linear(4)),
        module_case("an output of another number of dimensions", ValueError,
                    "must return an output of shape (n,) or (n, n_outputs)",
                    lambda: nn.Sequential(linear(), nn.Unflatten(1, (3, 1)))),
        module_case("a dict as output", TypeError,
                    "must return a tensor, or a tuple whose first part is one; got dict",
                    lambda: Named(4, 3).double()),
        module_case("integers as output", TypeError, "must return a floating tensor",
                    lambda: nn.Sequential(linear(), Rounded())),
        module_case("nothing that is trainable", ValueError, "has no trainable parameter",
                    lambda: linear().requires_grad_(False)),
        module_case("no parameters", ValueError, "has no trainable parameter", nn.Identity),
        module_case("lazy layers that have not run", ValueError, "run the module once",
                    lambda: nn.LazyLinear(3)),
        module_case("the meta device", ValueError, "on the meta device, which holds no weights",
                    lambda: nn.Linear(4, 3, device="meta")),
        module_case("layers that take integers", ValueError, "Expected tensor for argument",
                    lambda: nn.Sequential(nn.Embedding(9, 3), nn.Flatten(), nn.Linear(12, 3))),
        module_case("batch normalisation without running statistics", ValueError,
                    "cannot be evaluated row by row",
                    lambda: nn.Sequential(nn.BatchNorm1d(4, track_running_stats=False), linear())),
        module_case("outputs at random in evaluation mode", ValueError, "or at random",
                    lambda: Always(4, 3).double()),
        module_case("input that is changed in place", ValueError, "changes its input in place",
                    lambda: InPlace(4, 3).double()),
        module_case("branches on values", ValueError, "branches on values",
                    lambda: Branching(4, 3).double()),
        module_case("an output that is detached", ValueError, "does not require grad",
                    lambda: Detached(4, 3).double()),
        module_case("buffers that change", ValueError, "in-place", lambda: Counting(4, 3).double()),
        module_case("a backward hook", ValueError, "backward hooks", hooked),
        module_case("``DataParallel``", ValueError, "nn.DataParallel",
                    lambda: nn.DataParallel(linear())),
        module_case("a sigmoid for each of several classes", ValueError,
                    "The module ends in Sigmoid with 3 outputs",
                    lambda: nn.Sequential(linear(), nn.Sigmoid())),
        BadInput("an output that may be a logit or a probability", ValueError,
                 "The module's single output may be a probability or a logit",
                 lambda: fit(y=Y % 2, estimator=Ending(linear(1), lambda z: z.clamp(0, 1)))),
        module_case("a hook that fails", ValueError, "It says: broken", lambda: broken_hook()),
        BadInput("a frozen net that is not fitted", NotFittedError, "is not fitted",
                 lambda: fit(estimator=FrozenEstimator(net()))),
        net_case("a net whose ``infer`` changes outputs",
                 "HotNet.forward computes another function than its module", cls=HotNet),
        net_case("a dataset that changes rows at random",
                 "when other rows, or other random numbers, are around: dataset=Shaking",
                 dataset=Shaking),
        BadInput("a dataset that makes several inputs of a row", TypeError,
                 "The module must take one tensor, but the net calls it with (X=, mask=)",
                 lambda: fit(estimator=net(dataset=Parts))),
        net_case("a ``collate_fn`` in training alone",
                 "The net is trained on other rows than it predicts: iterator_train__collate_fn",
                 iterator_train__collate_fn=doubled),
        net_case("logits for ``NLLLoss`` that takes log-probabilities",
                 "NLLLoss expects log-probabilities", cls=NeuralNet, criterion=nn.NLLLoss),
        net_case("a net of another width", "output width must be 3", module=linear(4)),
        net_case("a criterion that is not supported", "but y holds class labels",
                 criterion=nn.MultiMarginLoss),
        net_case("a loss of the net's own", "get_loss of its own", cls=OwnLoss),
        net_case("logits for ``NLLLoss``", "expects a module that returns prob",
                 criterion=nn.NLLLoss),
        net_case("one logit for three classes", "expects 2 classes", module=linear(1),
                 cls=NeuralNet, criterion=nn.BCEWithLogitsLoss),
        net_case("squared error for labels", "but y holds class labels", criterion=nn.MSELoss),
    ],
    "Queries": [
        BadInput("before ``fit``", NotFittedError, "is not fitted yet",
                 lambda: SynsetAttributor().transform(X)),
        BadInput("NaN", ValueError, "Input X contains NaN",
                 lambda: fitted().transform(spoilt(X, np.nan))),
        BadInput("infinity", ValueError, "Input X contains infinity",
                 lambda: fitted().score(spoilt(X, np.inf), Y)),
        BadInput("values beyond the network's dtype", ValueError, "hold NaN or infinity",
                 lambda: fitted("float32").transform(1e100 * X)),
        BadInput("sparse", TypeError, "Sparse data was passed for X",
                 lambda: fitted().transform(scipy.sparse.csr_matrix(X))),
        BadInput("masked values", ValueError, "X is a masked array",
                 lambda: fitted().transform(np.ma.masked_array(X, mask=X > 1))),
        BadInput("no rows", ValueError, "Found array with 0 sample(s)",
                 lambda: fitted().score_samples(X[:0])),
        BadInput("another width", ValueError, "X has 3 features",
                 lambda: fitted().transform(X[:, :3])),
        BadInput("rows of another shape", ValueError, "was fitted with rows of shape (2, 2)",
                 lambda: fitted("images").transform(np.zeros((3, 2, 3)))),
        BadInput("another length of y", ValueError, "inconsistent numbers of samples",
                 lambda: fitted().attribute(X, Y[1:])),
        BadInput("NaN in y", ValueError, "Input y contains NaN",
                 lambda: fitted("values").attribute(X, spoilt(VALUES, np.nan))),
        BadInput("labels that were not in ``fit``", ValueError, "not seen in fit: [7]",
                 lambda: fitted().attribute(X, np.where(Y == 1, 7, Y))),
        BadInput("words for labels that were numbers", ValueError, "not seen in fit: ['0', '1'",
                 lambda: fitted().attribute(X, Y.astype(str))),
        BadInput("numbers for labels that were words", ValueError, "not seen in fit: [0, 1, 2]",
                 lambda: fitted("words").score_samples(X, Y)),
        BadInput("two values for a single one", ValueError, "y has 2 targets",
                 lambda: fitted("values").attribute(X, X[:, :2], objective="loss")),
        BadInput("a single value for two", ValueError, "y has 1 targets",
                 lambda: fitted("two values").attribute(X, VALUES)),
        BadInput("an objective for other targets", ValueError, "is not defined for class labels",
                 lambda: fitted().attribute(X, objective="prediction")),
        BadInput("an objective that returns another shape", ValueError,
                 "objective must map outputs",
                 lambda: fitted().attribute(X, objective=lambda outputs, y: outputs.sum())),
        BadInput("an objective that returns NaN", ValueError, "hold NaN or infinity",
                 lambda: fitted().attribute(
                     X, objective=lambda outputs, y: outputs.sum(-1) * torch.nan)),
        BadInput("standard errors of one network", ValueError, "n_models of at least 2",
                 lambda: fitted().attribute(X, return_std=True)),
        BadInput("groups to leave out that are not known", ValueError, "not in groups_",
                 lambda: fitted().leave_out([0, 9])),
        BadInput("words for groups that are numbers", ValueError, "not in groups_",
                 lambda: fitted().leave_out(["0"])),
        BadInput("groups to leave out in two dimensions", ValueError,
                 "groups should be a 1d array", lambda: fitted().leave_out([[0, 1]])),
        BadInput("all groups to leave out", ValueError, "nothing would be left to train on",
                 lambda: fitted().leave_out(fitted().groups_)),
        BadInput("rows to leave out that are not there", ValueError, "rows holds [999], outside",
                 lambda: fitted().leave_out(rows=[0, 999])),
        BadInput("rows to leave out that are counted from the end", ValueError,
                 "rows holds [-1], outside of 0 to", lambda: fitted().leave_out(rows=[-1])),
        BadInput("another number of marks of rows to leave out", ValueError,
                 "rows marks 2 rows, but fit was given",
                 lambda: fitted().leave_out(rows=[True, False])),
        BadInput("rows to leave out in two dimensions", ValueError, "rows must be one-dimensional",
                 lambda: fitted().leave_out(rows=[[0, 1]])),
        BadInput("floats for rows to leave out", TypeError,
                 "rows must hold booleans or integers, got dtype float64",
                 lambda: fitted().leave_out(rows=[0.0])),
        BadInput("words for rows to leave out", TypeError, "rows must hold booleans or integers",
                 lambda: fitted().leave_out(rows=["a"])),
        BadInput("all rows to leave out", ValueError, "rows names all training rows",
                 lambda: fitted().leave_out(rows=range(N))),
        BadInput("groups and rows that are all there is", ValueError,
                 "all training rows: nothing would be left",
                 lambda: fitted().leave_out([0], rows=fitted().group_labels_ != 0)),
        BadInput("nothing to leave out", TypeError, "needs groups, rows or both",
                 lambda: fitted().leave_out()),
    ],
}  # fmt: skip


class Rounded(nn.Module):
    def forward(self, X):
        return X.long()


def broken_hook():
    def broken(*args):
        raise RuntimeError("broken")

    module = linear()
    module.register_forward_hook(broken)
    return module


def cases():
    """Return (section, bad input) of all of them."""
    return [(section, case) for section, found in SECTIONS.items() for case in found]


HEADER = """\
Bad input
=========

Wrong input is refused with an error that says what was expected and what came. Nothing is trained
before the checks are through; the few that need the outcome of a training are marked with a star.
`ValueError` is meant where nothing else is said. Errors that the network itself raises on queries,
such as an index beyond an embedding, pass through as they are.

Not refused, as it may be meant: groups of one row; groups that mix classes; features that are
constant; rows that repeat; a network in training mode (a copy is put into evaluation mode); half
precision (computed in single precision); attention (computed without fused kernels); frozen, tied
and unused parameters; a network that turns its rows into integers, whose averages mean nothing to
it: its synset rows are real rows. Not a number is returned where there is nothing to
compare, by `score` and `fidelity_` with fewer than two probes, and nowhere else.
"""


def page():
    """Return the text of doc/bad_input.rst."""
    lines = [HEADER]
    for section, found in SECTIONS.items():
        lines += [section, "-" * len(section), "", ".. list-table::", "   :header-rows: 1", ""]
        lines += ["   * - Input", "     - Error says"]
        for case in found:
            name = "" if case.error is ValueError else f"`{case.error.__name__}`: "
            star = r" \*" if case.needs_work else ""
            lines += [f"   * - {case.what}{star}", f"     - {name}``{case.says}``"]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page())
