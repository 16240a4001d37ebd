"""What a skorch net says about its training: loss, weight decay, order of the classes."""

import copy
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

import numpy as np
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from skorch import NeuralNet, NeuralNetBinaryClassifier, NeuralNetClassifier
from tqdm.auto import tqdm

from sklearn_synset._network.new_weights import reset_parameters
from sklearn_synset._runtime.torch_interop import as_array, as_tensor, keep_global_state
from sklearn_synset._wrapping.kept_rows import clone_without
from sklearn_synset._wrapping.rows_for_net import RowsOnDemand
from sklearn_synset._wrapping.weighted_loss import WeightedLoss


class TrainingLoss(NamedTuple):
    """The loss a model was trained with, and how its outputs enter.

    Parameters
    ----------
    loss : {"cross_entropy", "squared_error"}
        Name of the loss.
    link : {"identity", "single_logit", "probability"}
        What makes logits (or predictions) of the module's outputs.
    """

    loss: str
    link: str


def read_criterion(net: NeuralNet) -> TrainingLoss:
    """Read the kind of loss of an initialised net.

    Returns
    -------
    training_loss : TrainingLoss
        Cross-entropy for criteria that compare logits or probabilities with labels, the squared
        error for those that compare values; and the link.

    Raises
    ------
    ValueError
        If the net has a `get_loss` of its own.
    """
    criterion = net.criterion_
    if type(net).get_loss not in (NeuralNet.get_loss, NeuralNetClassifier.get_loss):
        raise ValueError(
            f"{type(net).__name__} has a get_loss of its own, so the loss of its training is not "
            "known. Write the loss as a criterion (a torch.nn.Module with reduction='mean' or "
            "'sum') and pass it as the net's criterion; pass weights of rows as sample_weight of "
            "fit."
        )
    if isinstance(criterion, torch.nn.NLLLoss):
        # skorch's classifier takes the logarithm of the module's probabilities.
        is_classifier = isinstance(net, NeuralNetClassifier)
        return TrainingLoss("cross_entropy", "probability" if is_classifier else "identity")
    if isinstance(criterion, torch.nn.BCEWithLogitsLoss):
        return TrainingLoss("cross_entropy", "single_logit")
    is_labels = isinstance(criterion, torch.nn.CrossEntropyLoss)
    return TrainingLoss("cross_entropy" if is_labels else "squared_error", "identity")


def read_weight_decay(net: NeuralNet) -> float:
    """Read the weight decay of an initialised net's optimizer.

    Returns
    -------
    weight_decay : float
        The coefficient of half the squared norm of the weights, the mean over all weights where
        parameter groups differ in it; 0 for an optimizer without one.
    """
    groups = net.optimizer_.param_groups
    sizes = [sum(parameter.numel() for parameter in group["params"]) for group in groups]
    decays = [float(group.get("weight_decay", 0.0)) for group in groups]
    if len(set(decays)) == 1:
        return decays[0]
    return float(np.average(decays, weights=sizes))


def output_order(net: NeuralNet, classes: np.ndarray) -> tuple[int, ...] | None:
    """Find the output column of every class of an already fitted net.

    Parameters
    ----------
    net : NeuralNet
        Fitted.
    classes : ndarray of shape (C,)
        Sorted labels.

    Returns
    -------
    order : tuple of int or None
        Column of each class; None when the columns are in the order of `classes`, as they are
        for labels that were encoded as 0, …, C - 1 before training.

    Raises
    ------
    ValueError
        If the net was given other labels through its parameter `classes`.
    """
    given = getattr(net, "classes", None)
    if given is None:
        return None
    known = list(np.asarray(given).tolist())
    if set(known) == set(range(len(classes))):
        order = tuple(known.index(code) for code in range(len(classes)))
    elif set(known) == set(classes.tolist()):
        order = tuple(known.index(label) for label in classes.tolist())
    else:
        raise ValueError(f"The net knows the classes {known}, but y holds {classes.tolist()}.")
    return None if order == tuple(range(len(order))) else order


