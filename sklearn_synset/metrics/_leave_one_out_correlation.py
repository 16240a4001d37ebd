"""Rank correlation with leave-one-out retraining, and what retraining itself reaches."""

import numpy as np
from sklearn.utils import check_array

from sklearn_synset._statistics.rank_correlation import rank_correlations
from sklearn_synset.metrics._check_arrays import average_queries, check_scores, check_truth


def leave_one_out_correlation(effects, scores, *, average="queries"):
    r"""Compare scores with the effects of really leaving each group out.

    Parameters
    ----------
    effects : array-like of shape (n_queries, n_groups) or (n_seeds, n_queries, n_groups)
        Objective of each query under the network trained on all rows, minus that under the network
        trained without each group; the mean is taken over seeds. :func:`retraining` returns it
        under this name.
    scores : array-like of shape (n_queries, n_groups)
        Attributions, positive where the group helps. Their unit does not matter.
    average : {"queries"} or None, default="queries"
        "queries" returns the mean over queries, None one value for each query.

    Returns
    -------
    correlation : float or ndarray of shape (n_queries,)
        In [-1, 1], higher is better. A query with constant effects or scores counts as 0.

    Raises
    ------
    ValueError
        If shapes do not fit each other, a value is not finite, or there are fewer than two groups.

    See Also
    --------
    leave_one_out_ceiling : What one real retraining reaches, to compare with.
    calibration_slope : Whether the sizes agree as well as the order.

    Notes
    -----
    :math:`\rho_k (e_{qk}, \tau_{qk})`, with Spearman's correlation :math:`\rho_k` over the groups
    of the effects e with the scores :math:`\tau` of query q; mean over queries.

    Examples
    --------
    >>> from sklearn_synset.metrics import leave_one_out_correlation
    >>> effects = [[0.3, 0.1, -0.2], [0.0, 0.4, 0.1]]
    >>> leave_one_out_correlation(effects, [[3.0, 2.0, 1.0], [1.0, 2.0, 3.0]])
    0.75
    """
    scores = check_scores(scores)
    effects = check_truth(effects, "effects", scores.shape, "(n_queries, n_groups)")
    values = rank_correlations(scores, effects)
    return average_queries(values, average)


def leave_one_out_ceiling(effects, *, average="queries"):
    r"""Compare leave-one-out retraining with itself: one seed with the mean of the others.

    It is what retraining every group once more would score, so the mark that an attribution method
    has to be read against: seed noise in the truth alone keeps it below 1.

    Parameters
    ----------
    effects : array-like of shape (n_seeds, n_queries, n_groups)
        As for :func:`leave_one_out_correlation`, for two seeds or more.
    average : {"queries"} or None, default="queries"
        "queries" returns the mean over queries, None one value for each query.

    Returns
    -------
    correlation : float or ndarray of shape (n_queries,)
        In [-1, 1]; mean over the seeds that are held back.

    Raises
    ------
    ValueError
        If the shape is another, a value is not finite, or there are fewer than two seeds or groups.

    See Also
    --------
    leave_one_out_correlation : The same for scores.

    Notes
    -----
    :math:`\frac{1}{S} \sum_s \rho_k \bigl( e^{(s)}_{qk}, \frac{1}{S-1} \sum_{t \ne s} e^{(t)}_{qk}
    \bigr)` for S seeds. Scores that estimate the mean over seeds can exceed it, as a single
    retraining is noisy itself; the truth that they are compared with has one seed more.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_synset.metrics import leave_one_out_ceiling
    >>> rng = np.random.RandomState(0)
    >>> effects = rng.normal(size=(1, 50, 10)) + 0.5 * rng.normal(size=(4, 50, 10))
    >>> round(leave_one_out_ceiling(effects), 2)
    0.8
    """
    effects = check_array(
        effects, dtype=np.float64, allow_nd=True, ensure_min_features=0, input_name="effects"
    )
    if effects.ndim != 3 or effects.shape[0] < 2 or effects.shape[2] < 2 or not effects.shape[1]:
        raise ValueError(
            "effects must have the shape (n_seeds, n_queries, n_groups) with at least 2 seeds and "
            f"2 groups; got {effects.shape}."
        )
    others = (effects.sum(0) - effects) / (len(effects) - 1)
    pairs = zip(effects, others, strict=True)
    values = np.mean([rank_correlations(one, other) for one, other in pairs], axis=0)
    return average_queries(values, average)
