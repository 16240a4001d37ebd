"""How well predicted effects agree with effects that were really measured."""

import numpy as np
from scipy.stats import rankdata


def mean_rank_correlation(predicted: np.ndarray, measured: np.ndarray) -> float:
    """Return the Spearman correlation over removals, mean over queries.

    Parameters
    ----------
    predicted, measured : ndarray of shape (q, p)
        Effects of p removals on q queries.

    Returns
    -------
    correlation : float
        In [-1, 1], higher is better; a query with constant effects counts as 0. NaN with fewer
        than two removals or no query.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_synset._online._fidelity import mean_rank_correlation
    >>> effects = np.array([[1.0, 2.0, 3.0]])
    >>> round(mean_rank_correlation(effects, 10 * effects), 6)
    1.0
    """
    if predicted.shape[1] < 2 or not len(predicted):
        return float("nan")
    ranks = [rankdata(effects, axis=1) for effects in (predicted, measured)]
    a, b = (rank - rank.mean(1, keepdims=True) for rank in ranks)
    norm = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    correlation = np.divide((a * b).sum(1), norm, out=np.zeros(len(norm)), where=norm > 0)
    return float(correlation.mean())


def calibration_slope(predicted: np.ndarray, measured: np.ndarray) -> float:
    """Return the least-squares slope of the measured effect on the predicted one.

    Parameters
    ----------
    predicted, measured : ndarray of shape (q, p)
        Effects of p removals on q queries.

    Returns
    -------
    slope : float
        1 when predictions are in real units, above 1 when they are too small. NaN when the
        predictions are constant.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_synset._online._fidelity import calibration_slope
    >>> round(calibration_slope(np.array([[1.0, 2.0]]), np.array([[2.0, 4.0]])), 6)
    2.0
    """
    x = predicted.astype(float).ravel() - predicted.mean()
    y = measured.astype(float).ravel() - measured.mean()
    return float(x @ y / (x @ x)) if x @ x > 0 else float("nan")
