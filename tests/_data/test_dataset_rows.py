"""Datasets in the place of arrays."""

import gc
import glob

import numpy as np
import pytest
import torch
from skorch.dataset import Dataset as SkorchDataset
from skorch.helper import SliceDataset
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

from sklearn_synset._data.dataset_rows import rows_of

X = np.random.RandomState(0).normal(size=(600, 2, 3)).astype(np.float32)
Y = np.arange(600) % 4


@pytest.fixture(autouse=True)
def own_folder(temporary_folder):
    return temporary_folder


class Items(Dataset):
    """A dataset of anything, item by item."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


class Stream(IterableDataset):
    def __iter__(self):
        return iter(zip(X, Y, strict=True))


PAIRS = {
    "tensors": TensorDataset(torch.tensor(X), torch.tensor(Y)),
    "skorch": SkorchDataset(X, Y),
    "items": Items(list(zip(X, Y.tolist(), strict=True))),
    "subset": Subset(TensorDataset(torch.tensor(X), torch.tensor(Y)), range(600)),
    "stream": Stream(),
}


@pytest.mark.parametrize("kind", PAIRS)
def test_pairs_give_rows_and_labels(kind):
    rows, labels = rows_of(PAIRS[kind], None)
    assert isinstance(rows, np.memmap) and rows.dtype == np.float32
    np.testing.assert_array_equal(rows, X)
    np.testing.assert_array_equal(labels, Y)
    assert labels.dtype == Y.dtype


@pytest.mark.parametrize("kind", PAIRS)
def test_labels_that_are_given_come_before_those_in_the_dataset(kind):
    given = Y + 1
    assert rows_of(PAIRS[kind], given)[1] is given


@pytest.mark.parametrize(
    "dataset", [SliceDataset(PAIRS["tensors"]), Items(list(X)), SkorchDataset(X)]
)
def test_rows_alone_have_no_labels(dataset):
    rows, labels = rows_of(dataset, None)
    np.testing.assert_array_equal(rows, X)
    assert labels is None


def test_sliced_labels_are_labels():
    pairs = PAIRS["tensors"]
    indices = np.array([3, 1, 599])
    rows, labels = rows_of(SliceDataset(pairs)[indices], SliceDataset(pairs, idx=1)[indices])
    np.testing.assert_array_equal(rows, X[indices])
    np.testing.assert_array_equal(labels, Y[indices])


def test_strings_are_labels():
    words = np.array(["a", "b", "c", "d"])[Y]
    items = Items(list(zip(X, words.tolist(), strict=True)))
    np.testing.assert_array_equal(rows_of(items, None)[1], words)


@pytest.mark.parametrize(
    ("dtype", "expected"), [("f2", "f8"), ("u1", "f8"), ("f4", "f4"), ("f8", "f8")]
)
def test_dtypes_are_those_that_arrays_are_converted_to(dtype, expected):
    values = (10 * X).astype(np.int8).astype(dtype)
    rows = rows_of(Items(list(values)), None)[0]
    assert rows.dtype == expected
    np.testing.assert_array_equal(rows, values)


def test_arrays_stay_as_they_are():
    assert all(found is given for found, given in zip(rows_of(X, Y), (X, Y), strict=True))
    assert rows_of("anything", None) == ("anything", None)


def test_the_file_goes_when_nothing_uses_the_rows(own_folder):
    rows = rows_of(PAIRS["tensors"], None)[0]
    part = np.asarray(rows)[5:7]
    assert len(glob.glob(f"{own_folder}/*")) == 1
    del rows
    gc.collect()
    np.testing.assert_array_equal(part, X[5:7])
    assert len(glob.glob(f"{own_folder}/*")) == 1
    del part
    gc.collect()
    assert not glob.glob(f"{own_folder}/*")


def test_reading_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    rows_of(PAIRS["tensors"], None)
    assert torch.equal(torch.get_rng_state(), before)


def wrong(items):
    return [pytest.param(Items(value), error, match, id=match) for value, error, match in items]


@pytest.mark.parametrize(
    ("dataset", "error", "match"),
    wrong(
        [
            ([], ValueError, "0 items"),
            ([(X[0], 1, 2)], TypeError, "3 parts"),
            ([{"x": X[0]}], TypeError, "items of dict"),
            (["word"], TypeError, "rows must be arrays, tensors or numbers; got str"),
            ([(X[0], object())], TypeError, "torch says"),
            ([X[0], X[0, :1]], ValueError, "not of one shape"),
            ([X[0]] * 256 + [X[0, :1]], ValueError, "rows differ"),
        ]
    ),
)
def test_other_items_are_refused_and_leave_no_file(own_folder, dataset, error, match):
    with pytest.raises(error, match=match):
        rows_of(dataset, None)
    assert not glob.glob(f"{own_folder}/*")


def test_an_error_of_the_dataset_comes_through(own_folder):
    class Broken(Items):
        def __getitem__(self, i):
            raise OSError("no such picture")

    with pytest.raises(OSError, match="no such picture"):
        rows_of(Broken([0]), None)
    assert not glob.glob(f"{own_folder}/*")
