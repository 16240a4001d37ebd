"""What each query loses by each displacement of the weights."""

import numpy as np
import torch
from torch.func import vmap

from sklearn_synset._data.row_source import Rows
from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._objective.objective import Objective
from sklearn_synset._runtime.memory import in_smaller_chunks
from sklearn_synset._runtime.torch_interop import as_array


def attribution_matrix(
    model: FunctionalModel,
    displacement: torch.Tensor,
    X: Rows,
    y: torch.Tensor,
    objective: Objective,
    batch_size: int,
) -> torch.Tensor:
    r"""Return the fall of each query's objective under each displacement.

    Parameters
    ----------
    model : FunctionalModel
        The trained network.
    displacement : Tensor of shape (R, D)
        What leaving groups out does to the trained weights.
    X : Tensor or RowSource of shape (q, d...)
        Queries.
    y : Tensor of shape (q,) or (q, C)
        Their labels or values.
    objective : callable
        Maps outputs (q, C) and `y` to values (q,).
    batch_size : int
        Most query outputs, over all displacements, to hold at once.

    Returns
    -------
    matrix : Tensor of shape (q, R)
        :math:`o(\theta_T) - o(\theta_T + \delta_R)`, in the objective's unit; positive when what
        was left out had helped.
    """
    n_queries, n_removals = len(X), len(displacement)
    matrix = model.theta.new_empty(n_queries, n_removals)
    n_networks = max(1, min(n_removals, batch_size // max(1, min(n_queries, batch_size))))
    with torch.no_grad():
        for rows in torch.arange(n_queries).split(batch_size):
            queries = X[rows]
            before = objective(model(model.theta, queries), y[rows])
            for networks in torch.arange(n_removals).split(n_networks):
                theta = model.theta + displacement[networks]
                outputs = vmap(lambda t, queries: model(t, queries), (0, None))(theta, queries)
                after = vmap(objective, (0, None))(outputs, y[rows])
                matrix[rows[:, None], networks[None, :]] = (before - after).T
    return matrix


def effects_by_network(
    models: list[FunctionalModel],
    displacements: list[torch.Tensor],
    X: Rows,
    y: torch.Tensor,
    objective: Objective,
    batch_size: int,
) -> np.ndarray:
    """Return the effects (M, q, R) of each displacement on each query, for each of M networks."""

    def matrices(size: int) -> list[np.ndarray]:
        return [
            as_array(attribution_matrix(model, displacement, X, y, objective, size).double())
            for model, displacement in zip(models, displacements, strict=True)
        ]

    return np.stack(in_smaller_chunks(matrices, batch_size, "rows"))
