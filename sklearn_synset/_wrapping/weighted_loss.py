"""Train a skorch net with a weight for each row's loss."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet, NeuralNetClassifier
from skorch.utils import to_tensor
from torch.utils.data import DataLoader, Dataset, Subset

from sklearn_synset._network.row_loss import RowLoss, row_loss_of
from sklearn_synset._wrapping.kept_rows import OF_BATCHES


@dataclass(frozen=True, eq=False)
class WeightedLoss:
    r"""Weights of training rows, and how they enter the loss of a net.

    Parameters
    ----------
    weight : ndarray of shape (n,)
        Weight of each row, with mean 1.
    row_loss : RowLoss
        Loss of single rows under the net's criterion.

    Notes
    -----
    A minibatch B has the loss :math:`\sum_{i \in B} s_i \ell_i / \sum_{i \in B} s_i c_i` with
    weights :math:`s_i` and class weights :math:`c_i` (1 without), or the numerator alone for a
    criterion that adds up. Validation rows count equally.
    """

    weight: np.ndarray
    row_loss: RowLoss

    @contextmanager
    def applied_to(self, net: NeuralNet) -> Iterator[None]:
        """Let a net train with the weights inside the block.

        Parameters
        ----------
        net : NeuralNet
            Fitted on all n rows in the block; afterwards as it was, but for its fit.
        """
        make_loader, current = net.iterator_train, _Current()
        net.iterator_train = partial(_loader, make=make_loader, weight=self.weight, current=current)
        vars(net)["get_loss"] = partial(_loss, net, self.row_loss, current)
        try:
            yield
        finally:
            net.iterator_train = make_loader
            vars(net).pop("get_loss")


def weighted_loss(
    net: NeuralNet, weight: np.ndarray, *, link: str, n_outputs: int, is_soft: bool
) -> WeightedLoss:
    """Return how weights enter the loss of a net.

    Parameters
    ----------
    net : NeuralNet
        Initialised.
    weight : ndarray of shape (n,)
        As of `WeightedLoss`.
    link, n_outputs, is_soft
        As of `row_loss_of`.

    Raises
    ------
    ValueError
        If the net does not train on one loss a row, or not by torch's loader.
    """
    start = "sample_weight weights the loss of each row, but "
    if type(net).get_loss not in (NeuralNet.get_loss, NeuralNetClassifier.get_loss):
        raise ValueError(f"{start}{type(net).__name__} has a get_loss of its own.")
    params = net.get_params_for("iterator_train")
    if net.iterator_train is not DataLoader or "batch_sampler" in params:
        raise ValueError(f"{start}the net's iterator_train is not torch's DataLoader.")
    try:
        row_loss = row_loss_of(net, link=link, n_outputs=n_outputs, is_soft=is_soft)
    except ValueError as error:
        raise ValueError(f"{start}{error}.") from error
    return WeightedLoss(weight, row_loss)


class _Current:
    """The weights of the minibatch that is trained on."""

    weight: torch.Tensor


class _Loader:
    """Minibatches, with their weights noted."""

    def __init__(self, loader: DataLoader, noted: deque, current: _Current) -> None:
        self.loader, self.noted, self.current = loader, noted, current

    def __iter__(self) -> Iterator[Any]:
        self.noted.clear()
        for batch in self.loader:
            self.current.weight = torch.as_tensor(self.noted.popleft())
            yield batch

    def __len__(self) -> int:
        return len(self.loader)


class _NotedBatches:
    """Batches of row indices, with the weights of their rows noted."""

    def __init__(self, batches: Any, weight: np.ndarray, noted: deque) -> None:
        self.batches, self.weight, self.noted = batches, weight, noted

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.batches:
            self.noted.append(self.weight[batch])
            yield batch

    def __len__(self) -> int:
        return len(self.batches)


def _loader(
    dataset: Dataset, *, make: Callable, weight: np.ndarray, current: _Current, **params: Any
) -> _Loader:
    """Return the loader of a net, which notes the weights of each minibatch."""
    own = weight[np.asarray(dataset.indices)] if isinstance(dataset, Subset) else weight
    if len(own) != len(dataset):  # type: ignore[arg-type]
        raise ValueError(
            f"sample_weight has {len(own)} values, but the net's train_split trains on "
            f"{len(dataset)} rows that are no Subset of the given ones."  # type: ignore[arg-type]
        )
    noted: deque = deque()
    batches = _NotedBatches(make(dataset, **params).batch_sampler, own, noted)
    others = {name: value for name, value in params.items() if name not in OF_BATCHES}
    return _Loader(DataLoader(dataset, batch_sampler=batches, **others), noted, current)


def _loss(
    net: NeuralNet,
    row_loss: RowLoss,
    current: _Current,
    y_pred: Any,
    y_true: torch.Tensor,
    X: Any = None,
    training: bool = False,
) -> torch.Tensor:
    """Return the weighted loss of a minibatch in training, and the net's own otherwise."""
    if not training:
        return type(net).get_loss(net, y_pred, y_true, X=X, training=training)
    output = y_pred[0] if isinstance(y_pred, tuple) else y_pred
    output = output.reshape(len(output), -1)
    targets = row_loss.targets_of(to_tensor(y_true, device=output.device), output)
    return row_loss.mean(output[None], targets, current.weight.to(output)[None])[0]
