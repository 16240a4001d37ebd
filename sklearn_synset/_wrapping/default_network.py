"""The small network that is built for the data when no model is given."""

import math

import numpy as np
import torch
from skorch import NeuralNet, NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import LRScheduler
from skorch.dataset import Dataset

from sklearn_synset._data.column_statistics import column_statistics
from sklearn_synset._data.row_source import RowSource, at_once
from sklearn_synset._runtime.torch_interop import as_array, as_tensor

N_HIDDEN = 64
WEIGHT_DECAY = 1e-3
ADAM_EPSILON = 1e-8
BATCH_SIZE = 128
# Enough steps to bring a hundred rows to rest, and enough passes over many rows.
N_STEPS, MIN_EPOCHS = 120, 30
STATISTICS = ("input_mean", "input_scale", "output_mean", "output_scale")


class StandardizedMLP(torch.nn.Module):
    """One hidden layer of rectified linear units between two standardisations.

    Parameters
    ----------
    input_mean, input_scale : Tensor of shape (d,)
        Subtracted from the flattened rows, and divided by.
    output_mean, output_scale : Tensor of shape (C,)
        Multiplied with the last layer's output (scale) and added to it (mean).
    n_hidden : int
        Number of hidden units.
    """

    input_mean: torch.Tensor
    input_scale: torch.Tensor
    output_mean: torch.Tensor
    output_scale: torch.Tensor

    def __init__(
        self,
        input_mean: torch.Tensor,
        input_scale: torch.Tensor,
        output_mean: torch.Tensor,
        output_scale: torch.Tensor,
        n_hidden: int = N_HIDDEN,
    ):
        super().__init__()
        self.register_buffer("input_mean", input_mean)
        self.register_buffer("input_scale", input_scale)
        self.register_buffer("output_mean", output_mean)
        self.register_buffer("output_scale", output_scale)
        dtype = input_mean.dtype
        self.hidden = torch.nn.Linear(len(input_mean), n_hidden, dtype=dtype)
        self.output = torch.nn.Linear(n_hidden, len(output_mean), dtype=dtype)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        """Return logits or predictions (n, C) of rows (n, d...)."""
        standardized = (X.flatten(1) - self.input_mean) / self.input_scale
        return self.output(self.hidden(standardized).relu()) * self.output_scale + self.output_mean


class WholeBatches(Dataset):
    """Rows that are fetched a batch at a time; row by row costs more than the training."""

    def __getitems__(self, indices):
        """Return the arrays (batch, d...) and (batch, ...) of some rows."""
        return self[np.asarray(indices)]


def keep_batch(batch):
    """Return what a dataset of whole batches fetched, as it is."""
    return batch


def default_net(
    X: np.ndarray,
    y: np.ndarray,
    *,
    n_classes: int | None,
    dtype: torch.dtype,
    device: torch.device,
) -> NeuralNet:
    r"""Build an untrained skorch net with the statistics of the data inside.

    Parameters
    ----------
    X : ndarray of shape (n, d...)
        Training rows.
    y : ndarray of shape (n,) or (n, t)
        Encoded labels, or targets.
    n_classes : int or None
        Number of classes; None for regression.
    dtype : torch.dtype
        Floating dtype of the network.
    device : torch.device
        Where the network is trained.

    Returns
    -------
    net : NeuralNetClassifier or NeuralNetRegressor
        Trained by Adam with a cosine schedule, cross-entropy or mean squared error.

    Notes
    -----
    The weight decay is :math:`10^{-3}`, and in regression it and Adam's epsilon are multiplied by
    the variance of the target: the trained network then follows a change of the target's unit.
    """
    statistics = {
        name: as_tensor(value, dtype=dtype) for name, value in _statistics(X, y, n_classes).items()
    }
    return net_of_statistics(
        statistics,
        is_classifier=n_classes is not None,
        max_epochs=max(MIN_EPOCHS, N_STEPS // math.ceil(len(X) / BATCH_SIZE)),
        device=device,
    )


def net_of_statistics(
    statistics: dict[str, torch.Tensor],
    *,
    is_classifier: bool,
    max_epochs: int,
    device: torch.device,
) -> NeuralNet:
    """Build the untrained net with known statistics.

    Parameters
    ----------
    statistics : dict of str to Tensor
        The four standardisations of :class:`StandardizedMLP`, in the network's dtype.
    is_classifier : bool
        Whether it is trained by cross-entropy; else by the squared error.
    max_epochs : int
        Passes over the rows.
    device : torch.device
        Where the network is trained.
    """
    loss_unit = float(statistics["output_scale"].double().square().mean())
    schedule = LRScheduler("CosineAnnealingLR", T_max=max_epochs)
    return (NeuralNetClassifier if is_classifier else NeuralNetRegressor)(
        StandardizedMLP,
        criterion=torch.nn.CrossEntropyLoss if is_classifier else torch.nn.MSELoss,
        optimizer=torch.optim.Adam,
        optimizer__weight_decay=WEIGHT_DECAY * loss_unit,
        optimizer__eps=ADAM_EPSILON * loss_unit,
        lr=0.01,
        max_epochs=max_epochs,
        batch_size=BATCH_SIZE,
        dataset=WholeBatches,
        iterator_train__shuffle=True,
        iterator_train__collate_fn=keep_batch,
        iterator_valid__collate_fn=keep_batch,
        train_split=None,
        callbacks=[("schedule", schedule)],
        callbacks__print_log=None,
        verbose=0,
        device=str(device),
        **{f"module__{name}": value for name, value in statistics.items()},
    )


def _statistics(X: np.ndarray, y: np.ndarray, n_classes: int | None) -> dict[str, np.ndarray]:
    """Return the parameters (d,) and (C,) of the network's two standardisations."""
    if n_classes is not None:
        output_mean, output_scale = np.zeros(n_classes), np.ones(n_classes)
    else:
        target = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
        output_mean, output_scale = target.mean(0), _positive_scale(target)
    input_mean, input_scale = _mean_and_scale(X)
    return {
        "input_mean": input_mean,
        "input_scale": input_scale,
        "output_mean": output_mean,
        "output_scale": output_scale,
    }


def _mean_and_scale(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean (d,) and `_positive_scale` of the columns of rows (n, d...)."""
    if len(X) <= at_once(X):
        flat = X.reshape(len(X), -1)
        return flat.mean(0, dtype=np.float64), _positive_scale(flat)
    rows = RowSource(X, torch.float64, torch.device("cpu"))
    mean, scale, lower, upper = (as_array(part).ravel() for part in column_statistics(rows))
    return mean, _unless_rounding(scale, np.maximum(np.abs(lower), np.abs(upper)))


def _positive_scale(rows: np.ndarray) -> np.ndarray:
    """Return the standard deviation (d,) of the columns, 1 where it is rounding error."""
    return _unless_rounding(rows.std(0, dtype=np.float64), np.abs(rows).max(0))


def _unless_rounding(scale: np.ndarray, largest: np.ndarray) -> np.ndarray:
    return np.where(scale > 10 * np.finfo(np.float64).eps * largest, scale, 1.0)
