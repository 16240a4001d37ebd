"""Probes: groups left out of the real rows, to measure how far the synset can be trusted."""

from dataclasses import dataclass

import numpy as np
import torch

from sklearn_synset._data.row_source import Rows
from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._objective.network_set import NetworkSet
from sklearn_synset._objective.objective import Objective
from sklearn_synset._replay.leave_out import ReplayPlan
from sklearn_synset._runtime.torch_interop import as_array


@dataclass(frozen=True, eq=False)
class Probes:
    """Networks for which groups were left out of the real rows.

    Parameters
    ----------
    kept : Tensor of shape (P, K)
        For each probe, 1 for a group that was kept and 0 for one that was left out.

    networks : list of S NetworkSets
        For each seed, or each network that is rewound: first one trained on all groups, then the
        P probes.

    reason : str, default=""
        Why their effects are not those of a training; empty if they are.
    """

    kept: torch.Tensor
    networks: list[NetworkSet]
    reason: str = ""

    def __len__(self) -> int:
        """P, the number of probes."""
        return len(self.kept)

    @property
    def measure_noise(self) -> bool:
        """Whether there are trainings from several seeds to compare."""
        return len(self) > 0 and len(self.networks) > 1 and not self.reason

    @property
    def groups(self) -> np.ndarray:
        """Codes of the groups that at least one probe leaves out, sorted."""
        return np.flatnonzero(as_array((self.kept == 0).any(0)))

    def effects(
        self,
        models: list[FunctionalModel],
        X: Rows,
        y: torch.Tensor,
        objective: Objective,
        batch_size: int,
    ) -> np.ndarray:
        r"""Return the measured effect of each probe on each query, from each seed.

        Parameters
        ----------
        models : list of M FunctionalModels
            The networks that are explained.

        X : Tensor or RowSource of shape (q, d...)
            Queries.

        y : Tensor of shape (q,) or (q, C)
            Their labels or values.

        objective : callable
            Maps outputs (q, C) and `y` to values (q,).

        batch_size : int
            Most queries to evaluate at once.

        Returns
        -------
        effects : ndarray of shape (S, q, P)
            :math:`o(\theta) - o(\theta_{-R})`, in the objective's unit; positive when what was left
            out had helped.
        """
        found = np.zeros((len(self.networks), len(X), len(self)))
        for seed, networks in enumerate(self.networks):
            # Networks of several seeds are of one architecture, and have their own statistics.
            model = models[seed % len(models)]
            values = as_array(networks.objectives(model, X, y, objective, batch_size))
            found[seed] = (values[:1] - values[1:]).T
        return found


def draw_probes(n_groups: int, n_probes: int, generator: torch.Generator) -> torch.Tensor:
    """Draw groups to leave out, one at a time.

    Parameters
    ----------
    n_groups : int
        K.

    n_probes : int
        Groups to draw; all of them if there are fewer.

    generator : torch.Generator
        On the CPU.

    Returns
    -------
    kept : Tensor of shape (P, K)
        For each probe, 1 for a group that is kept and 0 for the one that is left out, in the
        groups' order.
    """
    groups = torch.randperm(n_groups, generator=generator)[:n_probes].sort().values
    kept = torch.ones(len(groups), n_groups)
    kept[torch.arange(len(groups)), groups] = 0
    return kept


def no_probes(kept: torch.Tensor, models: list[FunctionalModel], reason: str = "") -> Probes:
    """Return no probes at all."""
    return Probes(kept, [NetworkSet(model.theta[None]) for model in models], reason)


def probe_blocks(kept: torch.Tensor, seed: int, n_seeds: int) -> list[tuple[int, torch.Tensor]]:
    """Return the networks of probes as blocks of :meth:`ReplayPlan.blocks`; none without probes.

    Parameters
    ----------
    kept : Tensor of shape (P, K)
        Groups to keep.

    seed : int
        Of the first trainings; others follow. None is one of the answers.

    n_seeds : int
        S.
    """
    if not len(kept):
        return []
    networks = torch.cat([torch.ones_like(kept[:1]), kept])
    return [(seed + repetition, networks) for repetition in range(n_seeds)]


def replayed_probes(
    model: FunctionalModel,
    plan: ReplayPlan,
    kept: torch.Tensor,
    blocks: list[tuple[int, torch.Tensor]],
) -> Probes:
    """Repeat a training on the real rows of the groups that are kept, from other seeds.

    Parameters
    ----------
    model : FunctionalModel
        The network that is explained; one of them if there are several, as their trainings differ
        by the seed alone.

    plan : ReplayPlan
        How it was trained on the real rows.

    kept : Tensor of shape (P, K)
        Groups to keep.

    blocks : list of tuple
        As of `probe_blocks`.

    Returns
    -------
    probes : Probes
        The networks, with one on all groups for each seed.
    """
    if not blocks:
        return no_probes(kept, [model])
    trained = plan.blocks(model, blocks, plan.lifted_X[:2], "Probing")
    return Probes(kept, [networks for networks, _ in trained])
