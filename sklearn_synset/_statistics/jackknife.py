"""The standard error of a statistic, from its values without one removal each."""

from collections.abc import Callable

import numpy as np
from scipy.stats import t

Statistic = Callable[[np.ndarray, np.ndarray], float]


def jackknife_error(statistic: Statistic, predicted: np.ndarray, measured: np.ndarray) -> float:
    r"""Return the standard error of a statistic, over the choice of removals.

    Parameters
    ----------
    statistic : callable
        Maps predicted and measured effects to a number.

    predicted, measured : ndarray of shape (..., p)
        Effects of p removals.

    Returns
    -------
    error : float
        :math:`s` with :math:`s^2 = \frac{p - 1}{p} \sum_j (f_{-j} - \bar f)^2` over the
        statistics :math:`f_{-j}` without one removal; NaN with fewer than three removals.

    References
    ----------
    .. [1] Efron, "The Jackknife, the Bootstrap and Other Resampling Plans", SIAM 1982, chapter 3.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_synset._statistics.jackknife import jackknife_error
    >>> effects = np.array([[1.0, 2.0, 4.0], [2.0, 4.0, 5.0]])
    >>> round(jackknife_error(lambda a, b: b.sum() / a.sum(), effects, 2 * effects), 6)
    0.0
    """
    n = predicted.shape[-1]
    if n < 3:
        return float("nan")
    without = [
        statistic(np.delete(predicted, j, axis=-1), np.delete(measured, j, axis=-1))
        for j in range(n)
    ]
    return float(np.sqrt((n - 1) / n * np.square(np.array(without) - np.mean(without)).sum()))


def t_interval(centre: float, error: float, n: int, level: float = 0.9) -> tuple[float, float]:
    """Return Student's interval (low, high) of a statistic of n removals with a standard error."""
    if n < 2:
        return float("nan"), float("nan")
    half = float(t.ppf((1 + level) / 2, n - 1) * error)
    return centre - half, centre + half
