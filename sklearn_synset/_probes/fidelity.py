"""How well predicted effects agree with effects that were really measured."""

import numpy as np
from scipy.stats import rankdata

from sklearn_synset._statistics.rank_correlation import mean_rank_correlation


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
    >>> from sklearn_synset._probes.fidelity import fidelity_score
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
