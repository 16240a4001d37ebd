"""Training rows as a skorch net takes them, without a copy of all of them where that can be."""

import numpy as np
import torch
from skorch import NeuralNet
from skorch.dataset import Dataset

from sklearn_synset._data.row_source import row_dtype
from sklearn_synset._network.checks import reshape_rows
from sklearn_synset._runtime.torch_interop import as_array, as_tensor
from sklearn_synset._wrapping.default_network import WholeBatches

_COPIED_BYTES = 2**26


class RowsOnDemand:
    """Rows of an array that are converted, and given their shape, on demand.

    Parameters
    ----------
    array : ndarray of shape (n, d...)
        The rows; they may be read-only.
    row_shape : tuple of int
        Shape to give to a row.
    dtype : numpy.dtype
        What to convert to.
    """

    def __init__(self, array: np.ndarray, row_shape: tuple[int, ...], dtype: np.dtype) -> None:
        self._array, self._row_shape, self._dtype = array, row_shape, dtype

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._array)

    def __getitem__(self, rows: int | slice | np.ndarray) -> np.ndarray:
        """Return a copy of one row, or of several."""
        found = np.array(self._array[rows], dtype=self._dtype)
        is_one = found.ndim < self._array.ndim
        return found.reshape(self._row_shape if is_one else (-1, *self._row_shape))


def rows_for_net(
    net: NeuralNet, X: np.ndarray, input_shape: tuple[int, ...] | None, dtype: torch.dtype
) -> np.ndarray | RowsOnDemand:
    r"""Convert training rows to what a net is fitted on.

    Parameters
    ----------
    net : NeuralNet
        Says how it reads rows, by its `dataset`.
    X : ndarray of shape (n, d...)
        Rows.
    input_shape : tuple of int or None
        Shape that flat rows are given.
    dtype : torch.dtype
        Of the module.

    Returns
    -------
    rows : array of shape (n, d...) or (n, \*input_shape)
        Up to 64 MiB, and for a net with a dataset of its own, they are copied. Others stay where
        they are, and are converted row by row if they have to be.
    """
    # Indexing by several rows at once copies, so that these may be read-only.
    takes_batches = net.dataset is WholeBatches
    if X.nbytes > _COPIED_BYTES and (takes_batches or net.dataset is Dataset):
        wanted = torch.empty(0, dtype=row_dtype(X, dtype)).numpy().dtype
        row_shape = tuple(input_shape) if input_shape is not None and X.ndim == 2 else X.shape[1:]
        is_in_place = row_shape == X.shape[1:] or X.flags.c_contiguous
        if X.dtype == wanted and is_in_place and (X.flags.writeable or takes_batches):
            return reshape_rows(X, input_shape)
        if not takes_batches:
            return RowsOnDemand(X, row_shape, wanted)
    return as_array(as_tensor(reshape_rows(X, input_shape), dtype=row_dtype(X, dtype)))
