"""Several networks of one architecture, and the objectives of queries under each."""

from dataclasses import dataclass, field, replace

import torch

from sklearn_synset._data.row_source import Rows
from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._objective.evaluation import evaluate_objective
from sklearn_synset._objective.objective import Objective


@dataclass(frozen=True, eq=False)
class NetworkSet:
    """Weights of several networks, and their buffers where those differ.

    Parameters
    ----------
    theta : Tensor of shape (R, D)
        Weights, in the order of :class:`FunctionalModel`.
    buffers : dict of str to Tensor of shape (R, ...)
        Buffers that each network has of its own, such as the statistics of a normalisation.
    course : list of NetworkSet
        The same networks at evenly spaced moments of their training, where these were kept.
    """

    theta: torch.Tensor
    buffers: dict[str, torch.Tensor] = field(default_factory=dict)
    course: list["NetworkSet"] = field(default_factory=list)

    def __len__(self) -> int:
        """R, the number of networks."""
        return len(self.theta)

    def model(self, model: FunctionalModel, network: int) -> FunctionalModel:
        """Return one of the networks, of an architecture, with its weights and buffers."""
        theta = self.theta[network]
        if not self.buffers:
            return replace(model, theta=theta)
        module = model.copied_module()
        known = dict(module.named_buffers())
        for name, value in self.buffers.items():
            known[name].copy_(value[network])
        return replace(model, module=module, theta=theta)

    def objectives(
        self,
        model: FunctionalModel,
        X: Rows,
        y: torch.Tensor,
        objective: Objective,
        batch_size: int,
    ) -> torch.Tensor:
        """Return each query's objective under each network.

        Parameters
        ----------
        model : FunctionalModel
            The architecture.
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
        objectives : Tensor of shape (R, q), dtype float64
            In the objective's unit.
        """
        values = torch.empty(len(self), len(X), dtype=torch.float64, device=self.theta.device)
        for network in range(len(self)):
            own = self.model(model, network)
            values[network] = evaluate_objective(own, own.theta, X, y, objective, batch_size)
        return values


def joined(parts: list[NetworkSet]) -> NetworkSet:
    """Put the networks of several sets into one."""
    names, n_moments = parts[0].buffers, min(len(part.course) for part in parts)
    courses = [
        [part.course[-(-len(part.course) * (i + 1) // n_moments) - 1] for i in range(n_moments)]
        for part in parts
    ]
    return NetworkSet(
        torch.cat([part.theta for part in parts]),
        {name: torch.cat([part.buffers[name] for part in parts]) for name in names},
        [joined(list(moment)) for moment in zip(*courses, strict=True)],
    )
