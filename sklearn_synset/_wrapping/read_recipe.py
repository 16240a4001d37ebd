"""Reading of how a skorch net is trained; what cannot be repeated is refused by name."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from skorch import (
    NeuralNet,
    NeuralNetBinaryClassifier,
    NeuralNetClassifier,
    NeuralNetRegressor,
)
from skorch.callbacks import (
    BatchScoring,
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    EpochTimer,
    GradientNormClipping,
    LRScheduler,
    PassthroughScoring,
    PrintLog,
    ProgressBar,
    TrainEndCheckpoint,
)
from skorch.dataset import Dataset
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.data import DataLoader

from sklearn_synset._network.new_weights import layers_without_reset, reset_parameters
from sklearn_synset._network.recipe import (
    NotReplayableError,
    Recipe,
    RefusedTrainingError,
    Schedule,
    Stopping,
    optimizer_of,
)
from sklearn_synset._network.row_loss import (
    row_loss_of,
    why_not_rewound,
)
from sklearn_synset._runtime.torch_interop import keep_global_state

_WATCHES_ONLY = (
    BatchScoring,
    EpochScoring,
    EpochTimer,
    PassthroughScoring,
    PrintLog,
    ProgressBar,
    TrainEndCheckpoint,
)
_READ = (Checkpoint, EarlyStopping, GradientNormClipping, LRScheduler)
_SAMPLERS = (torch.utils.data.RandomSampler, torch.utils.data.SequentialSampler)
_KNOWN_NETS = (NeuralNet, NeuralNetBinaryClassifier, NeuralNetClassifier, NeuralNetRegressor)
# Methods that decide what a step of the training does.
_STEPS = (
    "train_step",
    "train_step_single",
    "fit_loop",
    "partial_fit",
    "run_single_epoch",
    "get_loss",
    "initialize_optimizer",
    "get_train_step_accumulator",
)
_MONITORS = ("valid_loss", "valid_acc", "train_loss")


def read_recipe(
    net: NeuralNet,
    y: np.ndarray,
    *,
    link: str,
    n_outputs: int,
    seed: int | None = None,
    keeps_instance: bool = False,
) -> Recipe:
    """Read off a net how it is trained.

    Parameters
    ----------
    net : NeuralNet
        Initialised or fitted; left as it is.
    y : ndarray of shape (n, ...)
        Targets of the training rows, as its criterion takes them.
    link, n_outputs
        As of `row_loss_of`.
    seed : int, default=None
        Of the training; None if it was done elsewhere.
    keeps_instance : bool, default=False
        Whether trainings of a net that holds a module instance start from the weights that this
        has; from new ones otherwise.

    Raises
    ------
    NotReplayableError
        If something in it cannot be repeated; the message names it.
    RefusedTrainingError
        If its steps are not known at all.
    """
    _check_methods(net)
    is_trained_on, valid_rows, valid_data = _read_split(net, y)
    _check_iterator(net, int(is_trained_on.sum()))
    recipe = recipe_of_net(
        net,
        link=link,
        n_outputs=n_outputs,
        is_soft=np.ndim(y) == 2,
        keeps_instance=keeps_instance,
        seed=seed if keeps_instance or not isinstance(net.module, torch.nn.Module) else None,
        n_epochs=net.max_epochs,
        is_trained_on=is_trained_on,
        valid_rows=valid_rows,
        valid_data=valid_data,
        has_validation=valid_rows is not None or valid_data is not None,
    )
    if recipe.stopping is None and getattr(net, "history", None):
        return replace(recipe, n_epochs=len(net.history))
    return recipe


# What of a recipe is not in the parameters of its net.
OF_THE_TRAINING = (
    "seed",
    "n_epochs",
    "is_trained_on",
    "valid_rows",
    "valid_data",
    "has_validation",
)


def recipe_of_net(
    net: NeuralNet,
    *,
    link: str,
    n_outputs: int,
    is_soft: bool,
    keeps_instance: bool = False,
    **of_the_training: Any,
) -> Recipe:
    """Return the recipe of a net and of what is known of its training.

    Parameters
    ----------
    net, link, n_outputs
        As of `read_recipe`.
    is_soft : bool
        Whether labels are given as probabilities.
    keeps_instance : bool, default=False
        As of `read_recipe`.
    **of_the_training : dict
        Fields of the recipe, those that `OF_THE_TRAINING` names.

    Raises
    ------
    NotReplayableError
        As `read_recipe`.
    """
    _check_methods(net)
    callbacks = [callback for _, callback in net.callbacks_]
    try:
        loss = row_loss_of(net, link=link, n_outputs=n_outputs, is_soft=is_soft)
    except ValueError as error:
        raise NotReplayableError(str(error)) from error
    schedules, clipping, stopping = _read_callbacks(net, callbacks)
    is_watched = stopping is not None and stopping.monitor.startswith("valid")
    if stopping is not None and is_watched and not of_the_training["has_validation"]:
        raise NotReplayableError(
            f"{stopping.monitor!r} is watched, but the net's train_split gives no validation rows"
        )
    unfitted = clone(net)
    if isinstance(net.module, torch.nn.Module) and not keeps_instance:
        unfitted = unfitted.set_params(module=ResetModule(net.module))
    return Recipe(
        net=unfitted,
        loss=loss,
        schedules=schedules,
        clipping=clipping,
        stopping=stopping,
        is_entrywise=_acts_on_entries(net),
        not_rewound=why_not_rewound(net),
        not_repeated=tuple(type(each).__name__ for each in callbacks if _is_unknown(each)),
        **of_the_training,
    )


class ResetModule:
    """Makes copies of a module with new initial weights.

    Parameters
    ----------
    module : Module
        Copied.

    Raises
    ------
    NotReplayableError
        If a layer with weights has no `reset_parameters`.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        self.module = copy.deepcopy(module)
        if names := layers_without_reset(module):
            raise NotReplayableError(
                f"of a module instance, {', '.join(names)} has no reset_parameters, so new initial "
                "weights cannot be drawn; add it, or wrap the module's class in a skorch net"
            )

    def __call__(self) -> torch.nn.Module:
        module = copy.deepcopy(self.module)
        reset_parameters(module)
        return module


