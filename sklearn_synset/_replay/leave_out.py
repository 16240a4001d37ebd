"""Leaving groups out of the training that was really done, and what that does to the weights."""

import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from tqdm.auto import tqdm

from sklearn_synset._data.training_data import TrainingRows
from sklearn_synset._network.functional_model import FunctionalModel, linked
from sklearn_synset._network.norm_of_the_batch import Moments
from sklearn_synset._network.operation_count import cost_of_gradient, widest_output
from sklearn_synset._network.recipe import Recipe
from sklearn_synset._objective.network_set import NetworkSet, joined
from sklearn_synset._replay.course import Course
from sklearn_synset._replay.lift import centred, lifted, n_lifted_rows
from sklearn_synset._replay.operation_rules import UnknownOperationError
from sklearn_synset._replay.replay import can_mix_seeds, replay
from sklearn_synset._replay.rows import (
    ReplayedRows,
    in_no_group,
    replayed_synset,
    replayed_training_rows,
)
from sklearn_synset._replay.stacked_network import STATISTICS, StackedNetwork
from sklearn_synset._retraining.batch_norm import absorbed, in_training
from sklearn_synset._retraining.synset import Synset
from sklearn_synset._runtime.parallel import in_parallel
from sklearn_synset._runtime.torch_interop import plain_attention

_WEIGHT_BYTES, _COPIES_OF_WEIGHTS = 2**28, 8
_MOST_OUTPUTS = 2**25
_OPERATIONS_PER_JOB = 5e10  # some seconds
_MOST_MIXED = 4e7  # multiplications of a step: more take longer to run than to start
_SAME = 0.05  # of the spread of the outputs


