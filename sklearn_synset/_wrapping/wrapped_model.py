"""From None, a module or a skorch net to a frozen function of its weights, and back."""

import warnings
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from skorch import NeuralNet, NeuralNetBinaryClassifier

from sklearn_synset._data.row_source import row_dtype
from sklearn_synset._data.target import n_outputs
from sklearn_synset._network.checks import probe, reshape_rows
from sklearn_synset._network.functional_model import FunctionalModel, copy_module, freeze
from sklearn_synset._network.last_layer import check_last_layer
from sklearn_synset._network.recipe import NotReplayableError, Recipe
from sklearn_synset._network.row_loss import why_not_rewound
from sklearn_synset._runtime.torch_interop import (
    as_tensor,
    check_device,
    draw_seed,
    resolve_device,
)
from sklearn_synset._wrapping.default_network import default_net
from sklearn_synset._wrapping.module_rows import (
    check_same_function,
    check_training_rows,
    module_rows,
)
from sklearn_synset._wrapping.read_recipe import read_recipe
from sklearn_synset._wrapping.rows_for_net import rows_for_net
from sklearn_synset._wrapping.skorch_net import (
    check_net_is_fitted,
    copy_net,
    criterion_target,
    fitted_clone,
    initialized_clone,
    output_order,
    read_criterion,
    read_weight_decay,
    warn_if_rows_are_held_back,
)
from sklearn_synset._wrapping.weighted_loss import WeightedLoss, weighted_loss

__all__ = ["FunctionalModel", "restore", "untrained_model", "wrap"]

_N_TRIED, _WELL_FITTED = 1000, 0.1
_KINDS = {
    "cross_entropy": "class labels",
    "binary_cross_entropy": "several labels a row",
    "squared_error": "continuous targets",
}
_Model = TypeVar("_Model", torch.nn.Module, NeuralNet)


@dataclass(frozen=True, eq=False)
class _Training:
    """What a model is trained on and computed with; attributes as the parameters of `wrap`."""

    X: np.ndarray
    y: np.ndarray
    classes: np.ndarray | None
    input_shape: tuple[int, ...] | None
    weight_decay: float | None
    device: torch.device | None
    dtype: torch.dtype | None
    output_order: tuple[int, ...] | None = None
    is_task_given: bool = False
    anew: bool = False
    sample_weight: np.ndarray | None = None
    loss: str = "cross_entropy"

    @property
    def n_outputs(self) -> int:
        """Number of classes, or of targets."""
        return n_outputs(self.classes, self.y)


