"""Rank correlation with the mean of several retrainings, from few of them."""

import numpy as np

from sklearn_synset._statistics.rank_correlation import mean_rank_correlation

N_RETRAININGS = 4


def agreement_with_mean(
    predicted: np.ndarray, measured: np.ndarray, n_retrainings: int = N_RETRAININGS
) -> float:
    r"""Estimate the rank correlation with the mean effect of several retrainings.

    Parameters
    ----------
    predicted : ndarray of shape (q, p)
        Predicted effects of p removals on q queries.

    measured : ndarray of shape (S, q, p)
        The same by retraining, from each of S seeds.

    n_retrainings : int, default=4
        Number m of retrainings whose mean effect is meant.

    Returns
    -------
    correlation : float
        :math:`c \sqrt{\rho_m / \rho_S}`, where c is the rank correlation with the mean of the S
        seeds, :math:`\rho_s = s r / (1 + (s - 1) r)` is the reliability of a mean of s seeds [1]_,
        and r is the rank correlation between two seeds, mean over pairs, at least 0; at most 1.
        From a single seed c itself, which is then too low. NaN with fewer than two removals.

    References
    ----------
    .. [1] Spearman, "Correlation calculated from faulty data", British Journal of Psychology 3
       (1910).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_synset._statistics.retraining_agreement import agreement_with_mean
    >>> effects = np.array([[1.0, 2.0, 3.0, 4.0]])
    >>> noisy = np.stack([effects + [0, 2, 0, 0], effects + [0, 0, -2, 0]])
    >>> [round(agreement_with_mean(effects, each), 2) for each in (noisy[:1], noisy)]
    [0.63, 0.81]
    """
    n_seeds = len(measured)
    correlation = mean_rank_correlation(predicted, measured.mean(0))
    if n_seeds < 2 or not np.isfinite(correlation):
        return correlation
    first, second = np.triu_indices(n_seeds, 1)
    between = [
        mean_rank_correlation(measured[a], measured[b]) for a, b in zip(first, second, strict=True)
    ]
    r = max(0.0, float(np.mean(between)))
    m = n_retrainings
    gain = m * (1 + (n_seeds - 1) * r) / (n_seeds * (1 + (m - 1) * r))
    return float(np.clip(correlation * np.sqrt(gain), -1, 1))
