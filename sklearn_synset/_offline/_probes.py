"""Probes: sets of groups left out of the real rows, to tell how far the synset can be trusted."""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from tqdm.auto import tqdm

from sklearn_synset._functional_model import FunctionalModel, copy_module
from sklearn_synset._offline._anchors import TrainingRows
from sklearn_synset._offline._restart import can_restart, restarts
from sklearn_synset._online._leave_out import LeaveOut
from sklearn_synset._online._objective import Objective
from sklearn_synset._online._objective_evaluation import evaluate_objective
from sklearn_synset._online._rewinding import curves_steadily, is_single_layer
from sklearn_synset._operation_count import flops_of_gradient
from sklearn_synset._row_source import Rows
from sklearn_synset._synset import Synset
from sklearn_synset._torch_interop import as_array

_MAX_ROWS, _MIN_ROWS = 10_000, 500
_MAX_NUMBERS = 2**24
_MAX_STEADY_ROWS = 2000
_MAX_RESTARTED_ROWS = 2000
_MAX_RESTART_FLOPS = 7e11
_MAX_EPOCHS, _MIN_EPOCHS = 80, 15
_N_RESTARTS = 3


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


def affordable_rows(model: FunctionalModel, X: Rows) -> int:
    """Return how many rows may be probed.

    Parameters
    ----------
    model : FunctionalModel
        The network.

    X : Tensor or RowSource of shape (n, d...)
        Rows.

    Returns
    -------
    n_rows : int
        10,000, or as many as hold 16 million numbers, but 500 at least. With a steady curvature
        2,000, as the end of a training is then looked for only after each pass. In minibatches
        more rows take no more time, only memory.
    """
    most = _MAX_STEADY_ROWS if curves_steadily(model) else _MAX_ROWS
    return min(most, max(_MIN_ROWS, _MAX_NUMBERS // max(1, math.prod(X.shape[1:]))))


def sample_of_rows(rows: TrainingRows, max_rows: int, generator: torch.Generator) -> Synset:
    """Take real rows as a synset: all of them, or a random sample of every group.

    Parameters
    ----------
    rows : TrainingRows
        The training rows.

    max_rows : int
        About how many to take at the most.

    generator : torch.Generator
        On the CPU.

    Returns
    -------
    sample : Synset
        Every group keeps at least one row.
    """
    sizes = [len(members) for members in rows.rows_by_group]
    share = min(1.0, max_rows / sum(sizes))
    chosen, weight, group = [], [], []
    for k, members in enumerate(rows.rows_by_group):
        n_taken = max(1, round(share * len(members)))
        taken = torch.randperm(len(members), generator=generator)[:n_taken].sort().values
        chosen.append(members[taken.to(members.device)])
        weight.append(torch.full((n_taken,), len(members) / n_taken))
        group.append(torch.full((n_taken,), k))
    index = torch.cat(chosen)
    return Synset(
        rows.X[index],
        rows.targets[index],
        torch.cat(weight).to(rows.targets),
        torch.cat(group).to(index.device),
        torch.tensor(sizes).to(rows.targets),
    )


def rewound_probes(
    models: list[FunctionalModel],
    rows: TrainingRows,
    leave_out: LeaveOut,
    kept: torch.Tensor,
    generator: torch.Generator,
) -> Probes:
    """Rewind the networks, and train them again on the real rows of the groups that are kept.

    Parameters
    ----------
    models : list of FunctionalModel
        The trained networks.

    rows : TrainingRows
        The training rows, of which a sample is used if there are many.

    leave_out : LeaveOut
        How the networks are trained again.

    kept : Tensor of shape (P, K)
        Groups to keep.

    generator : torch.Generator
        On the CPU.

    Returns
    -------
    probes : Probes
        The networks that come of it.
    """
    if not len(kept):
        return Probes(kept, [model.theta.new_empty(0, 0) for model in models], [{} for _ in models])
    sample = sample_of_rows(rows, affordable_rows(models[0], rows.X), generator)
    plans = [leave_out.plan_for_groups(model, sample) for model in models]
    moves = leave_out.displacements_by_network(
        models, sample, kept.to(sample.weight), plans, "Probing"
    )
    theta = [model.theta + move for model, move in zip(models, moves, strict=True)]
    return Probes(kept, theta, [{} for _ in models], tells_size=False)


def restarted_probes(
    models: list[FunctionalModel],
    rows: TrainingRows,
    leave_out: LeaveOut,
    kept: torch.Tensor,
    generator: torch.Generator,
) -> Probes | None:
    """Train the networks on the real rows of the groups that are kept, from new initial weights.

    Parameters
    ----------
    models, rows, kept, generator
        As of `rewound_probes`.

    leave_out : LeaveOut
        Bounds the networks that are trained side by side, and tells whether to show progress.

    Returns
    -------
    probes : Probes or None
        What comes of it, from three initial weights for each network. None if it cannot be done:
        for layers that `can_restart` refuses, more than 2,000 rows or too large a network, and
        where the loss does not come down to what it is for the explained network. Also None for a
        single layer, of which rewinding tells as much in less time.
    """
    n, model = len(rows.X), models[0]
    if n > _MAX_RESTARTED_ROWS or not len(kept) or is_single_layer(model) or not can_restart(model):
        return None
    n_networks = _N_RESTARTS * len(models) * len(kept)
    per_epoch = flops_of_gradient(model, rows.X) * n * n_networks
    max_epochs = min(_MAX_EPOCHS, int(_MAX_RESTART_FLOPS / per_epoch))
    if max_epochs < _MIN_EPOCHS:
        return None
    everything = sample_of_rows(rows, n, generator)
    kept = kept.to(everything.weight)
    before: list[torch.Tensor] = []
    theta: list[torch.Tensor] = []
    hidden = not leave_out.verbose
    with tqdm(total=n_networks, desc="Probing", unit="network", disable=hidden) as progress:
        for model in models:
            found = restarts(
                model,
                everything,
                kept,
                generator,
                n_restarts=_N_RESTARTS,
                max_epochs=max_epochs,
                n_networks=leave_out.n_networks(model, everything),
            )
            if found is None:
                return None
            before.extend(found[0])
            parts = []
            for part in found[1]:
                parts.append(part)
                progress.update(len(part))
            theta.extend(torch.cat(parts).split(len(kept)))
    return Probes(kept, theta, [{} for _ in theta], before)