def wrap(
    estimator: torch.nn.Module | NeuralNet | FrozenEstimator | None,
    X: np.ndarray,
    y: np.ndarray,
    *,
    classes: np.ndarray | None,
    random_state: np.random.RandomState,
    input_shape: tuple[int, ...] | None = None,
    weight_decay: float | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    verbose: int = 0,
    output_order: tuple[int, ...] | None = None,
    is_task_given: bool = False,
    anew: bool = False,
    sample_weight: np.ndarray | None = None,
    loss: str | None = None,
) -> tuple[torch.nn.Module | NeuralNet, FunctionalModel]:
    """Copy or train the model that is to be explained, and freeze it.

    Parameters
    ----------
    estimator : Module, NeuralNet, FrozenEstimator or None
        A trained module and a frozen net are taken as they are; a net is cloned and trained;
        None trains a small network. Never changed.
    X : ndarray of shape (n, d...)
        Training rows.
    y : ndarray of shape (n,), (n, C) or (n, t)
        Labels encoded as 0, …, C - 1, class probabilities, or targets.
    classes : ndarray of shape (C,) or None
        The sorted labels; None for regression.
    random_state : RandomState
        Source of the seed of a training; not touched when nothing is trained.
    input_shape : tuple of int, default=None
        Shape that flat rows are given for the module.
    weight_decay : float, default=None
        Weight decay of the training; None reads it from a net's optimizer and means 0 for a
        module.
    device : torch.device or str, default=None
        Where to compute; where the module is if None.
    dtype : torch.dtype, default=None
        What to compute in; the dtype of the module's parameters if None. The small network is
        float32 for float32 rows and float64 otherwise.
    verbose : int, default=0
        Shows the progress of a training.
    output_order : tuple of int, default=None
        Column of each class in a network that is trained already; None if they are in order.
    is_task_given : bool, default=False
        Whether the user says that `y` holds labels; otherwise a module of one output is tried.
    anew : bool, default=False
        Whether a net's module instance is given new weights before it is trained.
    sample_weight : ndarray of shape (n,), default=None
        Weight of each row's loss in a training, with mean 1; all ones if None.
    loss : str, default=None
        As of :class:`FunctionalModel`; cross-entropy for labels and the squared error for values
        if None.

    Returns
    -------
    estimator_ : Module or NeuralNet
        A copy of the module in its mode, or the fitted net.
    model : FunctionalModel
        The same network as a function.

    Raises
    ------
    NotFittedError
        If a frozen net is not fitted.
    TypeError
        If `estimator` is something else, or the module returns something else than a tensor.
    ValueError
        If the weights are not finite, none is trainable, the module cannot take the rows, its
        output width does not fit `y`, a row's output depends on the rest of its batch, or the
        criterion is not supported or does not fit `y`.
    """
    reshape_rows(X[:1], input_shape)
    device = None if device is None else check_device(device)
    training = _Training(
        X,
        y,
        classes,
        input_shape,
        weight_decay,
        device,
        dtype,
        output_order,
        is_task_given,
        anew,
        sample_weight,
        loss or _loss_of(classes),
    )
    inner = estimator.estimator if isinstance(estimator, FrozenEstimator) else estimator
    if isinstance(inner, torch.nn.Module):
        return _wrap_module(inner, training)
    if isinstance(inner, NeuralNet):
        if inner is not estimator:
            return _wrap_fitted(inner, training)
        return _train(inner, training, random_state, verbose)
    if estimator is None:
        # Its matrices are so small that more threads only wait for each other.
        net = _untrained_default(training)
        return _train(net, training, random_state, verbose, n_threads=1)
    if isinstance(inner, Pipeline):
        raise TypeError(
            "estimator is a Pipeline. Put its last step, the net, into SynsetAttributor, and that "
            "at the end of the pipeline: make_pipeline(*steps[:-1], SynsetAttributor(net))."
        )
    raise TypeError(
        "estimator must be None, a torch.nn.Module, a skorch net, or a FrozenEstimator of one; "
        f"got {estimator!r}."
    )


def _loss_of(classes: np.ndarray | None) -> str:
    return "squared_error" if classes is None else "cross_entropy"


def untrained_model(
    net: NeuralNet,
    X: np.ndarray,
    y: np.ndarray,
    *,
    classes: np.ndarray | None,
    seed: int,
    loss: str | None = None,
) -> FunctionalModel:
    """Freeze a net as it is before its training.

    Parameters
    ----------
    net : NeuralNet
        Left as it is.
    X, y, classes, loss
        As of `wrap`.
    seed : int
        Of the initial weights, and of the training in the recipe.

    Returns
    -------
    model : FunctionalModel
        With the recipe of its training, or the reason why that cannot be repeated.

    Raises
    ------
    TypeError, ValueError
        As of `wrap`.
    """
    training = _Training(
        X,
        y,
        classes,
        input_shape=None,
        weight_decay=0.0,
        device=None,
        dtype=None,
        output_order=None,
        is_task_given=False,
        anew=False,
        loss=loss or _loss_of(classes),
    )
    initialized = initialized_clone(net, None, seed)
    model = _freeze_net(initialized, training)
    target = _target_of(initialized, model, training)
    return replace(model, recipe=_recipe(initialized, model, target, seed, keeps_instance=True))


def restore(estimator_: _Model, model: FunctionalModel, theta: torch.Tensor) -> _Model:
    """Copy the wrapped model with other weights in it.

    Parameters
    ----------
    estimator_ : Module or NeuralNet
        As `wrap` returned it; left as it is.
    model : FunctionalModel
        As `wrap` returned it.
    theta : Tensor of shape (D,)
        The weights to put in.

    Returns
    -------
    restored : Module or NeuralNet
        A module in the mode of the wrapped one, or a fitted net that predicts. Parameters that
        were not trainable, and buffers, are those of `estimator_`.
    """
    if isinstance(estimator_, NeuralNet):
        restored = copy_net(estimator_)
        module = restored.module_
    else:
        restored = module = copy_module(estimator_)
    parameters = dict(module.named_parameters())
    with torch.no_grad():
        for name, value in model.unflatten(theta.detach()).items():
            parameters[name].copy_(value)
    return restored


