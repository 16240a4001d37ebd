"""Rows that stay where they are, and are read and converted a batch at a time."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

_ROWS_AT_ONCE, _VALUES_AT_ONCE = 4096, 2**22
_BYTES_ON_DEVICE = 2**30
_COPIED_BYTES = 2**26


class RowSource:
    """Rows of an array as tensors of a network's dtype, on its device.

    Parameters
    ----------
    array : ndarray of shape (n, d...)
        The rows, in memory or in a memory-mapped file; neither copied nor changed.
    dtype : torch.dtype
        What rows are converted to when they are read.
    device : torch.device
        Where they are put. On another device than the CPU, up to a gigabyte stays there.

    Notes
    -----
    Indexing and `split` are as of a tensor, but what they return is always new memory: the array
    may be read-only, and rounding may depend on where in memory a batch starts.
    """

    def __init__(self, array: np.ndarray, dtype: torch.dtype, device: torch.device) -> None:
        self._array, self.dtype, self.device = np.asarray(array), dtype, device
        self._on_device: torch.Tensor | None = None
        itemsize = torch.empty((), dtype=dtype).element_size()
        if device.type != "cpu" and self._array.size * itemsize <= _BYTES_ON_DEVICE:
            parts = [self[rows] for rows in row_slices(len(self), at_once(self))]
            self._on_device = torch.cat(parts)

    def __len__(self) -> int:
        """Return n, the number of rows."""
        return len(self._array)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (n, d...) of all rows."""
        return self._array.shape

    def __getitem__(self, rows: slice | torch.Tensor) -> torch.Tensor:
        """Read some rows.

        Parameters
        ----------
        rows : slice or Tensor of shape (b,), dtype long
            Which.

        Returns
        -------
        batch : Tensor of shape (b, d...)
            In the order asked for.
        """
        if self._on_device is not None:
            found = self._on_device[rows]
            return found.clone() if isinstance(rows, slice) else found
        n_rows = len(range(len(self))[rows]) if isinstance(rows, slice) else len(rows)
        batch = torch.empty((n_rows, *self.shape[1:]), dtype=self.dtype)
        if isinstance(rows, slice):
            self._convert(rows, batch)
        elif self._array.dtype == batch.numpy().dtype:
            # "clip" writes without a detour; there are no rows to clip.
            np.take(self._array, rows.cpu().numpy(), axis=0, out=batch.numpy(), mode="clip")
        else:
            self._convert(rows.cpu().numpy(), batch)
        return batch.to(self.device)

    def _convert(self, rows: slice | np.ndarray, batch: torch.Tensor) -> None:
        # What is too large for the dtype becomes infinite, and is refused by what it leads to.
        with np.errstate(over="ignore"):
            np.copyto(batch.numpy(), self._array[rows], casting="same_kind")

    def split(self, size: int) -> Iterator[torch.Tensor]:
        """Read all rows in order, at most `size` at a time."""
        return (self[rows] for rows in row_slices(len(self), size))

    def __reduce__(self) -> tuple:
        return RowSource, (self.converted(), self.dtype, self.device)

    @classmethod
    def to_keep(cls, array: np.ndarray, dtype: torch.dtype, device: torch.device) -> "RowSource":
        """Return rows to be kept for long: up to 64 MiB are copied, more stay where they are."""
        is_small = array.nbytes <= _COPIED_BYTES
        with np.errstate(over="ignore"):
            return cls(array.astype(_numpy_dtype(dtype)) if is_small else array, dtype, device)

    @classmethod
    def to_read(cls, array: np.ndarray, dtype: torch.dtype, device: torch.device) -> "RowSource":
        """Return rows as a network of some dtype takes them: integers stay integers."""
        return cls(array, row_dtype(array, dtype), device)

    def converted(self) -> np.ndarray:
        """Return all rows as an array of the dtype; the array itself if it is of that."""
        return self._array.astype(_numpy_dtype(self.dtype), copy=False)


@dataclass(frozen=True, eq=False)
class SelectedRows:
    """Some rows of others, read on demand.

    Parameters
    ----------
    X : Tensor, RowSource or SelectedRows of shape (n, d...)
        All rows.
    chosen : Tensor of shape (b,), dtype long
        Which of them.
    """

    X: "Rows"
    chosen: torch.Tensor

    def __len__(self) -> int:
        """Return b, the number of rows."""
        return len(self.chosen)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (b, d...) of these rows."""
        return (len(self), *self.X.shape[1:])

    @property
    def device(self) -> torch.device:
        """Where they are put."""
        return self.X.device

    def __getitem__(self, rows: slice | torch.Tensor) -> torch.Tensor:
        """Read some of them."""
        return self.X[self.chosen[rows]]

    def split(self, size: int) -> Iterator[torch.Tensor]:
        """Read all of them in order, at most `size` at a time."""
        return (self[rows] for rows in row_slices(len(self), size))


Rows = torch.Tensor | RowSource | SelectedRows


def at_once(X: "Rows | np.ndarray") -> int:
    """Return how many rows (n, d...) to hold where no batch size is given.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_synset._data.row_source import at_once
    >>> at_once(np.zeros((5, 784))), at_once(np.zeros((5, 3, 64, 64)))
    (4096, 341)
    """
    return max(1, min(_ROWS_AT_ONCE, _VALUES_AT_ONCE // max(1, math.prod(X.shape[1:]))))


def in_batches(evaluate: Callable[[slice], torch.Tensor], n_rows: int, size: int) -> torch.Tensor:
    """Evaluate n rows a few at a time, and put the results (n, ...) together.

    Parameters
    ----------
    evaluate : callable
        Maps a slice of the rows to a result with as many lines.
    n_rows : int
        How many there are, n.
    size : int
        Most rows at once.

    Returns
    -------
    results : Tensor of shape (n, ...)
        In memory that is taken first. Small results between large batches would keep the memory
        of these from being used again.
    """
    first, *others = row_slices(n_rows, size)
    found = evaluate(first)
    if not others:
        return found
    results = found.new_empty((n_rows, *found.shape[1:]))
    results[first] = found
    for rows in others:
        results[rows] = evaluate(rows)
    return results


def few_rows(X: Rows, chosen: torch.Tensor) -> torch.Tensor | SelectedRows:
    """Return some rows at once if they are few, else such that they are read when asked for."""
    return X[chosen] if len(chosen) <= at_once(X) else SelectedRows(X, chosen)


def row_slices(n_rows: int, size: int) -> Iterator[slice]:
    """Cut n rows into slices of at most `size` rows.

    Examples
    --------
    >>> from sklearn_synset._data.row_source import row_slices
    >>> list(row_slices(5, 3))
    [slice(0, 3, None), slice(3, 5, None)]
    """
    for start in range(0, n_rows, size):
        yield slice(start, min(start + size, n_rows))


def row_dtype(rows: np.ndarray, dtype: torch.dtype) -> torch.dtype:
    """Return what rows are converted to: integers stay such, others take a network's dtype."""
    return torch.int64 if rows.dtype.kind in "iu" else dtype


def _numpy_dtype(dtype: torch.dtype) -> np.dtype:
    return torch.empty(0, dtype=dtype).numpy().dtype
