"""Rows and labels of torch datasets, held in a file instead of in memory."""

import contextlib
import os
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from skorch.dataset import Dataset as SkorchDataset
from skorch.helper import SliceDataset
from torch.utils.data import DataLoader, Dataset

_ITEMS_AT_ONCE = 256
_KINDS = (np.float32, np.float64)
_EXPECTED = "A dataset's items must be rows, or pairs (row, label), of arrays or tensors"


def rows_of(X: object, y: object) -> tuple[object, object]:
    """Turn a dataset into an array of its rows, and one of its labels.

    Parameters
    ----------
    X : array-like, Dataset or SliceDataset
        Items of a dataset are rows, or pairs of a row and its label or value.
    y : array-like, SliceDataset or None
        Labels or values, which come before those in the dataset.

    Returns
    -------
    X : object
        Of a dataset, the rows (n, d...) in a memory-mapped temporary file; else what was given.
    y : object
        Of a dataset without `y`, the labels or values in it, None if there are none; else what was
        given.

    Raises
    ------
    TypeError
        If items are something else, or cannot be put together to a batch.
    ValueError
        If rows are of different shapes, or there is none.

    Notes
    -----
    The dataset is read once, in its order and a few items at a time, so that random changes of its
    rows are drawn once. The file is in Python's folder for temporary files (`TMPDIR`), as large as
    the rows, and removed as soon as nothing uses the rows any more.
    """
    _refuse_other_containers(X)
    X = _plain_tensor(X)
    if isinstance(y, SliceDataset):
        y = _labels_of(y)
    if not isinstance(X, (Dataset, SliceDataset)):
        return X, y
    rows, labels = _read(X)
    # A skorch dataset without labels gives each row the same one.
    has_labels = not (isinstance(X, SkorchDataset) and X.y is None)
    return rows, labels if y is None and has_labels else y


def _refuse_other_containers(X: object) -> None:
    """Raise a TypeError for inputs that are known from torch and skorch, and say what to pass."""
    if isinstance(X, DataLoader):
        raise TypeError("X is a DataLoader; pass its dataset, loader.dataset.")
    if isinstance(X, Mapping):
        names = ", ".join(repr(name) for name in X)
        raise TypeError(
            f"X is a {type(X).__name__} of several inputs ({names}), but rows of one array are "
            "expected. Put the inputs side by side, as columns of one array, and wrap the module "
            "in one that cuts its rows into them."
        )


def _plain_tensor(X: object) -> object:
    """Return a tensor such that numpy can read it, without its gradient; other rows as they are."""
    if not isinstance(X, torch.Tensor):
        return X
    is_half = X.dtype in (torch.float16, torch.bfloat16)
    return X.detach().cpu().to(torch.float32 if is_half else X.dtype).resolve_conj()


def _labels_of(y: SliceDataset) -> np.ndarray:
    """Return the labels of a sliced dataset."""
    parts = [_array(batch, "label") for batch in _batches(y)]
    return np.concatenate(parts) if parts else np.empty(0)


def _read(dataset: Dataset | SliceDataset) -> tuple[np.ndarray, np.ndarray | None]:
    """Write the rows of a dataset to a temporary file; return them, and the labels if any."""
    is_single = isinstance(dataset, SliceDataset)
    handle, name = tempfile.mkstemp(prefix="sklearn-synset-", suffix=".rows")
    path, labels, first = Path(name), [], None
    try:
        with open(handle, "wb") as file:
            n_rows = 0
            for batch in _batches(dataset):
                rows, own_labels = (batch, None) if is_single else _pair(batch)
                array = _of_known_kind(_array(rows, "row"))
                first = array[:1] if first is None else first
                if array.shape[1:] != first.shape[1:] or array.dtype != first.dtype:
                    raise ValueError(
                        f"The dataset's rows differ: some are {first.dtype} of shape "
                        f"{first.shape[1:]}, others {array.dtype} of shape {array.shape[1:]}."
                    )
                file.write(np.ascontiguousarray(array).data)
                n_rows += len(array)
                if own_labels is not None:
                    labels.append(_array(own_labels, "label"))
        if first is None:
            raise ValueError("Found a dataset with 0 items while a minimum of 1 is required.")
        shape = (n_rows, *first.shape[1:])
        rows = np.memmap(path, dtype=first.dtype, mode="r+", shape=shape)
    except BaseException:
        path.unlink()
        raise
    # The mapping outlives this array for as long as there are views of it.
    weakref.finalize(rows._mmap, _remove, path, os.getpid())  # type: ignore[attr-defined]
    return rows, np.concatenate(labels) if labels else None


def _remove(path: Path, owner: int) -> None:
    """Remove a file, but not from a forked process."""
    if os.getpid() == owner:
        # Where a mapped file cannot be removed, the system's clearing of the folder has to do.
        with contextlib.suppress(OSError):
            path.unlink()


def _batches(dataset: Dataset | SliceDataset) -> DataLoader:
    # A generator of its own keeps the loader from drawing a seed from torch's.
    return DataLoader(dataset, _ITEMS_AT_ONCE, collate_fn=_collated, generator=torch.Generator())


def _collated(items: list) -> object:
    try:
        return torch.utils.data.default_collate(items)
    except RuntimeError as error:
        raise ValueError(f"The dataset's rows are not of one shape: {error}") from error
    except TypeError as error:
        raise TypeError(f"{_EXPECTED}; torch says: {error}") from error


def _pair(batch: object) -> tuple[object, object]:
    """Return rows and labels of a batch."""
    if isinstance(batch, torch.Tensor):
        return batch, None
    if isinstance(batch, (list, tuple)) and len(batch) in (1, 2):
        return batch[0], batch[1] if len(batch) == 2 else None
    kind = f"{len(batch)} parts" if isinstance(batch, (list, tuple)) else type(batch).__name__
    raise TypeError(f"{_EXPECTED}; got items of {kind}.")


def _array(batch: object, what: str) -> np.ndarray:
    """Return a collated batch as an array."""
    if isinstance(batch, torch.Tensor):
        return batch.detach().cpu().numpy()
    if what == "label" and isinstance(batch, (list, tuple)):
        return np.asarray(batch)  # strings
    raise TypeError(
        f"A dataset's {what}s must be arrays, tensors or numbers; got {type(batch).__name__}."
    )


def _of_known_kind(rows: np.ndarray) -> np.ndarray:
    """Return rows in the dtype that `fit` would convert an array of them to."""
    return rows if rows.dtype in _KINDS else rows.astype(np.float64)