def check_net_is_fitted(net: NeuralNet) -> None:
    """Raise a NotFittedError unless the net holds a module."""
    if not hasattr(net, "module_"):
        raise NotFittedError(
            f"The frozen {type(net).__name__} is not fitted. Fit it (or load its parameters) "
            "first, or pass the net without FrozenEstimator to have it trained."
        )
    if not getattr(net, "history_", None):
        warnings.warn(
            f"The frozen {type(net).__name__} has no training history: it was initialised, and "
            "either its parameters were loaded or it was never trained. Its training is taken to "
            f"have had all max_epochs={net.max_epochs} epochs. Load the history, too "
            "(load_params(f_params=..., f_history=...)); if it was never trained, fit it first.",
            UserWarning,
            stacklevel=2,
        )


def copy_net(net: NeuralNet) -> NeuralNet:
    """Copy a net with all that it was fitted to, even if its parts cannot be pickled.

    Parameters
    ----------
    net : NeuralNet
        Left as it is. (`copy.deepcopy` pickles tensors, and with them modules of lambdas.)
    """
    copied = object.__new__(type(net))
    vars(copied).update(copy.deepcopy(vars(net)))
    return copied


def warn_if_rows_are_held_back(
    net: NeuralNet, X: np.ndarray | RowsOnDemand, y: np.ndarray, *, is_frozen: bool = False
) -> None:
    """Warn if a net's train_split keeps some of the rows from the training.

    Parameters
    ----------
    net : NeuralNet
        Initialised.
    X, y : array-like of n rows
        What it is, or was, fitted on.
    is_frozen : bool, default=False
        Whether it was fitted before.
    """
    if net.train_split is None:
        return
    try:
        with keep_global_state(seed=0):
            n_trained = len(net.get_split_datasets(X, y)[0])
    except Exception:
        return  # the training says what is wrong
    if n_trained < len(X):
        subject = "If the frozen net was fitted on these rows, its" if is_frozen else "The net's"
        warnings.warn(
            f"{subject} train_split holds back {len(X) - n_trained} of {len(X)} rows from the "
            "training, but effects are predicted for all rows given to fit. Set train_split=None, "
            "or, for callbacks that need a validation loss (EarlyStopping), "
            "train_split=skorch.helper.predefined_split(other_rows).",
            UserWarning,
            stacklevel=2,
        )


def initialized_clone(
    net: NeuralNet, device: torch.device | None, seed: int, *, anew: bool = False
) -> NeuralNet:
    """Clone a net and build its module from a seed.

    Parameters
    ----------
    net : NeuralNet
        Left as it is.
    device : torch.device or None
        Overrides the net's own device.
    seed : int
        Seeds the initial weights.
    anew : bool, default=False
        Whether the weights of a module instance are drawn anew.
    """
    copied = clone(net)
    if device is not None:
        copied.set_params(device=str(device))
    if str(copied.device).startswith("cuda") and torch.cuda.is_available():
        # keep_global_state looks after the generators of a CUDA that is in use.
        torch.cuda.init()
    with keep_global_state(seed), torch.enable_grad():
        if anew:
            reset_parameters(copied.module)
        return copied.initialize()


