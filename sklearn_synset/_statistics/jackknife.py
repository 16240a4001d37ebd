"""An interval of a statistic, from its values without one removal each."""

from collections.abc import Callable

import numpy as np
from scipy.stats import t

Statistic = Callable[[np.ndarray, np.ndarray], float]


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
    >>> from sklearn_synset._statistics.jackknife import jackknife_interval
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
