"""Rows that are many, in files or in datasets: the same results, and no copy of them in memory."""

import gc
import glob
import os
import pickle
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from skorch import NeuralNetClassifier
from skorch.dataset import Dataset as SkorchDataset
from skorch.dataset import ValidSplit
from skorch.helper import SliceDataset
from torch import nn
from torch.utils.data import TensorDataset

from sklearn_synset import SynsetAttributor
from sklearn_synset._data import row_source
from sklearn_synset._wrapping import rows_for_net
from tests.problems import mlp

FAST = {
    "n_groups": 6,
    "max_iter": 4,
    "n_steps": 8,
    "n_probes": 2,
    "random_state": 0,
}

pytestmark = pytest.mark.filterwarnings(
    "ignore:Attributions agree badly:sklearn.exceptions.ConvergenceWarning"
)


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(n_class=3, return_X_y=True)
    return (X[:150] / 16).astype(np.float32), y[:150]


@pytest.fixture
def everything_is_large(monkeypatch):
    """Nothing is small enough to be copied, and a few rows are many."""
    for module in (row_source, rows_for_net):
        monkeypatch.setattr(module, "_COPIED_BYTES", -1)


def mapped(X, tmp_path):
    np.save(tmp_path / "X.npy", X)
    return np.load(tmp_path / "X.npy", mmap_mode="r")


def answers(attributor, X, y, Q, y_query):
    """Return every answer to the queries."""
    return {
        "labels": attributor.group_labels_,
        "synset": attributor.X_synset_,
        "transform": attributor.transform(Q),
        "attribute": attributor.attribute(Q, y_query),
        "samples": attributor.attribute(Q, y_query, level="samples"),
        "rows": attributor.most_influential_rows(Q, y_query)[0],
        "own": attributor.score_samples(X, y),
        "score": np.array(attributor.score(X, y)),
    }


def assert_same(actual, expected):
    for name, value in expected.items():
        np.testing.assert_array_equal(actual[name], value, err_msg=name)


def skorch_net(module, **params):
    return NeuralNetClassifier(
        module,
        criterion=nn.CrossEntropyLoss,
        **{"max_epochs": 2, "lr": 0.1, "batch_size": 16, "train_split": None, "verbose": 0}
        | params,
    )


class Images(nn.Module):
    """A linear map of images (1, 8, 8)."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(64, 3)

    def forward(self, X):
        assert X.shape[1:] == (1, 8, 8)
        return self.linear(X.flatten(1))


ESTIMATORS = {
    "module": (lambda: mlp(64, dtype=torch.float32), {}),
    "module float64": (lambda: mlp(64), {}),
    "none": (lambda: None, {}),
    "net": (lambda: skorch_net(Flat), {}),
    "net of images": (lambda: skorch_net(Images), {"input_shape": (1, 8, 8)}),
    "net with a split": (lambda: skorch_net(Flat, train_split=ValidSplit(5)), {}),
    "net rewound": (lambda: skorch_net(Flat), {"solver": "rewind"}),
}


class Flat(nn.Module):
    """A linear map of flat rows."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(64, 3)

    def forward(self, X):
        return self.linear(X)


@pytest.mark.filterwarnings("ignore:The net's train_split:UserWarning")
@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("module", np.float64), ("none", np.float64), *((kind, np.float32) for kind in ESTIMATORS)],
)
def test_a_read_only_file_gives_the_bits_of_the_array(
    digits, kind, dtype, tmp_path, everything_is_large, monkeypatch
):
    X, y = digits[0].astype(dtype), digits[1]
    make, params = ESTIMATORS[kind]
    large = mapped(X, tmp_path)
    in_place = SynsetAttributor(make(), **FAST | params).fit(large, y)
    actual = answers(in_place, large, y, large[:7], y[:7])
    monkeypatch.undo()
    copied = SynsetAttributor(make(), **FAST | params).fit(X, y)
    assert_same(actual, answers(copied, X, y, X[:7], y[:7]))