def fitted_clone(
    net: NeuralNet,
    X: np.ndarray | RowsOnDemand,
    y: np.ndarray,
    seed: int,
    n_threads: int | None = None,
    kept: np.ndarray | None = None,
    verbose: int = 0,
    loss: WeightedLoss | None = None,
) -> NeuralNet:
    """Clone a net and train it from a seed, whatever the global random state.

    Parameters
    ----------
    net : NeuralNet
        Initialised; left as it is.
    X : ndarray or RowsOnDemand of shape (n, d...)
        Rows, in the dtype of the module.
    y : ndarray
        As `criterion_target` returns it.
    seed : int
        Seeds the initial weights and the order of the rows.
    n_threads : int, default=None
        Number of torch's threads during the training; as it is if None.
    kept : ndarray of shape (n,), dtype bool, default=None
        Rows to train on, in the order that all rows would have; all of them if None.
    verbose : int, default=0
        Shows a progress bar over the epochs if positive, unless the net reports them itself.
    loss : WeightedLoss, default=None
        Weights of the rows; all equal if None.

    Warns
    -----
    UserWarning
        If the net keeps rows from its training, which are attributed to all the same.
    """
    if kept is None:
        warn_if_rows_are_held_back(net, X, y)
    with keep_global_state(seed), torch.enable_grad():
        if n_threads is not None:
            torch.set_num_threads(n_threads)
        copied = clone(net)
        if kept is not None:
            copied, X, y = clone_without(net, X, y, kept)
        weighted = nullcontext() if loss is None else loss.applied_to(copied)
        with weighted, _stops_when_interrupted(copied), _shown_epochs(copied, verbose):
            return copied.fit(X, y)


@contextmanager
def _shown_epochs(net: NeuralNet, verbose: int) -> Iterator[None]:
    """Show a progress bar over the epochs of a training."""
    if not verbose or net.verbose:
        yield
        return
    with tqdm(total=net.max_epochs, desc="Training", unit="epoch") as progress:

        def notify(method_name, **kwargs):
            type(net).notify(net, method_name, **kwargs)
            if method_name == "on_epoch_end":
                progress.update()

        vars(net)["notify"] = notify
        try:
            yield
            progress.total = progress.n  # also where a callback ended it early
        finally:
            vars(net).pop("notify", None)


@contextmanager
def _stops_when_interrupted(net: NeuralNet) -> Iterator[None]:
    """Raise the user's KeyboardInterrupt, which skorch takes for an early end of the training.

    Callbacks raise it too, to stop early: those that come through `notify` are left to skorch.
    """
    interrupts: list[KeyboardInterrupt] = []

    def fit_loop(*args, **kwargs):
        try:
            return type(net).fit_loop(net, *args, **kwargs)
        except KeyboardInterrupt as interrupt:
            frames = traceback.extract_tb(interrupt.__traceback__)
            if not any(frame.name == "notify" for frame in frames):
                interrupts.append(interrupt)
            raise

    vars(net)["fit_loop"] = fit_loop
    try:
        yield
        if interrupts:
            raise interrupts[0]
    finally:
        vars(net).pop("fit_loop", None)


def criterion_target(
    net: NeuralNet,
    y: np.ndarray,
    *,
    dtype: torch.dtype,
    ndim: int,
    is_multilabel: bool = False,
) -> np.ndarray:
    """Convert encoded labels or targets to what the net's criterion compares with.

    Parameters
    ----------
    net : NeuralNet
        Initialised.
    y : ndarray of shape (n,), (n, C) or (n, t)
        Encoded labels, class probabilities, or targets.
    dtype : torch.dtype
        Of the module.
    ndim : int
        Dimensions of the module's output for a batch of rows.
    is_multilabel : bool, default=False
        Whether `y` holds several labels a row.

    Returns
    -------
    target : ndarray of shape (n,) or (n, t)
        int64 for criteria that take labels; for element-wise ones of the dtype and with the
        dimensions of the output, as those would broadcast.
    """
    loss, link = read_criterion(net)
    if loss == "cross_entropy" and link != "single_logit" and np.ndim(y) == 1:
        return np.asarray(y, dtype=np.int64)
    target = as_array(as_tensor(y, dtype=dtype))
    if is_multilabel:
        return target
    if loss == "cross_entropy" and target.ndim == 2:
        if not isinstance(net.criterion_, torch.nn.CrossEntropyLoss):
            raise ValueError(
                "Class probabilities as y need criterion=torch.nn.CrossEntropyLoss; got "
                f"{net.criterion_!r}."
            )
        return target
    # skorch flattens the output of its binary classifier, and wants regression targets in 2-D.
    is_flat = isinstance(net, NeuralNetBinaryClassifier) or ndim == 1
    return target.reshape(len(y)) if is_flat else target.reshape(len(y), -1)
