"""A sample of the training rows that represents all of them, as a synset does."""

import math

import torch

from sklearn_synset._data.row_source import Rows
from sklearn_synset._data.training_data import TrainingRows
from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._network.operation_count import widest_output
from sklearn_synset._retraining.rewinding import curves_steadily
from sklearn_synset._retraining.synset import Synset

_MAX_ROWS, _MIN_ROWS = 10_000, 500
_MAX_NUMBERS = 7_900_000
_MAX_STEADY_ROWS = 2000


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
        10,000, or as many as hold 8 million numbers, as they are or as a layer's outputs, but 500
        at least. With a steady curvature 2,000, as the end of a training is then looked for only
        after each pass. In minibatches more rows take little more time, only memory.
    """
    most = _MAX_STEADY_ROWS if curves_steadily(model) else _MAX_ROWS
    width = max(math.prod(X.shape[1:]), widest_output(model, X))
    return min(most, max(_MIN_ROWS, _MAX_NUMBERS // width))


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
    """
    share = min(1.0, max_rows / len(rows.weight))
    own, sizes = rows.positive_weight, rows.group_weight
    chosen, weight, group = [], [], []
    for k, members in enumerate(rows.rows_by_group):
        n_taken = max(1, round(share * len(members)))
        taken = torch.randperm(len(members), generator=generator)[:n_taken].sort().values
        chosen.append(members[taken.to(members.device)])
        weight.append(own[chosen[-1]] * (sizes[k] / own[chosen[-1]].sum()))
        group.append(torch.full((n_taken,), k))
    index = torch.cat(chosen)
    return Synset(
        rows.X[index],
        rows.targets[index],
        torch.cat(weight),
        torch.cat(group).to(index.device),
        sizes,
    )
