"""A usual training, for networks of which it is not known how they were trained."""

import math
from dataclasses import replace

import torch
from skorch import NeuralNet, NeuralNetClassifier
from skorch.callbacks import LRScheduler

from sklearn_synset._curvature.power_iteration import largest_curvature_at
from sklearn_synset._data.training_data import TrainingRows
from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._network.recipe import NotReplayableError, Recipe, Schedule
from sklearn_synset._replay.replay import replay
from sklearn_synset._replay.rows import replayed_training_rows
from sklearn_synset._retraining.removal import mean_loss
from sklearn_synset._retraining.row_sample import sample_of_rows
from sklearn_synset._retraining.synset import Synset, data_loss
from sklearn_synset._runtime.torch_interop import keep_global_state
from sklearn_synset._wrapping.read_recipe import ResetModule, read_recipe

_STEP_TIMES_LAYERS = 0.8  # over curvature, which rises more during training, the deeper the network
_SMALLEST_CURVATURE = 1e-6
_BATCH_SIZE, _MOST_ROWS = 32, 2000
_PROBABILITIES = ("probability", "softmax")
_EPOCHS = (15, 30)  # more cost more than they gain
_FIT_ENOUGH, _ROUNDING = 1.2, 1e-6  # times the loss of the explained network


def generic_recipe(model: FunctionalModel, rows: TrainingRows, seed: int) -> Recipe | str:
    r"""Find a usual training after which a network fits its rows as the explained one does.

    Parameters
    ----------
    model : FunctionalModel
        The explained network.

    rows : TrainingRows
        The training rows.

    seed : int
        Of the trainings that are tried.

    Returns
    -------
    recipe : Recipe or str
        Or why there is none.

    Notes
    -----
    Stochastic gradient descent on minibatches of 32 rows with Nesterov momentum 0.9, the weight
    decay that is given, and a step that falls as half a cosine from 0.8 over the largest curvature
    and the number of layers; for 15 epochs, or 30 where the loss is not by then at
    most 1.2 times that of the explained network.
    """
    generator = torch.Generator().manual_seed(seed)
    sample = sample_of_rows(rows, _MOST_ROWS, generator)
    try:
        recipe = _recipe(model, _step_size(model, sample, seed), len(rows.X))
    except NotReplayableError as reason:
        return str(reason)
    replayed = replayed_training_rows(model, recipe, rows)
    everything = torch.ones(1, sample.n_groups).to(sample.weight)
    goal = _loss(model, sample, model.theta)
    for n_epochs in _EPOCHS:
        tried = _of_length(recipe, n_epochs)
        networks = replay(tried, replayed, [(seed, everything)])
        theta = [networks.parameters[name].detach().flatten() for name in model.names]
        loss = _loss(model, sample, torch.cat(theta))
        if not math.isfinite(loss):
            return "a usual training of the network diverges"
        if loss <= _FIT_ENOUGH * goal + _ROUNDING:
            break
    return tried


def usual_recipe(model: FunctionalModel, *, step_size: float, n_rows: int, n_epochs: int) -> Recipe:
    """Return a usual training of a network.

    Parameters
    ----------
    model : FunctionalModel
        The explained network.

    step_size : float
        The first step.

    n_rows, n_epochs : int
        Rows that are trained on, and passes over them.

    Returns
    -------
    recipe : Recipe
        As `generic_recipe` describes it.

    Raises
    ------
    NotReplayableError
        If new initial weights cannot be drawn.
    """
    return _of_length(_recipe(model, step_size, n_rows), n_epochs)


def _loss(model: FunctionalModel, sample: Synset, theta: torch.Tensor) -> float:
    """Return the mean loss of some rows, without penalties."""
    everything = torch.ones_like(sample.group_size)
    with torch.no_grad():
        return float(data_loss(model, sample, theta, everything))


def _recipe(model: FunctionalModel, step_size: float, n_rows: int) -> Recipe:
    """Return the recipe with any number of epochs."""
    module = model.copied_module().requires_grad_(False)
    for name in model.names:
        module.get_parameter(name).requires_grad_()
    is_probability = model.link in _PROBABILITIES
    kind = NeuralNetClassifier if is_probability else NeuralNet
    net = kind(
        ResetModule(module),
        criterion=_criterion(model),
        optimizer=torch.optim.SGD,
        optimizer__momentum=0.9,
        optimizer__nesterov=True,
        optimizer__weight_decay=model.weight_decay,
        lr=step_size,
        batch_size=_BATCH_SIZE,
        iterator_train__shuffle=True,
        train_split=None,
        callbacks__print_log=None,
        verbose=0,
        device=str(model.device),
    )
    with keep_global_state():
        net.initialize()
    # Every row may be trained on, whatever its label.
    return read_recipe(net, torch.zeros(n_rows).numpy(), link=model.link, n_outputs=model.n_outputs)


def _of_length(recipe: Recipe, n_epochs: int) -> Recipe:
    """Return the recipe with so many epochs, and a schedule that ends with them."""
    schedule = LRScheduler("CosineAnnealingLR", T_max=n_epochs)
    policy = schedule._get_policy_cls()
    own = Schedule(policy, schedule.kwargs, is_by_batch=False)
    return replace(recipe, n_epochs=n_epochs, schedules=(own,))


def _criterion(model: FunctionalModel) -> type[torch.nn.Module]:
    if model.loss == "squared_error":
        return torch.nn.MSELoss
    if model.link == "single_logit" or model.loss == "binary_cross_entropy":
        return torch.nn.BCEWithLogitsLoss
    if model.link == "sigmoid":
        return torch.nn.BCELoss
    return torch.nn.NLLLoss if model.link in _PROBABILITIES else torch.nn.CrossEntropyLoss


def _step_size(model: FunctionalModel, synset: Synset, seed: int) -> float:
    """Return the first step, from the curvature at new, at trained and at mean weights."""
    with keep_global_state(seed):
        module = ResetModule(model.copied_module())()
    drawn = dict(module.named_parameters())
    start = torch.cat([drawn[name].detach().flatten() for name in model.names]).to(model.theta)
    everything = torch.ones_like(synset.group_size)

    def loss(theta: torch.Tensor) -> torch.Tensor:
        return mean_loss(model, synset, 0.0, theta, everything)

    points = [torch.lerp(model.theta, start, share) for share in (1.0, 0.5, 0.0)]
    generator = torch.Generator().manual_seed(seed)
    curvature = max(_SMALLEST_CURVATURE, largest_curvature_at(points, loss, generator))
    n_layers = sum(len(shape) > 1 for shape in model.shapes)
    return _STEP_TIMES_LAYERS / max(2, n_layers) / curvature