def _wrap_module(
    module: torch.nn.Module, training: _Training
) -> tuple[torch.nn.Module, FunctionalModel]:
    """Take a trained module as it is."""
    order = training.output_order
    decay = training.weight_decay or 0.0
    model = _freeze(module, training, weight_decay=decay, output_order=order)
    if model.link == "single_logit" and not training.is_task_given:
        _check_logits(model, training)
    return copy_module(module), model


def _check_logits(model: FunctionalModel, training: _Training) -> None:
    """Raise a ValueError if a module's single output fits 0 and 1 better as values."""
    rows = training.X[:_N_TRIED]
    X = as_tensor(rows, dtype=row_dtype(rows, model.dtype), device=model.device)
    y = as_tensor(training.y[:_N_TRIED], dtype=model.dtype, device=model.device)
    if y.ndim == 2 or y.std(correction=0) == 0:
        return
    with torch.no_grad():
        output = model(model.theta, X)[:, 1]
    by_logits = torch.nn.functional.binary_cross_entropy_with_logits
    base = (y.mean() / (1 - y.mean())).log()
    as_values = 1 - float((output - y).square().mean() / y.var(correction=0))
    as_logits = 1 - float(by_logits(output, y) / by_logits(base.expand_as(y), y))
    if as_values > max(_WELL_FITTED, as_logits):
        raise ValueError(
            "y holds two labels, but the module's single output fits them better as the values 0 "
            f"and 1 (R^2 {as_values:.2f}) than as logits ({as_logits:.2f} of the deviance). Pass "
            "task='regression' if it was trained on values, or task='classification'."
        )


def _wrap_fitted(net: NeuralNet, training: _Training) -> tuple[NeuralNet, FunctionalModel]:
    """Take a fitted net as it is."""
    check_net_is_fitted(net)
    classes = training.classes
    order = training.output_order
    if classes is not None and getattr(net, "classes", None) is not None:
        order = output_order(net, classes)
    own = copy_net(net)
    received = _received(own, training)
    model = _freeze_net(own, received, order)
    check_same_function(own, model, training.X, received.X, training.input_shape)
    dtype = next(own.module_.parameters()).dtype
    target = _target_of(own, model, received)
    if net.train_split is not None and dtype is not torch.bfloat16:
        rows = rows_for_net(own, training.X, training.input_shape, dtype)
        warn_if_rows_are_held_back(own, rows, target, is_frozen=True)
    return copy_net(net), replace(model, recipe=_checked(_recipe(own, model, target, None), own))


def _received(net: NeuralNet, training: _Training) -> _Training:
    """Return the training with the rows that a net's module receives."""
    rows = module_rows(net, training.X, training.input_shape)
    if rows is training.X:
        return training
    return replace(training, X=rows, input_shape=None)


def _train(
    net: NeuralNet,
    training: _Training,
    random_state: np.random.RandomState,
    verbose: int,
    n_threads: int | None = None,
) -> tuple[NeuralNet, FunctionalModel]:
    """Clone a net, check it on two rows, and only then train it."""
    seed = draw_seed(random_state)
    initialized = initialized_clone(net, training.device, seed, anew=training.anew)
    received = _received(initialized, training)
    untrained = _freeze_net(initialized, received)
    check_same_function(initialized, untrained, training.X, received.X, training.input_shape)
    target = _target_of(initialized, untrained, received)
    loss = _weighted_loss(initialized, untrained, target, training.sample_weight)
    recipe = _checked(
        _recipe(initialized, untrained, target, seed, keeps_instance=not training.anew), initialized
    )
    parameter = next(initialized.module_.parameters())
    rows = rows_for_net(initialized, training.X, training.input_shape, parameter.dtype)
    check_training_rows(initialized, rows, target)
    fitted = fitted_clone(initialized, rows, target, seed, n_threads, verbose=verbose, loss=loss)
    return fitted, replace(_freeze_net(fitted, received), recipe=recipe)


