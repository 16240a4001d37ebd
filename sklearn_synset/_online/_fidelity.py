"""How well predicted effects agree with effects that were really measured."""

from collections.abc import Callable

import numpy as np
from scipy.stats import rankdata, t

from sklearn_synset.metrics._rank_correlation import mean_rank_correlation

Statistic = Callable[[np.ndarray, np.ndarray], float]


def fidelity_score(predicted: np.ndarray, measured: np.ndarray) -> float:
    """Return how well predicted effects follow measured ones, from few removals.

    Parameters
    ----------
    predicted, measured : ndarray of shape (q, p)
        Effects of p removals on q queries.

    Returns
    -------
    score : float
        Mean of two correlations of ranks in [-1, 1], higher is better: the Spearman correlation
        over removals, mean over queries; and that of the ranks among all pairs, less each query's
        and each removal's mean rank. NaN with fewer than two removals or no query.

    Notes
    -----
    Over a handful of removals the ranks of one query are coarse, and say nothing about sizes. The
    ranks among all pairs do, and a synset that mistakes which queries a removal is about shows in
    them, however few the removals.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_synset._online._fidelity import fidelity_score
    >>> effects = np.array([[1.0, 2.0], [2.0, 4.0], [3.0, 9.0]])
    >>> round(fidelity_score(effects, 10 * effects), 6)
    1.0
    """
    if predicted.shape[1] < 2 or not len(predicted):
        return float("nan")
    a, b = (
        _interaction(rankdata(effects).reshape(effects.shape)) for effects in (predicted, measured)
    )
    norm = np.sqrt((a**2).sum() * (b**2).sum())
    interaction = float((a * b).sum() / norm) if norm > 0 else 0.0
    return (mean_rank_correlation(predicted, measured) + interaction) / 2


def _interaction(values: np.ndarray) -> np.ndarray:
    """Take away the means of rows and columns."""
    return values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()


def jackknife_interval(
    statistic: Statistic, predicted: np.ndarray, measured: np.ndarray, level: float = 0.9
) -> tuple[float, float]:
    r"""Return an interval of a statistic, over the choice of removals.

    Parameters
    ----------
    statistic : callable
        Maps predicted and measured effects (q, p) to a number.

    predicted, measured : ndarray of shape (q, p)
        Effects of p removals on q queries.

    level : float, default=0.9
        How often the interval is to hold what all removals would give.

    Returns
    -------
    low, high : float
        The statistic plus and minus :math:`t_{p-1} s`, with
        :math:`s^2 = \frac{p - 1}{p} \sum_j (f_{-j} - \bar f)^2` over the statistics
        :math:`f_{-j}` without one removal; NaN with fewer than three removals.

    References
    ----------
    .. [1] Efron, "The Jackknife, the Bootstrap and Other Resampling Plans", SIAM 1982, chapter 3.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_synset._online._fidelity import jackknife_interval
    >>> effects = np.array([[1.0, 2.0, 4.0], [2.0, 4.0, 5.0]])
    >>> low, high = jackknife_interval(lambda a, b: b.sum() / a.sum(), effects, 2 * effects)
    >>> round(low, 6), round(high, 6)
    (2.0, 2.0)
    """
    n = predicted.shape[1]
    if n < 3:
        return float("nan"), float("nan")
    without = [
        statistic(np.delete(predicted, j, axis=1), np.delete(measured, j, axis=1)) for j in range(n)
    ]
    error = np.sqrt((n - 1) / n * np.square(np.array(without) - np.mean(without)).sum())
    half = float(t.ppf((1 + level) / 2, n - 1) * error)
    centre = float(statistic(predicted, measured))
    return centre - half, centre + half
