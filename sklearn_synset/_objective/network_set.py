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
    """

    theta: torch.Tensor
    buffers: dict[str, torch.Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        """R, the number of networks."""
        return len(self.theta)

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
        for network, theta in enumerate(self.theta):
            own = {name: value[network] for name, value in self.buffers.items()}
            values[network] = evaluate_objective(
                _with_buffers(model, own), theta, X, y, objective, batch_size
            )
        return values


def joined(parts: list[NetworkSet]) -> NetworkSet:
    """Put the networks of several sets into one."""
    names = parts[0].buffers
    return NetworkSet(
        torch.cat([part.theta for part in parts]),
        {name: torch.cat([part.buffers[name] for part in parts]) for name in names},
    )


def _with_buffers(model: FunctionalModel, buffers: dict[str, torch.Tensor]) -> FunctionalModel:
    """Return a network with other buffers; the network itself if there are none."""
    if not buffers:
        return model
    module = model.copied_module()
    known = dict(module.named_buffers())
    for name, value in buffers.items():
        known[name].copy_(value)
    return replace(model, module=module)
