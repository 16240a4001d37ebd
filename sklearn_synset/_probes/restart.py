"""Restarting: training a network from new initial weights until it fits as the explained one."""

import math
from collections.abc import Iterator
from itertools import islice

import torch
from torch.func import grad, vmap

from sklearn_synset._curvature.power_iteration import largest_curvature_at
from sklearn_synset._network.functional_model import FunctionalModel, copy_module
from sklearn_synset._network.training_loss import row_loss
from sklearn_synset._retraining.batch_norm import absorbed, in_training, moments
from sklearn_synset._retraining.minibatches import minibatches, n_minibatches
from sklearn_synset._retraining.removal import MOMENTUM, mean_loss
from sklearn_synset._retraining.synset import Synset

_STEP_TIMES_LAYERS = 0.4  # over curvature, which rises more on the way, the deeper the network
_BATCHES_PER_EPOCH = 16
_SMALLEST_BATCH, _LARGEST_BATCH = 20, 100
_AVERAGING = 3
MAX_EPOCHS = 400  # what was learnt by heart takes long
_FIT_ENOUGH = 2.0  # times the loss of the explained network
_PATIENCE, _CLOSE = 80, 1.3  # after so many epochs, to be so close is the end
_ROUNDING = 1e-6
_SMALLEST_CURVATURE = 1e-6
_MORE_CURVED_BEFORE = 2.0


def restartable(model: FunctionalModel, X: torch.Tensor) -> FunctionalModel | None:
    """Return the network as it is in training, if new initial weights can be drawn for it.

    Parameters
    ----------
    model : FunctionalModel
        The trained network.

    X : Tensor of shape (n, d...)
        Rows.

    Returns
    -------
    network : FunctionalModel or None
        None if a layer with trained weights lacks torch's `reset_parameters`, or one keeps
        statistics of the rows, which belong to the weights that it has, and `in_training` does not
        know how to train it.
    """
    parts = dict(model.module.named_modules())
    owners = {name.rpartition(".")[0] for name in model.names}
    if not all(hasattr(parts[name], "reset_parameters") for name in owners):
        return None
    keeps = [getattr(part, "running_mean", None) is not None for part in parts.values()]
    return in_training(model, X) if any(keeps) else model


def initial_weights(model: FunctionalModel, seed: int) -> torch.Tensor:
    """Draw initial weights as the layers do when they are made.

    Parameters
    ----------
    model : FunctionalModel
        As `restartable` returns it.

    seed : int
        The same weights for the same seed, on any device.

    Returns
    -------
    theta : Tensor of shape (D,)
        Initial weights; what was not trained stays as it is.
    """
    module = copy_module(model.module).cpu()
    owners = {name.rpartition(".")[0] for name in model.names}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, part in module.named_modules():
            if name in owners:
                part.reset_parameters()
    drawn = dict(module.named_parameters())
    return torch.cat([drawn[name].detach().flatten() for name in model.names]).to(model.theta)


