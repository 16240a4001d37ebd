"""What queries' objectives are at some weights."""

import torch

from sklearn_synset._data.row_source import Rows, in_batches
from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._objective.objective import Objective
from sklearn_synset._runtime.memory import in_smaller_chunks


@torch.no_grad()
def evaluate_objective(
    model: FunctionalModel,
    theta: torch.Tensor,
    X: Rows,
    y: torch.Tensor,
    objective: Objective,
    batch_size: int,
) -> torch.Tensor:
    """Return each query's objective, a few queries at a time.

    Parameters
    ----------
    model : FunctionalModel
        The network.
    theta : Tensor of shape (D,)
        Its weights.
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
    values : Tensor of shape (q,)
        In the objective's unit.
    """

    def evaluate(size: int) -> torch.Tensor:
        return in_batches(lambda rows: objective(model(theta, X[rows]), y[rows]), len(X), size)

    return in_smaller_chunks(evaluate, max(1, min(batch_size, len(X))), "rows")
