"""Training networks with and without groups as the explained network was trained."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from sklearn_synset._network.plain.plain_layers import with_plain_layers
from sklearn_synset._network.recipe import Recipe, Stopping
from sklearn_synset._replay.course import Course
from sklearn_synset._replay.network_graph import graphs_of
from sklearn_synset._replay.operation_rules import UnknownOperationError
from sklearn_synset._replay.optimizers import StackedOptimizer
from sklearn_synset._replay.row_order import epochs_of_synset, epochs_of_training
from sklearn_synset._replay.rows import ReplayedRows
from sklearn_synset._replay.stacked_network import StackedNetwork
from sklearn_synset._runtime.torch_interop import keep_global_state

_FEWEST_TO_DROP = 4


def replay(
    recipe: Recipe,
    rows: ReplayedRows,
    blocks: list[tuple[int, torch.Tensor]],
    course: Course | None = None,
) -> StackedNetwork:
    """Train one network for each choice of groups.

    Parameters
    ----------
    recipe : Recipe
        How.

    rows : ReplayedRows
        On what.

    blocks : list of tuple
        Networks that share a seed, and so their initial weights, the order of the rows and the
        dropout masks: the seed, and for each network 1 for the groups that it is trained on,
        (R, K), or a weight. Several only where `can_mix_seeds`.

    course : Course, default=None
        Keeps the weights of all networks after some epochs.

    Returns
    -------
    networks : StackedNetwork
        The trained networks of all blocks.

    Raises
    ------
    UnknownOperationError
        If there are several blocks, and an operation of the networks has no rule.

    Notes
    -----
    A row that was left out keeps its place in the minibatches, with weight 0. On the training rows
    with nothing left out this is what `net.fit` does from the same seed, up to rounding.
    """
    with keep_global_state(), torch.enable_grad():
        # Steps are short: beside other work, two threads take many times as long as one.
        torch.set_num_threads(1)
        started = [_Block(recipe, rows, seed, len(kept)) for seed, kept in blocks]
        kept = torch.cat([each for _, each in blocks])
        networks = StackedNetwork(
            [(block.module, block.n_networks) for block in started], rows.shaped(rows.X[:2])
        )
        if len(blocks) > 1 and not networks.is_graph:
            raise UnknownOperationError("networks from several seeds cannot be one stack")
        order = _Order(started)
        optimizer = StackedOptimizer(recipe, networks.parameters)
        weight = kept[:, rows.group] * rows.weight
        watch = None if recipe.stopping is None else _Watch(recipe.stopping, len(kept))
        alive = torch.arange(len(kept))
        for _ in range(recipe.n_epochs):
            train_loss = _train_one_epoch(recipe, rows, networks, optimizer, order, weight[alive])
            watched = _watched(recipe, rows, networks, kept[alive], train_loss)
            if watch is not None:
                watch.look_at(watched, alive, networks)
            optimizer.end_epoch(watched)
            if course is not None:
                course.end_epoch(networks.state(), alive)
            if watch is None:
                continue
            goes_on = watch.goes_on[alive]
            if not goes_on.any():
                break
            if optimizer.can_take and (~goes_on).sum() >= min(_FEWEST_TO_DROP, len(goes_on)):
                state = {name: value[goes_on] for name, value in networks.state().items()}
                networks.load(state)
                optimizer.take(goes_on, networks.parameters)
                alive, order.block_of = alive[goes_on], order.block_of[goes_on]
        if watch is not None:
            networks.load(watch.kept_weights(alive, networks))
        return networks


def can_mix_seeds(recipe: Recipe, X: torch.Tensor) -> bool:
    """Tell whether networks from several seeds can be one stack.

    Parameters
    ----------
    recipe : Recipe
        How networks are trained.

    X : Tensor of shape (2, d...)
        Rows as the module takes them.

    Returns
    -------
    can : bool
        If each operation of the networks has a rule, and one optimizer trains them.
    """
    if recipe.needs_own_optimizers:
        return False
    with keep_global_state(0), torch.enable_grad():
        module = recipe.initialised().module_
        names = {name for name, each in module.named_parameters() if each.requires_grad}
        return graphs_of(module, names, X) is not None


class _Block:
    """Where networks of one seed start, and the minibatches that they see."""

    def __init__(self, recipe: Recipe, rows: ReplayedRows, seed: int, n_networks: int) -> None:
        self.n_networks = n_networks
        with keep_global_state(seed):
            module = recipe.initialised().module_.to(dtype=rows.targets.dtype)
            self.module = with_plain_layers(module)
            self._state = torch.get_rng_state()
        if rows.is_training_data:
            self._epochs = epochs_of_training(recipe)
        else:
            self._epochs = epochs_of_synset(recipe, len(rows.weight))

    def next_epoch(self) -> list[torch.Tensor]:
        """Return the minibatches (b,) of the next epoch."""
        return next(self._epochs)

    @contextmanager
    def own_generator(self) -> Iterator[None]:
        """Draw from where the block's random numbers are."""
        torch.set_rng_state(self._state)
        yield
        self._state = torch.get_rng_state()


class _Order:
    """The minibatches of several blocks, side by side."""

    def __init__(self, blocks: list[_Block]) -> None:
        self.blocks = blocks
        sizes = torch.tensor([block.n_networks for block in blocks])
        self.block_of = torch.repeat_interleave(torch.arange(len(blocks)), sizes)

    def epoch(self) -> Iterator[torch.Tensor]:
        """Yield positions (S, b) of the rows that each of S blocks sees."""
        if len(self.blocks) == 1:
            # Other random numbers are drawn in between, from the same generator.
            with self.blocks[0].own_generator():
                for batch in self.blocks[0].next_epoch():
                    yield batch[None]
            return
        by_block = []
        for block in self.blocks:
            with block.own_generator():
                by_block.append(block.next_epoch())
        for batches in zip(*by_block, strict=True):
            yield torch.stack(batches)

    @property
    def sizes(self) -> list[int]:
        """Networks in each block."""
        return torch.bincount(self.block_of, minlength=len(self.blocks)).tolist()

    def draw(self, make: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Return what a function draws from the generator of each block, (S, ...)."""
        if len(self.blocks) == 1:
            return make()[None]
        found = []
        for block in self.blocks:
            with block.own_generator():
                found.append(make())
        return torch.stack(found)


def _train_one_epoch(
    recipe: Recipe,
    rows: ReplayedRows,
    networks: StackedNetwork,
    optimizer: StackedOptimizer,
    order: _Order,
    weight: torch.Tensor,
) -> torch.Tensor:
    """Take the steps of an epoch; return the mean loss (R,) of its minibatches."""
    total, n_seen = torch.zeros(len(weight)).to(weight), 0
    parameters = list(networks.parameters.values())
    sizes = order.sizes
    for batch in order.epoch():
        X = rows.shaped(rows.X[batch.flatten()]).unflatten(0, batch.shape)
        seen = batch[0] if len(sizes) == 1 else batch[order.block_of]
        own = weight[:, seen] if len(sizes) == 1 else weight.gather(1, seen)
        outputs = networks.training_outputs(X, own, sizes, order.draw)
        if rows.sample_weight is not None:
            own = own * rows.sample_weight[seen]
        loss = recipe.loss.mean(outputs, rows.targets[seen], own)
        gradients = torch.autograd.grad(loss.sum(), parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            # Steps in one operation take gradients for contiguous.
            parameter.grad = None if gradient is None else gradient.contiguous()
        optimizer.step()
        total += batch.shape[-1] * loss.detach()
        n_seen += batch.shape[-1]
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
        score = watched[self.stopping.monitor].double().cpu()
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
