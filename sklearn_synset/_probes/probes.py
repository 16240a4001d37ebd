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

    networks : list of M NetworkSets
        For each network that is explained: first one trained on all groups, then the P probes.
    """

    kept: torch.Tensor
    networks: list[NetworkSet]

    def __len__(self) -> int:
        """P, the number of probes."""
        return len(self.kept)

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
        r"""Return the measured effect of each probe on each query, mean over networks.

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
        effects : ndarray of shape (q, P)
            :math:`o(\theta) - o(\theta_{-R})`, in the objective's unit; positive when what was left
            out had helped.
        """
        total = np.zeros((len(X), len(self)))
        if not len(self):
            return total
        for model, networks in zip(models, self.networks, strict=True):
            values = as_array(networks.objectives(model, X, y, objective, batch_size))
            total += (values[:1] - values[1:]).T
        return total / len(models)


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


def no_probes(kept: torch.Tensor, models: list[FunctionalModel]) -> Probes:
    """Return no probes at all."""
    return Probes(kept, [NetworkSet(model.theta[None]) for model in models])


def probe_block(kept: torch.Tensor, seed: int) -> list[tuple[int, torch.Tensor]]:
    """Return the networks of probes as a block of :meth:`ReplayPlan.blocks`; none without probes.

    Parameters
    ----------
    kept : Tensor of shape (P, K)
        Groups to keep.

    seed : int
        Of the trainings; another one than those of the answers.
    """
    if not len(kept):
        return []
    return [(seed, torch.cat([torch.ones_like(kept[:1]), kept]))]


def replayed_probes(
    models: list[FunctionalModel],
    plans: list[ReplayPlan],
    kept: torch.Tensor,
    block: list[tuple[int, torch.Tensor]],
) -> Probes:
    """Repeat the trainings on the real rows of the groups that are kept, from another seed.

    Parameters
    ----------
    models : list of M FunctionalModels
        The networks that are explained.

    plans : list of M ReplayPlans
        How each was trained on the real rows.

    kept : Tensor of shape (P, K)
        Groups to keep.

    block : list of tuple
        As of `probe_block`.

    Returns
    -------
    probes : Probes
        The networks, with one on all groups for each training.
    """
    if not block:
        return no_probes(kept, models)
    networks = []
    for model, plan in zip(models, plans, strict=True):
        ((trained, _),) = plan.blocks(model, block, plan.lifted_X[:2], "Probing")
        networks.append(trained)
    return Probes(kept, networks)
