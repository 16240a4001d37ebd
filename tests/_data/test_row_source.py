"""Rows that are read where they are."""

import pickle

import joblib
import numpy as np
import pytest
import torch

from sklearn_synset._data.row_source import RowSource, SelectedRows, few_rows, row_slices

CPU = torch.device("cpu")


@pytest.fixture(params=["array", "read-only", "strided", "float64", "memmap"])
def rows(request, tmp_path):
    X = np.random.RandomState(0).normal(size=(11, 2, 3)).astype(np.float32)
    if request.param == "read-only":
        X.flags.writeable = False
    if request.param == "strided":
        X = np.repeat(X, 2, axis=0)[::2]
    if request.param == "float64":
        X = X.astype(np.float64)
    if request.param == "memmap":
        np.save(tmp_path / "X.npy", X)
        X = np.load(tmp_path / "X.npy", mmap_mode="r")
    return X


def test_a_source_is_indexed_as_a_tensor(rows):
    source = RowSource(rows, torch.float32, CPU)
    expected = torch.tensor(np.array(rows), dtype=torch.float32)
    for index in (slice(2, 5), slice(None), slice(9, 20), torch.tensor([3, 3, 0]), slice(4, 4)):
        assert torch.equal(source[index], expected[index])
    parts = list(source.split(4))
    assert [len(part) for part in parts] == [4, 4, 3]
    assert torch.equal(torch.cat(parts), expected)
    assert (len(source), source.shape) == (11, (11, 2, 3))


def test_what_is_read_is_new_memory(rows):
    source = RowSource(rows, torch.float32, CPU)
    before = rows.copy()
    for index in (slice(None), torch.arange(11)):
        batch = source[index]
        batch.zero_()
        # Rounding may depend on where vector instructions start.
        assert batch.data_ptr() % 64 == 0
    np.testing.assert_array_equal(rows, before)


def test_a_source_does_not_copy_and_pickles_its_rows_in_the_dtype_of_the_network(rows):
    source = RowSource(rows, torch.float32, CPU)
    assert np.shares_memory(source._array, rows)
    again = pickle.loads(pickle.dumps(source))
    assert again._array.dtype == np.float32 and type(again._array) is np.ndarray
    assert torch.equal(again[:], source[:])


@pytest.mark.slow
@pytest.mark.slow
def test_joblib_hands_memory_mapped_rows_on_as_the_file(tmp_path):
    np.save(tmp_path / "X.npy", np.arange(600.0).reshape(200, 3))
    X = np.load(tmp_path / "X.npy", mmap_mode="r")
    source = RowSource(X, torch.float64, CPU)
    found = joblib.Parallel(n_jobs=2)([joblib.delayed(_mapped_file)(source) for _ in range(2)])
    assert found == [str(tmp_path / "X.npy")] * 2


def _mapped_file(source):
    array = source._array
    while not isinstance(array, np.memmap):
        array = array.base
    return array.filename and str(array.filename)


def test_rows_to_keep_are_copied_if_they_are_few(rows):
    kept = RowSource.to_keep(rows, torch.float32, CPU)
    assert not np.shares_memory(kept._array, rows) and kept._array.dtype == np.float32


def test_selected_rows_are_those_of_the_tensor():
    X = torch.randn(9, 2, generator=torch.Generator().manual_seed(0))
    chosen = torch.tensor([5, 1, 1, 8, 0])
    selected = SelectedRows(X, chosen)
    assert torch.equal(selected[:], X[chosen]) and selected.shape == (5, 2)
    assert torch.equal(selected[torch.tensor([3, 0])], X[[8, 5]])
    assert [len(part) for part in selected.split(2)] == [2, 2, 1]
    assert isinstance(few_rows(X, chosen), torch.Tensor)
    assert isinstance(few_rows(X, chosen.repeat(1000)), SelectedRows)


@pytest.mark.parametrize(("n_rows", "size"), [(0, 3), (3, 3), (7, 3), (2, 5)])
def test_slices_cover_each_row_once(n_rows, size):
    covered = [i for rows in row_slices(n_rows, size) for i in range(n_rows)[rows]]
    assert covered == list(range(n_rows))
