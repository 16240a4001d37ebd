"""Mean, spread and range of columns, of rows that are read a few at a time."""

from typing import NamedTuple

import torch

from sklearn_synset._row_source import Rows, at_once


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
    n_seen, mean, squares = 0, torch.zeros(()), torch.zeros(())
    lower = upper = X[:1][0]
    for rows in X.split(at_once(X)):
        own_mean = rows.mean(0, dtype=torch.float64)
        # Around their mean, squares are small enough for the rows' own dtype.
        own_squares = (rows - own_mean.to(rows.dtype)).square_().sum(0, dtype=torch.float64)
        n_rows = len(rows)
        gap = own_mean - mean
        mean = mean + gap * (n_rows / (n_seen + n_rows))
        squares = squares + own_squares + gap.square() * (n_seen * n_rows / (n_seen + n_rows))
        n_seen += n_rows
        lower, upper = torch.minimum(lower, rows.amin(0)), torch.maximum(upper, rows.amax(0))
    return ColumnStatistics(mean, (squares / n_seen).sqrt(), lower, upper)
