"""Probes: sets of groups left out of the real rows, to tell how far the synset can be trusted."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from sklearn_synset._data.row_source import Rows
from sklearn_synset._network.functional_model import FunctionalModel, copy_module
from sklearn_synset._objective.evaluation import evaluate_objective
from sklearn_synset._objective.objective import Objective
from sklearn_synset._runtime.torch_interop import as_array


@dataclass(frozen=True, eq=False)
class Probes:
    """Networks for which sets of groups were left out of the real rows.

    Parameters
    ----------
    kept : Tensor of shape (P, K)
        For each probe, 1 for a group that was kept and 0 for one that was left out.

    theta : list of M * S Tensors of shape (P, D)
        For each of the M networks that are explained, the weights of each probe, from each of S
        initial weights.

    buffers : list of M * S dicts of str to Tensor of shape (P, ...)
        Buffers of the probes, such as the statistics of a normalisation, where they are not those
        of the network.

    before : list of M * S Tensors of shape (D,), default=None
        The weights with nothing left out that these probes are compared with; those of the
        networks themselves if None, when S is 1.

    tells_size : bool, default=True
        Whether effects have the size that training from scratch gives them.
    """

    kept: torch.Tensor
    theta: list[torch.Tensor]
    buffers: list[dict[str, torch.Tensor]]
    before: list[torch.Tensor] | None = None
    tells_size: bool = True

    def __len__(self) -> int:
        """P, the number of probes."""
        return len(self.kept)

    def take(self, probes: slice) -> "Probes":
        """Return some of the probes."""
        buffers = [{name: value[probes] for name, value in own.items()} for own in self.buffers]
        theta = [theta[probes] for theta in self.theta]
        return replace(self, kept=self.kept[probes], theta=theta, buffers=buffers)

    def split(self, n_first: int) -> tuple["Probes", "Probes"]:
        """Return the first probes, and the others."""
        return self.take(slice(n_first)), self.take(slice(n_first, None))

    def joined(self, others: "Probes") -> "Probes":
        """Return these probes and others of the same kind, as before they were split."""
        pairs = zip(self.buffers, others.buffers, strict=True)
        buffers = [
            {name: torch.cat([own[name], other[name]]) for name in own} for own, other in pairs
        ]
        theta = [
            torch.cat([own, other]) for own, other in zip(self.theta, others.theta, strict=True)
        ]
        kept = torch.cat([self.kept, others.kept])
        return replace(self, kept=kept, theta=theta, buffers=buffers)

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
            :math:`o(\theta) - o(\theta_{-R})` with :math:`\theta` the weights `before`, in the
            objective's unit; positive when what was left out had helped.
        """

        def values(network, theta):
            return as_array(
                evaluate_objective(network, theta, X, y, objective, batch_size).double()
            )

        total = np.zeros((len(X), len(self)))
        starts = self.before or [model.theta for model in models]
        networks = [model for model in models for _ in range(len(starts) // len(models))]
        parts = zip(networks, starts, self.theta, self.buffers, strict=True)
        for model, start, thetas, buffers in parts:
            before = values(model, start)
            for probe, theta in enumerate(thetas):
                own = {name: value[probe] for name, value in buffers.items()}
                total[:, probe] += before - values(_with_buffers(model, own), theta)
        return total / len(networks)


def _with_buffers(model: FunctionalModel, buffers: dict[str, torch.Tensor]) -> FunctionalModel:
    """Return a network with other buffers; the network itself if there are none."""
    if not buffers:
        return model
    module = copy_module(model.module)
    known = dict(module.named_buffers())
    for name, value in buffers.items():
        known[name].copy_(value)
    return replace(model, module=module)


def probes_of_networks(
    kept: torch.Tensor, models: list[FunctionalModel], networks: list[FunctionalModel]
) -> Probes:
    """Make probes of networks that were trained without the groups.

    Parameters
    ----------
    kept : Tensor of shape (P, K)
        Groups that were kept.

    models : list of M FunctionalModels
        The networks that are explained.

    networks : list of M * P FunctionalModels
        The networks of each probe: first those of the first model.

    Returns
    -------
    probes : Probes
        Their weights and buffers.
    """
    n = len(kept)
    parts = [(model, networks[i * n : (i + 1) * n]) for i, model in enumerate(models)]
    theta = [
        torch.stack([network.theta for network in own]) if n else model.theta.new_empty(0, 0)
        for model, own in parts
    ]
    return Probes(kept, theta, [_changed_buffers(model, own) for model, own in parts])


def _changed_buffers(
    model: FunctionalModel, networks: list[FunctionalModel]
) -> dict[str, torch.Tensor]:
    """Return the buffers (P, ...) that are not the same in all networks."""
    changed = {}
    others = [dict(network.module.named_buffers()) for network in networks]
    for name, value in model.module.named_buffers():
        if any(not torch.equal(other[name], value) for other in others):
            changed[name] = torch.stack([other[name] for other in others])
    return changed
