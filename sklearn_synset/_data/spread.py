"""How far rows spread, and the factor that makes targets spread as far."""

import torch

from sklearn_synset._data.column_statistics import column_statistics
from sklearn_synset._data.row_source import Rows, at_once


def target_scale(rows: Rows, targets: torch.Tensor) -> torch.Tensor:
    """Return the factor by which targets (n, C) spread as far as rows (n, d...), 0 if equal."""
    spread, target_spread = spread_of(rows), spread_of(targets)
    return torch.where(target_spread > 0, spread / target_spread, 0.0)


def spread_of(rows: Rows) -> torch.Tensor:
    """Return the root mean squared distance of rows (n, d...) from their mean."""
    if len(rows) <= at_once(rows):
        rows = rows[:].flatten(1)
        rows = rows if rows.is_floating_point() else rows.double()
        return (rows - rows.mean(0)).square().sum(1).mean().sqrt()
    first = rows[:1]
    spread = column_statistics(rows).scale.square().sum().sqrt()
    return spread.to(first) if first.is_floating_point() else spread