@pytest.mark.parametrize("n_rows_at_once", [7, 40])
def test_the_rows_held_at_once_hardly_change_the_results(digits, n_rows_at_once, monkeypatch):
    (X, y), make = digits, ESTIMATORS["module float64"][0]
    X = X.astype(np.float64)
    groups = np.arange(len(X)) % 3  # some of more rows than are held at once
    expected = SynsetAttributor(make(), **FAST).fit(X, y, groups)
    monkeypatch.setattr(row_source, "_ROWS_AT_ONCE", n_rows_at_once)
    actual = SynsetAttributor(make(), batch_size=n_rows_at_once, **FAST).fit(X, y, groups)
    np.testing.assert_allclose(actual.transform(X), expected.transform(X), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(actual.score_samples(X), expected.score_samples(X), rtol=1e-6)
    np.testing.assert_array_equal(actual._representatives, expected._representatives)


DATASETS = {
    "tensors": lambda X, y: TensorDataset(torch.tensor(X), torch.tensor(y)),
    "skorch": SkorchDataset,
}


@pytest.mark.parametrize(
    ("kind", "estimator"), [("tensors", "net"), ("tensors", "module"), ("skorch", "net")]
)
def test_a_dataset_gives_the_bits_of_its_arrays(digits, kind, estimator):
    (X, y), make, dataset = digits, ESTIMATORS[estimator][0], DATASETS[kind]
    of_dataset = SynsetAttributor(make(), **FAST).fit(dataset(X, y))
    of_arrays = SynsetAttributor(make(), **FAST).fit(X, y)
    expected = answers(of_arrays, X, y, X[:7], y[:7])
    assert_same(answers(of_dataset, dataset(X, y), None, dataset(X[:7], y[:7]), None), expected)
    rows = SliceDataset(dataset(X, y))
    labels = SliceDataset(dataset(X, y), idx=1)
    of_slices = SynsetAttributor(make(), **FAST).fit(rows, labels)
    assert_same(answers(of_slices, rows, labels, rows[:7], labels[:7]), expected)


def test_labels_that_are_given_come_before_those_in_a_dataset(digits):
    X, y = digits
    attributor = SynsetAttributor(ESTIMATORS["module"][0](), **FAST)
    other = (y + 1) % 3
    of_given = attributor.fit(TensorDataset(torch.tensor(X), torch.tensor(y)), other)
    scores = of_given.attribute(TensorDataset(torch.tensor(X), torch.tensor(y)), other)
    np.testing.assert_array_equal(scores, attributor.fit(X, other).attribute(X, other))


def test_a_dataset_without_labels_is_refused_by_fit(digits):
    with pytest.raises(ValueError, match="requires y to be passed"):
        SynsetAttributor(mlp(64)).fit(SkorchDataset(digits[0]))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        SynsetAttributor(mlp(64)).fit(SkorchDataset(*digits), digits[1][:-1])


def test_the_file_of_a_dataset_lasts_as_long_as_the_rows_are_kept(
    digits, temporary_folder, everything_is_large
):
    dataset = SkorchDataset(*digits)
    attributor = SynsetAttributor(ESTIMATORS["module"][0](), **FAST).fit(dataset)
    gc.collect()
    assert len(glob.glob(f"{temporary_folder}/*.rows")) == 1
    samples = attributor.attribute(dataset, level="samples")
    again = pickle.loads(pickle.dumps(attributor))
    attributor.drop_training_rows()
    gc.collect()
    assert not glob.glob(f"{temporary_folder}/*.rows")
    np.testing.assert_array_equal(again.attribute(dataset, level="samples"), samples)


def test_rows_of_a_file_are_saved_with_the_attributor(digits, tmp_path, everything_is_large):
    X, y = digits
    module = ESTIMATORS["module"][0]()
    attributor = SynsetAttributor(module, **FAST).fit(mapped(X, tmp_path), y)
    attributor.save(tmp_path / "attributor")
    (tmp_path / "X.npy").unlink()
    again = SynsetAttributor.load(tmp_path / "attributor", module)
    expected = attributor.attribute(X[:5], y[:5], level="samples")
    np.testing.assert_array_equal(again.attribute(X[:5], y[:5], level="samples"), expected)


# Memory

_RUN = """
import sys, warnings
import numpy as np, torch
from torch import nn
from torch.utils.data import Dataset
from skorch import NeuralNetClassifier
from sklearn_synset import SynsetAttributor

warnings.simplefilter("ignore")
torch.set_num_threads(1)

class Module(nn.Module):
    def __init__(self, n_features):
        super().__init__()
        self.linear = nn.Linear(n_features, 4)
    def forward(self, X):
        return self.linear(X)

class Rows(Dataset):
    def __init__(self, X, y):
        self.X, self.y = X, y
    def __len__(self):
        return len(self.X)
    def __getitem__(self, i):
        return torch.tensor(self.X[i]), int(self.y[i])

def network(n_features):
    if not is_net:
        torch.manual_seed(0)
        return Module(n_features)
    return NeuralNetClassifier(
        Module, module__n_features=n_features, criterion=nn.CrossEntropyLoss, max_epochs=1,
        batch_size=512, train_split=None, verbose=0)

def run(X, y):
    settings = dict(n_groups=8, max_iter=4, n_steps=4, n_probes=2, random_state=0)
    given = (Rows(X, y),) if is_dataset else (X, y)
    attributor = SynsetAttributor(network(X.shape[1]), **settings).fit(*given)
    attributor.transform(X[:1000])
    attributor.score_samples(*given)
    attributor.most_influential_rows(X[:1], y[:1])

path, is_net, is_dataset = sys.argv[1], "net" in sys.argv, "dataset" in sys.argv
X = np.load(path, mmap_mode="r")
y = np.arange(len(X)) % 4
run(X[:60], y[:60])
print("ready", flush=True)
sys.stdin.readline()
run(X, y)
"""
MIB = 2**20
FILE_BYTES = 192 * MIB
N_FEATURES = 512


def write_file(path, dtype):
    """Write 192 MiB of random rows, a few of them at a time."""
    dtype = np.dtype(dtype)
    shape = (FILE_BYTES // dtype.itemsize // N_FEATURES, N_FEATURES)
    X = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    rng = np.random.default_rng(0)
    for rows in np.array_split(np.arange(len(X)), 100):
        X[rows] = rng.standard_normal((len(rows), N_FEATURES), dtype=np.float32)
    X.flush()


def private_bytes(process):
    """Return the bytes in memory that no file backs; 0 when the process is gone."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    found = re.search(r"RssAnon:\s+(\d+)", status)
    return 1024 * int(found.group(1)) if found else 0


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(
    ("how", "dtype"), [("module", "float64"), ("net", "float32"), ("dataset", "float32")]
)
def test_a_file_larger_than_the_memory_that_is_allowed(how, dtype, tmp_path):
    path = tmp_path / "X.npy"
    write_file(path, dtype)
    with subprocess.Popen(
        [sys.executable, "-c", _RUN, str(path), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # What is held is to be measured, not what glibc keeps back between small blocks.
        env=os.environ | {"MALLOC_MMAP_THRESHOLD_": str(2**18)},
    ) as process:
        assert process.stdout.readline() == "ready\n"
        before = peak = private_bytes(process)
        process.stdin.write("go\n")
        process.stdin.flush()
        while process.poll() is None:
            peak = max(peak, private_bytes(process))
            time.sleep(0.001)
    assert process.returncode == 0
    grown = (peak - before) / MIB
    print(f"grown by {grown:.0f} MiB")
    assert grown < 0.6 * FILE_BYTES / MIB
