"""Spearman correlation of every row of one array with that of another."""

import numpy as np
from scipy.stats import rankdata


def rank_correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    r"""Return Spearman's rank correlation within each query.

    Parameters
    ----------
    a, b : ndarray of shape (n_queries, n_removals)
        Two measurements of the same effects.

    Returns
    -------
    correlations : ndarray of shape (n_queries,)
        In [-1, 1]; 0 where one of the two is constant, as it then has no order.

    Notes
    -----
    With ranks :math:`r, s` (ties share their mean rank) it is Pearson's correlation of the ranks,
    :math:`\sum_j (r_j - \bar r)(s_j - \bar s) / \sqrt{\sum_j (r_j - \bar r)^2 \sum_j (s_j -
    \bar s)^2}` [1]_.

    References
    ----------
    .. [1] Spearman, "The proof and measurement of association between two things", American
       Journal of Psychology 15 (1904).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_synset._statistics.rank_correlation import rank_correlations
    >>> rank_correlations(np.array([[1.0, 2.0, 3.0]] * 2), np.array([[1.0, 4.0, 9.0], [5.0] * 3]))
    array([1., 0.])
    """
    # Ranks and their mean are multiples of 1/2, so constant rows leave exact zeros.
    r, s = (rank - rank.mean(1, keepdims=True) for rank in (rankdata(x, axis=1) for x in (a, b)))
    norm = np.sqrt((r**2).sum(1) * (s**2).sum(1))
    return np.divide((r * s).sum(1), norm, out=np.zeros(len(norm)), where=norm > 0)


def mean_rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return the mean of :func:`rank_correlations` over queries.

    Parameters
    ----------
    a, b : ndarray of shape (n_queries, n_removals)
        Two measurements of the same effects.

    Returns
    -------
    correlation : float
        NaN with fewer than two removals or without a query.
    """
    if a.shape[1] < 2 or not len(a):
        return float("nan")
    return float(rank_correlations(a, b).mean())
