"""Train a skorch net without some rows, and everything else as with them."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import skorch.dataset
from sklearn.base import clone
from skorch import NeuralNet
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import BatchSampler, DataLoader, Dataset, Subset

from sklearn_synset._runtime.torch_interop import keep_global_state
from sklearn_synset._wrapping.rows_for_net import RowsOnDemand

OF_BATCHES = ("batch_size", "shuffle", "sampler", "drop_last")


class KeptBatches:
    """Batches of row indices from which some rows are taken out.

    Parameters
    ----------
    batches : BatchSampler
        The batches of all rows.
    kept : ndarray of shape (n,), dtype bool
        Rows to keep.
    smallest : int
        Fewest rows of a batch that rows were taken from; smaller ones are skipped.
    """

    def __init__(self, batches: BatchSampler, kept: np.ndarray, smallest: int) -> None:
        self.batches, self.kept, self.smallest = batches, kept, smallest

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the kept rows of every batch, in the order of the batch."""
        for batch in self.batches:
            rows = [row for row in batch if self.kept[row]]
            if rows and (len(rows) >= self.smallest or len(rows) == len(batch)):
                yield rows

    def __len__(self) -> int:
        """Most batches that are yielded."""
        return len(self.batches)


class KeptSplit:
    """A split into training and validation rows, without some of the latter.

    Parameters
    ----------
    split : callable
        A net's `train_split`.
    kept : ndarray of shape (n,), dtype bool
        Rows to keep.
    """

    def __init__(self, split: Callable, kept: np.ndarray) -> None:
        self.split, self.kept = split, kept

    def __call__(self, dataset: Dataset, *args: Any, **params: Any) -> tuple:
        """Split all rows, and keep those validation rows that are kept, or no training rows."""
        train, valid = self.split(dataset, *args, **params)
        if isinstance(valid, Subset) and valid.dataset is dataset:
            valid = Subset(dataset, [row for row in valid.indices if self.kept[row]])
        return train, valid


def clone_without(
    net: NeuralNet, X: np.ndarray | RowsOnDemand, y: np.ndarray, kept: np.ndarray
) -> tuple[NeuralNet, np.ndarray | RowsOnDemand, np.ndarray]:
    """Clone a net so that fitting it leaves some rows out.

    Parameters
    ----------
    net : NeuralNet
        Initialised; left as it is.
    X : ndarray or RowsOnDemand of shape (n, d...)
        All rows.
    y : ndarray of shape (n, ...)
        Their targets.
    kept : ndarray of shape (n,), dtype bool
        Rows to train on.

    Notes
    -----
    From the same seed the rows come in the same order and in the same batches, and those that
    `train_split` holds back are the same, less those that are left out: two networks then differ by
    those rows alone. A net with its own way of making batches, or whose `train_split` does not
    return subsets of the rows, is given the kept rows only.
    """
    plain = net.get_params(deep=False)
    draws_batches = "iterator_train__batch_sampler" in plain or plain["batch_size"] is None
    if net.iterator_train is not DataLoader or draws_batches or not _splits_by_index(net, y):
        return clone(net), X[kept], y[kept]
    # Normalisation by the batch fails on a single row.
    by_batch = any(isinstance(part, _BatchNorm) for part in net.module_.modules())
    loader = partial(_loader_of_kept_rows, kept=kept, smallest=2 if by_batch else 1)
    cloned = clone(net).set_params(iterator_train=loader)
    if net.train_split:
        cloned.set_params(train_split=KeptSplit(net.train_split, kept))
    return cloned, X, y


def _splits_by_index(net: NeuralNet, y: np.ndarray) -> bool:
    """Tell whether a net trains on all rows, or on a subset of them that names their indices."""
    if not net.train_split:
        return True
    dataset = skorch.dataset.Dataset(np.arange(len(y)), y)
    with keep_global_state():
        train = net.train_split(dataset, y=y)[0]
    return train is dataset or (isinstance(train, Subset) and train.dataset is dataset)


def _loader_of_kept_rows(
    dataset: Dataset, *, kept: np.ndarray, smallest: int, **params: object
) -> DataLoader:
    """Return the loader that skorch would make, over the kept rows."""
    everything: DataLoader = DataLoader(dataset, **params)  # type: ignore[arg-type]
    others = {name: value for name, value in params.items() if name not in OF_BATCHES}
    own = kept[np.asarray(dataset.indices)] if isinstance(dataset, Subset) else kept
    batches = KeptBatches(everything.batch_sampler, own, smallest)  # type: ignore[arg-type]
    return DataLoader(dataset, batch_sampler=batches, **others)  # type: ignore[arg-type]
