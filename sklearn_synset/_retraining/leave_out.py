"""The online stage's settings, and leave-out retraining within a bounded memory."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from tqdm.auto import tqdm

from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._network.operation_count import cost_of_gradient
from sklearn_synset._retraining.batch_norm import in_training, moments, with_statistics
from sklearn_synset._retraining.linearised_gradient import moments_near
from sklearn_synset._retraining.minibatches import n_minibatches
from sklearn_synset._retraining.removal import Retraining, displacements
from sklearn_synset._retraining.retraining_plan import plan_retraining
from sklearn_synset._retraining.synset import Synset
from sklearn_synset._runtime.memory import in_smaller_chunks
from sklearn_synset._runtime.parallel import in_parallel

_WEIGHT_BYTES = 2**28
_COPIES_OF_WEIGHTS = 8
_NETWORKS_PER_BATCH = 16
_N_SHORTER_STEPS = 10
_LEFT_WITHOUT_A_CLASS = 0.7  # of the outputs that others start from
_LARGEST_LINEAR_REMOVAL = 0.03  # of the training rows
# Some seconds of one core: less is not worth starting a process for.
_FLOPS_PER_JOB = 1e11
_FEWEST_NETWORKS_PER_JOB = 8  # to which each job adds the network without a removal


@dataclass(frozen=True)
class LeaveOut:
    """How groups are left out of a synset.

    Parameters
    ----------
    rewind : float
        As of `rewound`.
    n_steps : int, default=200
        As of `plan_retraining`.
    batch_size : int, default=4096
        Bounds the rows that are evaluated at once, over all networks, to 16 times as many.
    seed : int, default=0
        Seed of the curvature's power iteration.
    n_jobs : int or None, default=None
        Jobs to run at once where several networks are left to train for long.
    verbose : int, default=0
        Shows progress bars if positive.
    linearised : tuple of str, default=()
        As of `Retraining`.
    is_preconditioned : bool, default=False
        Whether groups are left out in steps that `preconditioner` scales.
    """

    rewind: float
    n_steps: int = 200
    batch_size: int = 4096
    seed: int = 0
    n_jobs: int | None = None
    verbose: int = 0
    linearised: tuple[str, ...] = ()
    is_preconditioned: bool = False

    def plan(
        self, model: FunctionalModel, synset: Synset, *, is_preconditioned: bool = False
    ) -> Retraining:
        """Choose the step size and the number of steps on a synset.

        Batch normalisation has statistics of the rows that are kept.
        """
        live = in_training(model, synset.X)
        plan = plan_retraining(
            live or model,
            synset,
            rewind=self.rewind,
            n_steps=self.n_steps,
            step_size="auto",
            damping=0.0,
            generator=torch.Generator().manual_seed(self.seed),
            is_preconditioned=is_preconditioned and live is None,
        )
        return replace(plan, has_live_norms=live is not None, linearised=self.linearised)

    def plan_for_groups(self, model: FunctionalModel, synset: Synset) -> Retraining:
        """Choose the same for many networks without groups, preconditioned if that was chosen."""
        return self.plan(model, synset, is_preconditioned=self.is_preconditioned)

    def without_a_class(
        self, model: FunctionalModel, synset: Synset, retraining: Retraining
    ) -> Retraining:
        """Plan anew for a class of which nothing remains: from outputs that are smaller by 0.3.

        The step is larger than that of a group whose like remain, and what the network knew of the
        class takes longer to forget. A remainder along the nearer path is kept where there is one.
        """
        if self.rewind == 0 or retraining.remainder is not None:
            return retraining
        rewind = 1 - _LEFT_WITHOUT_A_CLASS * (1 - retraining.rewind)
        return replace(self, rewind=rewind).plan_for_groups(model, synset)

    def displacements(
        self, model: FunctionalModel, synset: Synset, kept: torch.Tensor, retraining: Retraining
    ) -> torch.Tensor:
        r"""Return how leaving groups out moves the weights, a few networks at a time.

        Parameters
        ----------
        model : FunctionalModel
            The trained network.
        synset : Synset
            What it is trained on.
        kept : Tensor of shape (R, K)
            1 for the groups that are kept.
        retraining : Retraining
            From where, how long and how fast.

        Returns
        -------
        displacement : Tensor of shape (R, D)
            Change of the trained weights.

        Raises
        ------
        FloatingPointError
            If a network diverges however short the steps.
        """
        retraining = _suited(retraining, synset, kept)
        scaled = retraining.preconditioner
        live, solved = _retrained(model, synset, retraining)
        rows = synset
        if scaled is not None:
            solved, rows = scaled.projected(solved, synset)

        def solve_part(part: torch.Tensor) -> torch.Tensor:
            displacement = self._solve(solved, rows, part, retraining)
            if scaled is not None:
                displacement = scaled.lift(displacement)
            if live is not None:
                moments_of = (
                    partial(moments_near, layers=retraining.linearised)
                    if retraining.linearised
                    else moments
                )
                displacement = with_statistics(
                    live, synset, part, displacement, retraining.seed, moments_of
                )
                displacement[part.bool().all(1)] = 0
            return displacement

        def solve(size: int) -> torch.Tensor:
            return torch.cat([solve_part(part) for part in kept.split(size)])

        n_networks = min(len(kept), self.n_networks(solved, synset))
        return in_smaller_chunks(solve, n_networks, "networks")

    def displacements_by_network(
        self,
        models: list[FunctionalModel],
        synset: Synset,
        kept: torch.Tensor,
        retrainings: list[Retraining],
        stage: str | None = None,
    ) -> list[torch.Tensor]:
        """Return the displacements (R, D) of each of several networks, each by its own plan.

        Parameters
        ----------
        models : list of M FunctionalModels
            The trained networks.
        synset, kept
            As of `displacements`.
        retrainings : list of M Retrainings
            The plan for each network.
        stage : str, default=None
            What a progress bar calls it; there is none if None.

        Returns
        -------
        displacements : list of M Tensors of shape (R, D)
            As of `displacements`. They are the same to the bit for any `n_jobs`: what is a job of
            its own depends on the work alone.
        """
        flops = [0.0] * len(models)
        retrainings = [_suited(plan, synset, kept) for plan in retrainings]
        if len(kept) >= _FEWEST_NETWORKS_PER_JOB:
            flops = operations(models, synset, retrainings)
        parts = [kept.tensor_split(_n_jobs_of(each, len(kept))) for each in flops]
        jobs = [
            (model, synset, part, plan)
            for model, own, plan in zip(models, parts, retrainings, strict=True)
            for part in own
        ]
        is_long = sum(flops) * len(kept) > _FLOPS_PER_JOB and models[0].device.type == "cpu"
        moves = in_parallel(
            self.displacements, jobs, n_jobs=self.n_jobs, is_worth_it=is_long and len(jobs) > 1
        )
        found = []
        hidden = stage is None or not self.verbose
        with tqdm(
            total=len(models) * len(kept), desc=stage, unit="network", disable=hidden
        ) as progress:
            for move in moves:
                found.append(move)
                progress.update(len(move))
        ends = np.cumsum([len(own) for own in parts])
        return [
            torch.cat(found[end - len(own) : end]) for end, own in zip(ends, parts, strict=True)
        ]

    def _solve(
        self, model: FunctionalModel, synset: Synset, kept: torch.Tensor, retraining: Retraining
    ) -> torch.Tensor:
        """Solve for some networks; with shorter steps if one of them diverges."""

        def solve(plan: Retraining) -> list[torch.Tensor]:
            return [displacements(model, synset, kept, plan)]

        return with_shorter_steps(solve, retraining)[0]

    def n_networks(self, model: FunctionalModel, synset: Synset) -> int:
        """Networks to train side by side, so that weights and rows fit the budget."""
        n_rows = math.ceil(len(synset.weight) / n_minibatches(synset))
        weights = model.n_parameters * model.theta.element_size() * _COPIES_OF_WEIGHTS
        return max(
            1, min(_WEIGHT_BYTES // weights, _NETWORKS_PER_BATCH * self.batch_size // n_rows)
        )


def _retrained(
    model: FunctionalModel, synset: Synset, retraining: Retraining
) -> tuple[FunctionalModel | None, FunctionalModel]:
    """Return the network with live statistics, if a plan has them, and that which it trains."""
    live = in_training(model, synset.X) if retraining.has_live_norms else None
    whole, scaled = live or model, retraining.preconditioner
    return live, whole if scaled is None else scaled.narrow(whole)


def _suited(retraining: Retraining, synset: Synset, kept: torch.Tensor) -> Retraining:
    """Return the plan for removals (R, K), not linearised if one of them is large."""
    if not retraining.linearised:
        return retraining
    removed = 1 - (kept @ synset.group_size) / synset.group_size.sum()
    return (
        retraining
        if removed.max() <= _LARGEST_LINEAR_REMOVAL
        else replace(retraining, linearised=())
    )


def operations(
    models: list[FunctionalModel], synset: Synset, retrainings: list[Retraining]
) -> list[float]:
    """Return the operations that training each of several networks again once costs."""
    pairs = zip(models, retrainings, strict=True)
    return [_flops(model, synset, plan) for model, plan in pairs]


def _flops(model: FunctionalModel, synset: Synset, retraining: Retraining) -> float:
    """Return the operations that training a network again costs; few if it is linearised."""
    if retraining.linearised:
        return 0.0
    scaled = retraining.preconditioner
    flops = None if scaled is None else scaled.flops_of_gradient(model, synset.X)
    per_row = cost_of_gradient(model, synset.X, flops)
    return per_row * len(synset.weight) / n_minibatches(synset) * retraining.n_steps


def _n_jobs_of(flops: float, n_networks: int) -> int:
    """Return how many jobs the training of some networks is, from the operations of each."""
    by_work = int(flops * n_networks / _FLOPS_PER_JOB)
    most = min(by_work, n_networks // _FEWEST_NETWORKS_PER_JOB)
    # An even number: of three equal ones, two processes take as long as of four.
    return max(1, most - most % 2)


def with_shorter_steps(
    train: Callable[[Retraining], list[torch.Tensor]], retraining: Retraining
) -> list[torch.Tensor]:
    """Retrain, with shorter and shorter steps as long as it diverges.

    Parameters
    ----------
    train : callable
        Maps a retraining to what it leads to, (R, D) each; the last is not finite if it diverged.
    retraining : Retraining
        What to try first.

    Returns
    -------
    found : list of Tensor of shape (R, D)
        What the first retraining led to of which the last one is finite.

    Raises
    ------
    FloatingPointError
        If it diverges however short the steps.
    """
    for _ in range(_N_SHORTER_STEPS):
        found = train(retraining)
        if found[-1].isfinite().all():
            return found
        retraining = replace(retraining, step_size=retraining.step_size / 4)
    raise FloatingPointError(
        "Retraining without a group diverges; scale the features, or raise weight_decay."
    )


def loses_a_class(model: FunctionalModel, synset: Synset, kept: torch.Tensor) -> bool:
    """Tell whether a class has synset rows, but none in the groups that are kept, (K,)."""
    if model.loss != "cross_entropy":
        return False
    label, is_kept = synset.y.argmax(1), kept[synset.group] > 0
    return bool(set(label.tolist()) - set(label[is_kept].tolist()))


def leave_one_out(synset: Synset) -> torch.Tensor:
    """Return the masks (K, K) that leave out each group in turn."""
    return 1 - torch.eye(synset.n_groups).to(synset.weight)
