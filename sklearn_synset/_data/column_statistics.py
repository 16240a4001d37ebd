"""Mean, spread and range of columns, of rows that are read a few at a time."""

from typing import NamedTuple

import torch

from sklearn_synset._data.row_source import Rows, at_once


class ColumnStatistics(NamedTuple):
    """What the values of each column are like.

    Parameters
    ----------
    mean, scale : Tensor of shape (d...), dtype float64
        Mean and (population) standard deviation.
    lower, upper : Tensor of shape (d...)
        Smallest and largest value.
    """

    mean: torch.Tensor
    scale: torch.Tensor
    lower: torch.Tensor
    upper: torch.Tensor


def column_statistics(X: Rows) -> ColumnStatistics:
    """Describe the columns of rows (n, d...) in one pass.

    References
    ----------
    .. [1] Chan, Golub, LeVeque, "Algorithms for computing the sample variance: analysis and
       recommendations", The American Statistician 37(3), 1983, equation 2.1.
    """
    mean = torch.zeros(X.shape[1:], dtype=torch.float64, device=X.device)
    squares, (lower, upper), n_seen = torch.zeros_like(mean), X[:1].repeat(2, *[1] * mean.ndim), 0
    statistics = ColumnStatistics(mean, squares, lower, upper)
    for rows in X.split(at_once(X)):
        _add_rows(statistics, rows, n_seen)
        n_seen += len(rows)
    return statistics._replace(scale=squares.div_(n_seen).sqrt_())


def _add_rows(statistics: ColumnStatistics, rows: torch.Tensor, n_seen: int) -> None:
    """Update the statistics, with sums of squares in the place of scales, in place."""
    mean, squares, lower, upper = statistics
    own_mean = rows.mean(0, dtype=torch.float64)
    # Around their mean, squares are small enough for the rows' own dtype, if that has fractions.
    dtype = rows.dtype if rows.is_floating_point() else torch.float64
    squares += (rows - own_mean.to(dtype)).square_().sum(0, dtype=torch.float64)
    gap, share = own_mean - mean, len(rows) / (n_seen + len(rows))
    squares += gap.square() * (n_seen * share)
    mean += gap * share
    torch.minimum(lower, rows.amin(0), out=lower)
    torch.maximum(upper, rows.amax(0), out=upper)