def restarts(
    model: FunctionalModel,
    rows: Synset,
    kept: torch.Tensor,
    generator: torch.Generator,
    *,
    n_restarts: int = 1,
    max_epochs: int = MAX_EPOCHS,
    n_networks: int = 16,
) -> tuple[torch.Tensor, Iterator[torch.Tensor]] | None:
    r"""Train networks with and without some groups from the same new initial weights.

    Parameters
    ----------
    model : FunctionalModel
        As `restartable` returns it.

    rows : Synset
        The training rows.

    kept : Tensor of shape (P, K)
        For each network, 1 for the groups that it is trained on.

    generator : torch.Generator
        On the CPU; draws the initial weights and the order of the rows.

    n_restarts : int, default=1
        Initial weights S to draw.

    max_epochs : int, default=400
        The most passes over the rows.

    n_networks : int, default=16
        Networks to train side by side.

    Returns
    -------
    before : Tensor of shape (S, D)
        Weights of networks that are trained on all groups.

    networks : iterator of Tensor of shape (b, D)
        Weights of those without some, a few at a time: all P from the first initial weights, then
        from the second. Statistics of batch normalisations are put into the weights, see
        `absorbed`. None in the place of both if the loss with all groups, mean over S, does
        not come down to twice that of the explained network: it was then trained in another way.

    Notes
    -----
    Minibatch descent with Nesterov momentum and a polynomial-decay average of the weights [1]_,
    for as many epochs as it takes until the networks with all groups fit the rows as the explained
    one does, or, from 80 epochs on, have a loss of at most 1.3 times its. Steps are 0.2 over the
    largest curvature (at the first initial weights, the trained ones and their mean), and shorter
    with more than two layers: effects come out too small with much shorter steps, and too large
    with longer ones. With batch normalisation minibatches have 100 rows, or statistics would be
    those of few, and the curvature is twice that of the trained weights and a quarter of the way
    back: it depends on the scale of weights, which soon is another one than at the start.

    References
    ----------
    .. [1] Shamir, Zhang, "Stochastic gradient descent for non-smooth optimization: convergence
       results and optimal averaging schemes", ICML 2013, section 4.
    """
    seeds = torch.randint(2**31, (n_restarts,), generator=generator).tolist()
    starts = torch.stack([initial_weights(model, seed) for seed in seeds])
    step_size = _step_size(model, rows, starts[0], generator)
    goal = _data_loss(model, rows, model.theta)
    best: tuple[float, int, torch.Tensor] | None = None
    everything = rows.group_size.new_ones(n_restarts, rows.n_groups)
    epochs = _averaged_descent(model, rows, everything, starts, step_size, seeds[0])
    for epoch, reached in enumerate(islice(epochs, max_epochs), 1):
        loss = sum(_data_loss(model, rows, theta) for theta in reached) / n_restarts
        if not math.isfinite(loss):
            break
        if best is None or loss < best[0]:
            best = loss, epoch, reached
        if loss <= goal * (1.0 if epoch < _PATIENCE else _CLOSE):
            break
    if best is None or best[0] > _FIT_ENOUGH * goal + _ROUNDING:
        return None
    _, n_epochs, before = best

    def finished(theta: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        if not model.live_norms:
            return theta
        weight = rows.weight * own[:, rows.group]
        return absorbed(model, theta, moments(model, theta, rows.X, weight))

    def networks() -> Iterator[torch.Tensor]:
        pairs = torch.cartesian_prod(torch.arange(n_restarts), torch.arange(len(kept)))
        for part in pairs.split(n_networks):
            start, own = starts[part[:, 0]], kept[part[:, 1]]
            paths = _averaged_descent(model, rows, own, start, step_size, seeds[0])
            yield finished(next(islice(paths, n_epochs - 1, None)), own)

    return finished(before, everything), networks()


def _data_loss(model: FunctionalModel, rows: Synset, theta: torch.Tensor) -> float:
    """Return the mean loss of the rows, without penalties."""
    with torch.no_grad():
        loss = row_loss(model, model(theta, rows.X, rows.weight), rows.y)
        return float((rows.weight * loss).sum() / rows.weight.sum())


def _step_size(
    model: FunctionalModel, rows: Synset, start: torch.Tensor, generator: torch.Generator
) -> float:
    everything = torch.ones_like(rows.group_size)

    def loss(theta: torch.Tensor) -> torch.Tensor:
        return mean_loss(model, rows, 0.0, theta, everything)

    shares = (0.25, 0.0) if model.live_norms else (1.0, 0.5, 0.0)
    points = [torch.lerp(model.theta, start, share) for share in shares]
    curvature = max(_SMALLEST_CURVATURE, largest_curvature_at(points, loss, generator))
    if model.live_norms:
        curvature *= _MORE_CURVED_BEFORE
    n_layers = sum(len(shape) > 1 for shape in model.shapes)
    return _STEP_TIMES_LAYERS / max(2, n_layers) / curvature


def _averaged_descent(
    model: FunctionalModel,
    rows: Synset,
    kept: torch.Tensor,
    starts: torch.Tensor,
    step_size: float,
    seed: int,
) -> Iterator[torch.Tensor]:
    r"""Yield the averaged weights (P, D) of networks with some groups (P, K) after each epoch.

    They start at (P, D) and see the rows in the same order. After step t the average moves by
    :math:`(\eta + 1) / (\eta + t)` of the way to the weights, with :math:`\eta = 3`.
    """
    smallest = _LARGEST_BATCH if model.live_norms else _SMALLEST_BATCH
    size = min(max(len(rows.weight) // _BATCHES_PER_EPOCH, smallest), _LARGEST_BATCH)
    n_batches = n_minibatches(rows, size)
    theta = average = starts
    velocity = torch.zeros_like(theta)
    gradients = vmap(grad(_batch_objective, argnums=2), (None, None, 0, 0))
    for step, batch in enumerate(minibatches(rows, seed, size, is_even=False), 1):
        downhill = gradients(model, batch, theta + MOMENTUM * velocity, kept)
        velocity = MOMENTUM * velocity - step_size * downhill
        theta = theta + velocity
        average = torch.lerp(average, theta, (_AVERAGING + 1) / (_AVERAGING + step))
        if step % n_batches == 0:
            yield average


def _batch_objective(
    model: FunctionalModel, batch: Synset, theta: torch.Tensor, kept: torch.Tensor
) -> torch.Tensor:
    """Return the mean loss of the rows of a minibatch that are kept, and the weight decay."""
    weight = batch.weight * kept[batch.group]
    loss = (weight * row_loss(model, model(theta, batch.X, weight), batch.y)).sum()
    total = weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)
    return loss / total + 0.5 * model.weight_decay * theta.square().sum()