def _check_methods(net: NeuralNet) -> None:
    """Refuse a net that takes its steps in a way of its own."""
    base = next(kind for kind in type(net).__mro__ if kind in _KNOWN_NETS)
    for name in _STEPS:
        if getattr(type(net), name) is not getattr(base, name):
            raise RefusedTrainingError(
                f"{type(net).__name__} has a {name} of its own, so the steps of its training are "
                "not known. Write a loss as the net's criterion, a penalty as weight_decay, and "
                "weights of rows as sample_weight of fit; or pass the trained module, net.module_, "
                "which is then explained as if it had been trained by its loss alone."
            )
    others = [name for name in getattr(net, "_modules", []) if name != "module"]
    if others:
        raise NotReplayableError(
            f"{type(net).__name__} trains further modules ({', '.join(others)})"
        )
    if any(p.requires_grad for p in net.criterion_.parameters()):
        raise NotReplayableError(f"the criterion {type(net.criterion_).__name__} is trained, too")


def _is_unknown(callback: Any) -> bool:
    """Tell whether a callback is not one of skorch's that are read or that only watch."""
    return type(callback) not in (*_WATCHES_ONLY, *_READ) and _acts(callback, "on_")


def _read_callbacks(
    net: NeuralNet, callbacks: list[Any]
) -> tuple[tuple[Schedule, ...], tuple[float, float] | None, Stopping | None]:
    schedules: list[Schedule] = []
    stoppings: list[Stopping] = []
    clipping = None
    for callback in callbacks:
        if type(callback) is LRScheduler:
            policy = callback._get_policy_cls()
            schedules.append(
                Schedule(policy, callback.kwargs, callback.step_every == "batch", callback.monitor)
            )
        elif type(callback) is GradientNormClipping:
            if callback.gradient_clip_value is not None:
                clipping = (
                    float(callback.gradient_clip_value),
                    float(callback.gradient_clip_norm_type),
                )
        elif type(callback) is EarlyStopping:
            stoppings.append(
                Stopping(
                    callback.monitor,
                    callback.lower_is_better,
                    callback.threshold,
                    callback.threshold_mode == "rel",
                    callback.patience,
                    callback.load_best,
                )
            )
        elif type(callback) is Checkpoint:
            if callback.load_best:
                stoppings.append(_best_of(callback))
        elif _is_unknown(callback) and _acts(callback, "on_batch", "on_grad"):
            raise RefusedTrainingError(
                f"The callback {type(callback).__name__} acts on each step of the training, and "
                "what it does there is not known. Leave it out, or pass the trained module, "
                "net.module_, which is then explained as if it had been trained without it."
            )
    watched = [each.monitor for each in stoppings]
    watched += [each.monitor for each in schedules if each.policy is ReduceLROnPlateau]
    for monitor in watched:
        if monitor not in _MONITORS:
            raise NotReplayableError(
                f"the training watches {monitor!r}; known are {', '.join(_MONITORS)}"
            )
    if len(stoppings) > 1:
        first, second = stoppings[:2]
        same = first.monitor == second.monitor and first.lower_is_better == second.lower_is_better
        if len(stoppings) > 2 or not same or None not in (first.patience, second.patience):
            raise NotReplayableError("several callbacks stop the training or keep its best epoch")
        patient = first if first.patience is not None else second
        stoppings = [
            Stopping(
                patient.monitor,
                patient.lower_is_better,
                patient.threshold,
                patient.is_relative,
                patient.patience,
                keeps_best=True,
            )
        ]
    return tuple(schedules), clipping, stoppings[0] if stoppings else None