@dataclass(frozen=True, eq=False)
class ReplayPlan:
    """How one network's training is repeated without groups.

    Parameters
    ----------
    recipe : Recipe
        How it was trained.

    seeds : tuple of int
        Of the trainings that are repeated. The first is that of the network itself where it is
        known, and it was trained on these rows.

    rows : ReplayedRows
        What is trained on.

    lifted_X : Tensor of shape (m, d...)
        Rows on which outputs are compared.

    n_jobs : int or None
        Jobs to run at once.

    verbose : int
        Shows a progress bar if positive.

    is_generic : bool, default=False
        Whether the training is a usual one, as that of the network is not known.
    """

    recipe: Recipe
    seeds: tuple[int, ...]
    rows: ReplayedRows
    lifted_X: torch.Tensor
    n_jobs: int | None = None
    verbose: int = 0
    is_generic: bool = False

    def displacements(
        self,
        model: FunctionalModel,
        kept: torch.Tensor,
        stage: str | None = None,
        rewound: torch.Tensor | None = None,
    ) -> torch.Tensor:
        r"""Return how leaving groups out moves the weights of the explained network.

        Parameters
        ----------
        model : FunctionalModel
            The explained network.

        kept : Tensor of shape (R, K)
            1 for the groups that are kept.

        stage : str, default=None
            What a progress bar calls it; there is none if None.

        rewound : Tensor of shape (R, D), default=None
            Displacements from rewound weights. The changes of outputs are then the mean of
            those of replay and of these, both given the geometric mean of their sizes.

        Returns
        -------
        displacement : Tensor of shape (R, D)
            With it, outputs change as they do, mean over the seeds, between a training on all
            groups and one without some; exactly 0 where nothing is left out.

        Raises
        ------
        FloatingPointError
            If a repeated training diverges.
        """
        return self.displacements_and_others(model, kept, [], stage, rewound)[0]

    def displacements_and_others(
        self,
        model: FunctionalModel,
        kept: torch.Tensor,
        others: list[tuple[int, torch.Tensor]],
        stage: str | None = None,
        rewound: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, list[NetworkSet]]:
        """Return the displacements, and other networks that are trained beside.

        Parameters
        ----------
        model, kept, stage, rewound
            As of `displacements`.

        others : list of tuple
            Blocks of networks as of `blocks`.

        Returns
        -------
        displacement : Tensor of shape (R, D)
            As of `displacements`.

        networks : list of NetworkSet
            The other networks, block by block.
        """
        own = torch.cat([torch.ones_like(kept[:1]), kept])
        blocks = [*((seed, own) for seed in self.seeds), *others]
        found = self.blocks(model, blocks, self.lifted_X, stage)
        change: torch.Tensor | float = 0.0
        start = model.theta.new_zeros(len(kept), model.n_parameters)
        whole = []
        for seed in self.seeds:
            trained, outputs = next(found)
            outputs = centred(model, outputs)
            whole.append(outputs[0])
            change = change + (outputs[1:] - outputs[:1]) / len(self.seeds)
            if self._is_own(model, seed, outputs[0]):
                start = self._moves(model, trained).to(start) / len(self.seeds)
        if not self.is_generic and self.rows.is_training_data:
            self._warn_if_other(model, whole)
        if rewound is not None:
            change, start = self._mixed(model, change, rewound)  # type: ignore[arg-type]
        displacement = lifted(model, self.lifted_X, change, start)  # type: ignore[arg-type]
        displacement[kept.bool().all(1)] = 0
        return displacement, [networks for networks, _ in found]

    def networks(
        self,
        model: FunctionalModel,
        kept: torch.Tensor,
        X: torch.Tensor,
        stage: str | None = None,
        n_moments: int = 0,
    ) -> Iterator[tuple[NetworkSet, torch.Tensor]]:
        """Train networks on some groups, from each seed.

        Parameters
        ----------
        model : FunctionalModel
            The explained network.

        kept : Tensor of shape (R, K)
            1 for the groups that are trained on.

        X : Tensor of shape (m, d...)
            Rows to evaluate.

        stage : str, default=None
            What a progress bar calls it.

        n_moments : int, default=0
            At how many moments of the training to keep the networks.

        Yields
        ------
        networks : NetworkSet
            R networks from the next seed.

        outputs : Tensor of shape (R, m, C)
            Their outputs in evaluation mode, as of `model`.
        """
        return self.blocks(model, [(seed, kept) for seed in self.seeds], X, stage, n_moments)

    def blocks(
        self,
        model: FunctionalModel,
        blocks: list[tuple[int, torch.Tensor]],
        X: torch.Tensor,
        stage: str | None = None,
        n_moments: int = 0,
    ) -> Iterator[tuple[NetworkSet, torch.Tensor]]:
        """Train networks on some groups, other ones from each seed.

        Parameters
        ----------
        model, X, stage, n_moments
            As of `networks`.

        blocks : list of tuple
            Seed, and the groups (R, K) that each of its networks is trained on.

        Yields
        ------
        networks, outputs
            As of `networks`, for each block.
        """
        n_at_once, n_networks = self.n_at_once(model), sum(len(kept) for _, kept in blocks)
        n_small = self.recipe.batch_size * model.n_parameters * n_networks
        is_mixed = (
            len(blocks) > 1
            and n_networks <= n_at_once
            and n_small <= _MOST_MIXED
            and can_mix_seeds(self.recipe, self.rows.shaped(self.rows.X[:2]))
        )
        if is_mixed:
            jobs = [blocks]
        else:
            jobs = [[(seed, part)] for seed, own in blocks for part in own.split(n_at_once)]
        is_long = self.n_operations(model, n_networks) > _OPERATIONS_PER_JOB
        found = in_parallel(
            _replayed,
            [(self, model, job, X, n_moments) for job in jobs],
            n_jobs=self.n_jobs,
            is_worth_it=is_long and len(jobs) > 1,
        )
        hidden = stage is None or not self.verbose
        with tqdm(total=n_networks, desc=stage, unit="network", disable=hidden) as progress:
            ready: list[tuple[NetworkSet, torch.Tensor]] = []
            for _, kept in blocks:
                while sum(len(networks) for networks, _ in ready) < len(kept):
                    ready += next(found)
                    progress.update(len(ready[-1][0]))
                own, ready = (ready, []) if not is_mixed else (ready[:1], ready[1:])
                yield joined([each for each, _ in own]), torch.cat([each for _, each in own])

    def n_at_once(self, model: FunctionalModel) -> int:
        """Return how many networks to train side by side within the memory that is meant."""
        weights = model.n_parameters * model.theta.element_size() * _COPIES_OF_WEIGHTS
        outputs = self.recipe.batch_size * widest_output(model, self.rows.X)
        return max(1, min(_WEIGHT_BYTES // weights, _MOST_OUTPUTS // outputs))

    def n_operations(self, model: FunctionalModel, n_networks: int) -> float:
        """Return about how many operations it takes to train so many networks."""
        return float(n_networks * self.recipe.n_rows_seen) * cost_of_gradient(model, self.rows.X)

    def _warn_if_other(self, model: FunctionalModel, whole: list[torch.Tensor]) -> None:
        """Warn if trainings with nothing left out give other networks than the explained one.

        Parameters
        ----------
        model : FunctionalModel
            The explained network.

        whole : list of Tensor of shape (m, C)
            Outputs of a network with nothing left out, from each seed.
        """
        if len(whole) < 2:
            return
        with torch.no_grad():
            explained = centred(model, model(model.theta, self.lifted_X))
        between, to_explained = whole[1] - whole[0], whole[0] - explained
        limit = 0.5 if self.seeds[0] == self.recipe.seed else 2.0
        rounding = torch.finfo(explained.dtype).eps ** 0.5 * explained.square().mean().sqrt()
        spread = between.square().mean().sqrt()
        if spread <= rounding or to_explained.square().mean().sqrt() <= limit * spread:
            return
        named = ", ".join(self.recipe.not_repeated)
        cause = (
            f" Not repeated are the callbacks {named}."
            if named
            else (" Rows that change at random, or a module that keeps a state, are not repeated.")
        )
        warnings.warn(
            "The training, repeated with nothing left out, does not give the network that is "
            f"explained: it differs by {float(to_explained.std()):.2g} (outputs, standard "
            f"deviation), networks from two seeds by {float(between.std()):.2g}.{cause} Effects "
            "are those of the repeated training.",
            UserWarning,
            stacklevel=2,
        )

    def _mixed(
        self, model: FunctionalModel, change: torch.Tensor, rewound: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the mean of two changes of outputs (R, m, C), and where to start its lift.

        Both are given the geometric mean of their sizes.
        """
        with torch.no_grad():
            before = centred(model, model(model.theta, self.lifted_X))
            other = torch.stack(
                [centred(model, model(model.theta + each, self.lifted_X)) for each in rewound]
            )
        other -= before
        tiny = torch.finfo(other.dtype).tiny
        size = (change.square().mean() / other.square().mean().clamp(min=tiny)) ** 0.25
        return (change / size + size * other) / 2, size * rewound / 2

    def _moves(self, model: FunctionalModel, trained: NetworkSet) -> torch.Tensor:
        """Return how networks (R, D) differ from the first one, in the weights alone."""
        theta, live = trained.theta, None
        if trained.buffers:
            live = in_training(model, self.lifted_X[:2])
        if live is not None:
            statistics = {
                name: Moments(*(trained.buffers[f"{name}.{each}"] for each in STATISTICS))
                for name in live.live_norms
            }
            theta = absorbed(live, theta, statistics)
        return theta[1:] - theta[:1]

    def _is_own(self, model: FunctionalModel, seed: int, outputs: torch.Tensor) -> bool:
        """Tell whether a repeated training with nothing left out gave the explained network."""
        if seed != self.recipe.seed or not self.rows.is_training_data:
            return False
        with torch.no_grad():
            explained = centred(model, model(model.theta, self.lifted_X))
        return bool((outputs - explained).std() <= _SAME * explained.std())

    def of_synset(
        self, model: FunctionalModel, synset: Synset, *, has_groups: bool = False
    ) -> "ReplayPlan":
        """Return the plan for another synset, or the same rows in other groups.

        Parameters
        ----------
        model : FunctionalModel
            The explained network.

        synset : Synset
            What takes the place of the rows; validation rows are in none of its groups, unless
            it has those of the training rows.

        has_groups : bool, default=False
            Whether its groups are those of the training rows.
        """
        rows = replayed_synset(model, self.rows, synset)
        if rows.valid_X is not None and not has_groups:
            rows = replace(rows, valid_group=in_no_group(len(rows.valid_X), rows.group))
        return replace(self, rows=rows)

    def of_groups(self, group: torch.Tensor) -> "ReplayPlan":
        """Return the plan for the same rows (s,) in other groups; validation rows among them."""
        rows, held = self.rows, self.recipe.valid_rows
        valid_group = None
        if rows.valid_X is not None:
            if held is not None and rows.is_training_data:
                valid_group = group[torch.from_numpy(held).to(group.device)]
            else:
                valid_group = in_no_group(len(rows.valid_X), group)
        return replace(self, rows=replace(rows, group=group, valid_group=valid_group))


def replay_plans(
    models: list[FunctionalModel],
    recipes: list[Recipe],
    rows: TrainingRows,
    n_starts: int,
    seed: int,
    n_jobs: int | None,
    verbose: int,
    *,
    is_generic: bool = False,
) -> list[ReplayPlan]:
    """Plan to repeat each network's training on the training rows.

    Parameters
    ----------
    models : list of FunctionalModel
        The explained networks.

    recipes : list of Recipe
        How each is trained.

    rows : TrainingRows
        The training rows.

    n_starts : int
        Trainings to repeat for each network: its own where the seed of that is known, and others
        from new seeds.

    seed : int
        Of the new seeds.

    n_jobs, verbose, is_generic
        As of `ReplayPlan`.

    Returns
    -------
    plans : list of ReplayPlan
        One for each network.
    """
    generator, plans = torch.Generator().manual_seed(seed), []
    for model, recipe in zip(models, recipes, strict=True):
        new = torch.randint(2**31 - 1, (n_starts,), generator=generator).tolist()
        own = [] if recipe.seed is None else [recipe.seed]
        n_lifted = min(n_lifted_rows(model), len(rows.X))
        chosen = torch.randperm(len(rows.X), generator=generator)[:n_lifted]
        plans.append(
            ReplayPlan(
                recipe,
                tuple([*own, *new][:n_starts]),
                replayed_training_rows(model, recipe, rows),
                rows.X[chosen.to(model.device)],
                n_jobs,
                verbose,
                is_generic,
            )
        )
    return plans


def _replayed(
    plan: ReplayPlan,
    model: FunctionalModel,
    blocks: list[tuple[int, torch.Tensor]],
    X: torch.Tensor,
    n_moments: int = 0,
) -> list[tuple[NetworkSet, torch.Tensor]]:
    """Train the networks of some blocks; return those of each, and their outputs (R, m, C)."""
    try:
        return _replayed_at_once(plan, model, blocks, X, n_moments)
    except UnknownOperationError:
        alone = [_replayed_at_once(plan, model, [block], X, n_moments) for block in blocks]
        return [each for (each,) in alone]


def _replayed_at_once(
    plan: ReplayPlan,
    model: FunctionalModel,
    blocks: list[tuple[int, torch.Tensor]],
    X: torch.Tensor,
    n_moments: int,
) -> list[tuple[NetworkSet, torch.Tensor]]:
    """Train the networks of some blocks as one stack."""
    sizes = [len(kept) for _, kept in blocks]
    course = Course(sum(sizes), n_moments) if n_moments else None
    # Other threads switch the kernels of attention: each gives other roundings.
    with plain_attention() if model.is_attention_plain else nullcontext():
        networks = replay(plan.recipe, plan.rows, blocks, course)
        if model.activation is not None:
            networks.skip_layer(model.activation)
        outputs = networks.outputs(plan.rows.shaped(X))
    theta = _weights(model, networks.state())
    if not (theta.isfinite().all() and outputs.isfinite().all()):
        raise FloatingPointError(
            "A training that is repeated without a group diverges: its weights are not finite. "
            "Lower the net's learning rate, or use solver='rewind'."
        )
    outputs = linked(outputs.flatten(0, 1), model.link)
    if model.output_order is not None:
        outputs = outputs[:, list(model.output_order)]
    moments = [] if course is None else course.moments
    courses = [_split(model, networks, moment, sizes) for moment in moments]
    sets = [
        replace(own, course=[moment[block] for moment in courses])
        for block, own in enumerate(_split(model, networks, networks.state(), sizes))
    ]
    return list(zip(sets, outputs.unflatten(0, (-1, len(X))).split(sizes), strict=True))


def _weights(model: FunctionalModel, state: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the weights (R, D) of stacked networks."""
    return torch.cat([state[name].reshape(len(state[name]), -1) for name in model.names], dim=1)


def _split(
    model: FunctionalModel,
    networks: StackedNetwork,
    state: dict[str, torch.Tensor],
    sizes: list[int],
) -> list[NetworkSet]:
    """Return the networks of each block."""
    statistics = {name: state[name].split(sizes) for name in networks.statistics}
    return [
        NetworkSet(own, {name: value[block] for name, value in statistics.items()})
        for block, own in enumerate(_weights(model, state).split(sizes))
    ]
