"""How a skorch net is trained: everything that training it again has to repeat."""

import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from skorch import NeuralNet
from torch.optim.lr_scheduler import ReduceLROnPlateau

from sklearn_synset._network.row_loss import RowLoss


class NotReplayableError(ValueError):
    """A training that cannot be repeated; its message is the reason, without a full stop."""


class RefusedTrainingError(ValueError):
    """A training whose steps are not known, so that nothing can be said of its network."""


@dataclass(frozen=True)
class Stopping:
    """When a training keeps its weights, and when it ends early.

    Parameters
    ----------
    monitor : {"valid_loss", "valid_acc", "train_loss"}
        What is looked at after each epoch.
    lower_is_better : bool
        Whether low values are good.
    threshold : float
        How much better than the best value counts as better.
    is_relative : bool
        Whether the threshold is a share of the best value.
    patience : int or None
        Epochs in a row that are not better after which the training ends; None: it does not.
    keeps_best : bool
        Whether the weights of the best epoch are kept, and not the last ones.
    """

    monitor: str
    lower_is_better: bool = True
    threshold: float = 0.0
    is_relative: bool = False
    patience: int | None = None
    keeps_best: bool = True


@dataclass(frozen=True)
class Schedule:
    """A learning-rate schedule of torch.

    Parameters
    ----------
    policy : type
        Class of the scheduler.
    params : dict
        Its parameters.
    is_by_batch : bool
        Whether it steps after each minibatch, and not after each epoch.
    monitor : str
        What a `ReduceLROnPlateau` looks at.
    """

    policy: type
    params: dict[str, Any]
    is_by_batch: bool
    monitor: str = "train_loss"


@dataclass(frozen=True, eq=False)
class Recipe:
    """A training, but for the rows.

    Parameters
    ----------
    net : NeuralNet
        Not initialised; makes the module, the optimizer and the loader.
    seed : int or None
        Of the initial weights and the order of the rows of the explained network; None if that was
        trained elsewhere.
    loss : RowLoss
        Loss of a row.
    n_epochs : int
        The most passes over the rows.
    schedules : tuple of Schedule
        In the order of the callbacks.
    clipping : tuple of float or None
        Largest norm of a gradient, and the order of that norm.
    stopping : Stopping or None
        Early stopping, or keeping the best epoch.
    is_trained_on : ndarray of shape (n,), dtype bool
        Training rows that the optimizer sees: not those that `train_split` holds back.
    valid_rows : ndarray of shape (v,) or None
        Training rows that `train_split` holds back; None if there are none.
    valid_data : tuple of ndarray or None
        Inputs and targets of validation rows that are no training rows.
    has_validation : bool
        Whether each epoch ends with a pass over validation rows.
    is_entrywise : bool
        Whether one optimizer acts on many networks at once as on each of them alone.
    not_rewound : str or None
        Why descent from rewound weights does not imitate the training; None if it does.
    not_repeated : tuple of str
        Callbacks that may have changed the training, and that are not repeated.
    """

    net: NeuralNet
    seed: int | None
    loss: RowLoss
    n_epochs: int
    schedules: tuple[Schedule, ...]
    clipping: tuple[float, float] | None
    stopping: Stopping | None
    is_trained_on: np.ndarray
    valid_rows: np.ndarray | None
    valid_data: tuple[np.ndarray, np.ndarray] | None
    has_validation: bool
    is_entrywise: bool
    not_rewound: str | None = None
    not_repeated: tuple[str, ...] = ()

    def optimizer(self, parameters: Iterable[tuple[str, torch.Tensor]]) -> torch.optim.Optimizer:
        """Make the net's optimizer for some named parameters."""
        return optimizer_of(self.net, parameters)

    def initialised(self) -> NeuralNet:
        """Return a clone with initial weights, drawn from the global generators."""
        return clone(self.net).initialize()

    @property
    def batch_size(self) -> int:
        """Rows of a minibatch; all of them for -1."""
        own = self.net.get_params_for("iterator_train").get("batch_size", self.net.batch_size)
        n_rows = int(self.is_trained_on.sum())
        return n_rows if own == -1 else min(int(own), n_rows)

    @property
    def n_steps_per_epoch(self) -> int:
        """Minibatches of a pass over the training rows."""
        drops_last = self.net.get_params_for("iterator_train").get("drop_last", False)
        n_rows, size = int(self.is_trained_on.sum()), self.batch_size
        return max(1, n_rows // size if drops_last else -(-n_rows // size))

    @property
    def n_rows_seen(self) -> int:
        """Rows that a training sees, each as often as it does."""
        return self.n_epochs * self.n_steps_per_epoch * self.batch_size

    @property
    def needs_own_optimizers(self) -> bool:
        """Whether each network needs an optimizer of its own."""
        return not self.is_entrywise or any(
            each.policy is ReduceLROnPlateau for each in self.schedules
        )


def optimizer_of(
    net: NeuralNet, parameters: Iterable[tuple[str, torch.Tensor]]
) -> torch.optim.Optimizer:
    """Make a net's optimizer; its steps in one operation where torch has that."""
    args, kwargs = net.get_params_for_optimizer("optimizer", list(parameters))
    is_torchs = net.optimizer.__module__.startswith("torch.optim")
    if is_torchs and not {"fused", "foreach", "differentiable", "capturable"} & kwargs.keys():
        if "fused" in inspect.signature(net.optimizer.__init__).parameters:
            try:
                return net.optimizer(*args, **kwargs, fused=True)
            except RuntimeError:
                pass  # not on this device, or not for these parameters
    return net.optimizer(*args, **kwargs)