def _best_of(callback: Checkpoint) -> Stopping:
    """Return which epoch a checkpoint keeps."""
    monitor = callback.monitor
    if not isinstance(monitor, str) or not monitor.endswith("_best"):
        raise NotReplayableError(f"a Checkpoint watches {monitor!r}; known is 'valid_loss_best'")
    name = monitor.removesuffix("_best")
    return Stopping(name, lower_is_better=not name.endswith("acc"))


def _acts(callback: Any, *starts: str) -> bool:
    """Tell whether a callback has hooks with such names."""
    hooks = [name for name in dir(Callback) if name.startswith(starts)]
    return any(getattr(type(callback), name) is not getattr(Callback, name) for name in hooks)


def _read_split(
    net: NeuralNet, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None, tuple[np.ndarray, np.ndarray] | None]:
    """Return which rows are trained on, which are held back, and validation rows from outside."""
    n_rows = len(y)
    everything = np.ones(n_rows, dtype=bool)
    if not net.train_split:
        return everything, None, None
    # An index in the place of each row shows where the split puts it.
    dataset = Dataset(np.arange(n_rows), np.asarray(y))
    with keep_global_state():
        try:
            train, valid = net.train_split(dataset, np.asarray(y))
        except TypeError:
            train, valid = net.train_split(dataset)
    if not _holds_indices(train, n_rows):
        raise NotReplayableError("the net's train_split does not return a part of the given rows")
    trained = np.array([int(train[i][0]) for i in range(len(train))], dtype=int)
    is_trained_on = np.zeros(n_rows, dtype=bool)
    is_trained_on[trained] = True
    if len(trained) != is_trained_on.sum():
        raise NotReplayableError("the net's train_split repeats rows")
    if (np.diff(trained) < 0).any():
        raise NotReplayableError("the net's train_split changes the order of the rows")
    if valid is None:
        return is_trained_on, None, None
    if is_trained_on.all():
        pairs = [valid[i] for i in range(len(valid))]
        inputs, targets = (np.stack([np.asarray(pair[k]) for pair in pairs]) for k in (0, 1))
        return is_trained_on, None, (inputs, targets)
    held = np.array([int(valid[i][0]) for i in range(len(valid))], dtype=int)
    return is_trained_on, held, None


def _holds_indices(part: Any, n_rows: int) -> bool:
    try:
        first = np.asarray(part[0][0])
    except Exception:
        return False
    return first.ndim == 0 and first.dtype.kind in "iu" and 0 <= int(first) < n_rows


def _check_iterator(net: NeuralNet, n_rows: int) -> None:
    """Refuse loaders and samplers that are not known, or a sampler of other rows."""
    if net.iterator_train is not DataLoader:
        raise NotReplayableError(
            f"iterator_train is {getattr(net.iterator_train, '__name__', net.iterator_train)!r}, "
            "not torch's DataLoader"
        )
    params = net.get_params_for("iterator_train")
    if "batch_sampler" in params or params.get("batch_size", net.batch_size) is None:
        raise NotReplayableError("the net has a batch_sampler of its own")
    sampler = params.get("sampler")
    if isinstance(sampler, torch.utils.data.WeightedRandomSampler):
        if len(sampler.weights) != n_rows:
            raise NotReplayableError(
                f"the sampler has {len(sampler.weights)} weights for {n_rows} training rows"
            )
    elif sampler is not None and type(sampler) not in _SAMPLERS:
        raise NotReplayableError(f"the sampler {type(sampler).__name__} is not known")


def _acts_on_entries(net: NeuralNet) -> bool:
    """Tell whether the optimizer treats a stack of matrices as it treats each of them.

    Raises
    ------
    NotReplayableError
        If it cannot be stepped by gradients alone.
    """
    generator = torch.Generator().manual_seed(0)
    start, *gradients = torch.randn((4, 2, 3, 2), generator=generator)

    def stepped(parameters: list[torch.Tensor], gradients: Callable) -> list[torch.Tensor]:
        optimizer = optimizer_of(net, [(f"p{i}", p) for i, p in enumerate(parameters)])
        for step in range(3):
            for i, parameter in enumerate(parameters):
                parameter.grad = gradients(step, i).clone()
            optimizer.step()
        return [parameter.detach() for parameter in parameters]

    try:
        together = stepped([start.clone().requires_grad_()], lambda step, _: gradients[step])[0]
        alone = [
            stepped([start[k].clone().requires_grad_()], lambda step, _, k=k: gradients[step][k])
            for k in range(2)
        ]
    except Exception as error:
        raise NotReplayableError(
            f"the optimizer {net.optimizer.__name__} cannot be stepped by gradients alone ({error})"
        ) from error
    return torch.allclose(together, torch.stack([each[0] for each in alone]), rtol=1e-5)