def _weighted_loss(
    net: NeuralNet, model: FunctionalModel, target: np.ndarray, weight: np.ndarray | None
) -> WeightedLoss | None:
    """Return how weights of rows enter a training; None without any."""
    if weight is None:
        return None
    is_soft = np.ndim(target) == 2
    return weighted_loss(net, weight, link=model.link, n_outputs=model.n_outputs, is_soft=is_soft)


def _target_of(net: NeuralNet, model: FunctionalModel, training: _Training) -> np.ndarray:
    """Return the training targets as the net's criterion takes them."""
    output = probe(
        model.module,
        training.X,
        input_shape=training.input_shape,
        dtype=model.dtype,
        device=model.device,
    )
    dtype = next(net.module_.parameters()).dtype
    is_multilabel = training.loss == "binary_cross_entropy"
    return criterion_target(
        net, training.y, dtype=dtype, ndim=output.ndim, is_multilabel=is_multilabel
    )


def _checked(recipe: Recipe | str, net: NeuralNet) -> Recipe | str:
    """Return a recipe, or warn that there is none; raise if nothing else can be done."""
    if isinstance(recipe, Recipe):
        return recipe
    obstacle = why_not_rewound(net)
    if obstacle is not None:
        raise ValueError(
            f"The training cannot be repeated: {recipe}. Nor can it be imitated by descent "
            f"from rewound weights: {obstacle}."
        )
    warnings.warn(
        f"The net's training cannot be repeated: {recipe}. It is imitated by descent from "
        "rewound weights, which is less faithful.",
        UserWarning,
        stacklevel=2,
    )
    return recipe


def _recipe(
    net: NeuralNet,
    model: FunctionalModel,
    target: np.ndarray,
    seed: int | None,
    *,
    keeps_instance: bool = False,
) -> Recipe | str:
    """Return how a net is trained, or why that cannot be repeated."""
    try:
        return read_recipe(
            net,
            target,
            link=model.link,
            n_outputs=model.n_outputs,
            seed=seed,
            keeps_instance=keeps_instance,
        )
    except NotReplayableError as reason:
        return str(reason)


def _untrained_default(training: _Training) -> NeuralNet:
    """Return the small network for these rows, in their dtype."""
    dtype = torch.float32 if training.X.dtype == np.float32 else torch.float64
    return default_net(
        training.X,
        training.y,
        n_classes=None if training.classes is None else training.n_outputs,
        dtype=training.dtype or dtype,
        device=resolve_device(training.device),
    )


def _freeze_net(
    net: NeuralNet, training: _Training, order: tuple[int, ...] | None = None
) -> FunctionalModel:
    """Freeze an initialised net with the loss and weight decay that it names."""
    loss, link = read_criterion(net)
    if training.loss == "binary_cross_entropy" and link == "single_logit":
        loss, link = training.loss, "identity"
    if loss != training.loss:
        kind = _KINDS[training.loss]
        raise ValueError(f"The net's criterion is {net.criterion_!r}, but y holds {kind}.")
    given = training.weight_decay
    weight_decay = read_weight_decay(net) if given is None else given
    model = _freeze(net.module_, training, link=link, output_order=order, weight_decay=weight_decay)
    if isinstance(net, NeuralNetBinaryClassifier):
        model = replace(model, threshold=float(net.threshold))
    if loss != "squared_error":
        check_last_layer(
            model.module,
            training.X,
            net.criterion_,
            link=link,
            input_shape=training.input_shape,
            dtype=model.dtype,
            device=model.device,
        )
    return model


def _freeze(
    module: torch.nn.Module,
    training: _Training,
    *,
    weight_decay: float,
    link: str | None = None,
    output_order: tuple[int, ...] | None = None,
) -> FunctionalModel:
    """Freeze a module for the task at hand."""
    return freeze(
        module,
        training.X,
        n_outputs=training.n_outputs,
        loss=training.loss,
        link=link,
        output_order=output_order,
        weight_decay=weight_decay,
        input_shape=training.input_shape,
        device=training.device,
        dtype=training.dtype,
    )
