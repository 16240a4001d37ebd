"""Training networks with and without groups as the explained network was trained."""

from collections.abc import Iterator

import torch

from sklearn_synset._network.recipe import Recipe, Stopping
from sklearn_synset._replay.optimizers import StackedOptimizer
from sklearn_synset._replay.row_order import epochs_of_synset, epochs_of_training
from sklearn_synset._replay.rows import ReplayedRows
from sklearn_synset._replay.stacked_network import StackedNetwork
from sklearn_synset._runtime.torch_interop import keep_global_state

_FEWEST_TO_DROP = 4


def replay(recipe: Recipe, rows: ReplayedRows, kept: torch.Tensor, seed: int) -> StackedNetwork:
    """Train one network for each choice of groups, all from the same seed.

    Parameters
    ----------
    recipe : Recipe
        How.

    rows : ReplayedRows
        On what.

    kept : Tensor of shape (R, K)
        For each network, 1 for the groups that it is trained on.

    seed : int
        Of the initial weights, the order of the rows, and the dropout masks, which all networks
        share.

    Returns
    -------
    networks : StackedNetwork
        R trained networks.

    Notes
    -----
    A row that was left out keeps its place in the minibatches, with weight 0. On the training rows
    with nothing left out this is what `net.fit` does from the same seed, up to rounding.
    """
    with keep_global_state(seed), torch.enable_grad():
        net = recipe.initialised()
        module = net.module_.to(dtype=rows.targets.dtype)
        networks = StackedNetwork(module, len(kept), rows.shaped(rows.X[:2]))
        if rows.is_training_data:
            epochs = epochs_of_training(recipe)
        else:
            epochs = epochs_of_synset(recipe, len(rows.weight))
        optimizer = StackedOptimizer(recipe, networks.parameters)
        weight = kept[:, rows.group] * rows.weight
        watch = None if recipe.stopping is None else _Watch(recipe.stopping, len(kept))
        alive = torch.arange(len(kept))
        for _ in range(recipe.n_epochs):
            train_loss = _train_one_epoch(
                recipe, rows, networks, optimizer, next(epochs), weight[alive]
            )
            watched = _watched(recipe, rows, networks, kept[alive], train_loss)
            if watch is not None:
                watch.look_at(watched, alive, networks)
            optimizer.end_epoch(watched)
            if watch is None:
                continue
            goes_on = watch.goes_on[alive]
            if not goes_on.any():
                break
            if optimizer.can_take and (~goes_on).sum() >= min(_FEWEST_TO_DROP, len(goes_on)):
                state = {name: value[goes_on] for name, value in networks.state().items()}
                networks.load(state)
                optimizer.take(goes_on, networks.parameters)
                alive = alive[goes_on]
        if watch is not None:
            networks.load(watch.kept_weights(alive, networks))
        return networks


def _train_one_epoch(
    recipe: Recipe,
    rows: ReplayedRows,
    networks: StackedNetwork,
    optimizer: StackedOptimizer,
    batches: Iterator[torch.Tensor],
    weight: torch.Tensor,
) -> torch.Tensor:
    """Take the steps of an epoch; return the mean loss (R,) of its minibatches."""
    total, n_seen = torch.zeros(len(weight)), 0
    parameters = list(networks.parameters.values())
    for batch in batches:
        own = weight[:, batch]
        outputs = networks.training_outputs(rows.shaped(rows.X[batch]), own)
        loss = recipe.loss.mean(outputs, rows.targets[batch], own)
        gradients = torch.autograd.grad(loss.sum(), parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            # Steps in one operation take gradients for contiguous.
            parameter.grad = None if gradient is None else gradient.contiguous()
        optimizer.step()
        total += len(batch) * loss.detach()
        n_seen += len(batch)
    return total / max(1, n_seen)


def _watched(
    recipe: Recipe,
    rows: ReplayedRows,
    networks: StackedNetwork,
    kept: torch.Tensor,
    train_loss: torch.Tensor,
) -> dict[str, torch.Tensor]:
    """Return what schedules and early stopping look at, (R,) each."""
    found = {"train_loss": train_loss}
    looks = [each.monitor for each in recipe.schedules]
    if recipe.stopping is not None:
        looks.append(recipe.stopping.monitor)
    if rows.valid_X is None or not any(name.startswith("valid") for name in looks):
        return found
    assert rows.valid_targets is not None and rows.valid_group is not None
    outputs = networks.outputs(rows.shaped(rows.valid_X))
    everyone = torch.cat([kept, torch.ones_like(kept[:, :1])], dim=1)  # group -1 is in no group
    weight = everyone[:, rows.valid_group]
    found["valid_loss"] = recipe.loss.mean(outputs, rows.valid_targets, weight)
    if outputs.shape[-1] == rows.valid_targets.shape[-1]:
        right = outputs.argmax(-1) == rows.valid_targets.argmax(-1)
    else:
        right = (outputs[..., 0] > 0) == (rows.valid_targets.argmax(-1) > 0)
    found["valid_acc"] = (weight * right).sum(1) / weight.sum(1).clamp(min=1)
    return found


class _Watch:
    """Early stopping of each network by itself, as skorch's callback does it."""

    def __init__(self, stopping: Stopping, n_networks: int) -> None:
        self.stopping = stopping
        worst = torch.inf if stopping.lower_is_better else -torch.inf
        self.limit = torch.full((n_networks,), worst, dtype=torch.float64)
        self.n_misses = torch.zeros(n_networks, dtype=torch.long)
        self.goes_on = torch.ones(n_networks, dtype=torch.bool)
        self.weights: dict[str, torch.Tensor] = {}

    def look_at(
        self, watched: dict[str, torch.Tensor], alive: torch.Tensor, networks: StackedNetwork
    ) -> None:
        """Note which networks got better in this epoch, and which stop."""
        score = watched[self.stopping.monitor].double()
        limit = self.limit[alive]
        is_better = score < limit if self.stopping.lower_is_better else score > limit
        is_better &= self.goes_on[alive]
        change = self.stopping.threshold * (score if self.stopping.is_relative else 1.0)
        new_limit = score - change if self.stopping.lower_is_better else score + change
        self.limit[alive] = torch.where(is_better, new_limit, limit)
        self.n_misses[alive] = torch.where(is_better, 0, self.n_misses[alive] + 1)
        stops = torch.zeros_like(is_better)
        if self.stopping.patience is not None:
            stops = self.goes_on[alive] & (self.n_misses[alive] >= self.stopping.patience)
        self._store(is_better if self.stopping.keeps_best else stops, alive, networks)
        self.goes_on[alive[stops]] = False

    def _store(self, chosen: torch.Tensor, alive: torch.Tensor, networks: StackedNetwork) -> None:
        state = networks.state()
        if not self.weights:
            n_networks = len(self.limit)
            self.weights = {
                name: value.new_empty(n_networks, *value.shape[1:]) for name, value in state.items()
            }
        for name, value in state.items():
            self.weights[name][alive[chosen]] = value[chosen]

    def kept_weights(
        self, alive: torch.Tensor, networks: StackedNetwork
    ) -> dict[str, torch.Tensor]:
        """Return the weights that the trainings end with."""
        if not self.stopping.keeps_best:
            self._store(self.goes_on[alive], alive, networks)
        elif not self.weights:
            return networks.state()
        return self.weights
