"""Linear datamodeling score."""

import numpy as np
from sklearn.utils import check_array

from sklearn_synset._statistics.rank_correlation import rank_correlations
from sklearn_synset.metrics._check_arrays import average_queries, check_scores, check_truth


def linear_datamodeling_score(outputs, scores, subsets, *, average="queries"):
    r"""Compare sums of scores with networks retrained on subsets of the groups.

    Parameters
    ----------
    outputs : array-like of shape (n_subsets, n_queries) or (n_seeds, n_subsets, n_queries)
        Objective of every query under the network retrained on each subset; the mean is taken over
        seeds. :func:`retraining` returns it under this name.
    scores : array-like of shape (n_queries, n_groups)
        Attributions, positive where the group helps. Their unit does not matter.
    subsets : array-like of shape (n_subsets, n_groups)
        True, or 1, for the groups that each network was trained on.
    average : {"queries"} or None, default="queries"
        "queries" returns the mean over queries, None one value for each query.

    Returns
    -------
    score : float or ndarray of shape (n_queries,)
        In [-1, 1], higher is better. A query whose outputs or sums are constant counts as 0.

    Raises
    ------
    ValueError
        If shapes do not fit each other, a value is not finite, `subsets` holds anything but 0 and
        1, or there are fewer than two subsets or groups.

    See Also
    --------
    retraining : Makes `outputs` and `subsets`.
    leave_one_out_correlation : The same for single groups left out.

    Notes
    -----
    With the scores :math:`\tau_{qk}` of query q, and networks :math:`\theta_S` trained on random
    sets S of groups, it is [1]_

    .. math:: \mathrm{LDS}(q) = \rho_S \Bigl( f_q(\theta_S), \sum_{k \in S} \tau_{qk} \Bigr)

    where :math:`\rho_S` is Spearman's correlation over the subsets. Seed noise in `outputs`
    limits what scores can reach: average over seeds, and take at least 50 subsets.

    References
    ----------
    .. [1] Park, Georgiev, Ilyas, Leclerc, Madry, "TRAK: Attributing Model Behavior at Scale",
       ICML 2023, definition 2.3, `arXiv:2303.14186 <https://arxiv.org/abs/2303.14186>`_.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.stats import bootstrap
    >>> from sklearn_synset.metrics import linear_datamodeling_score
    >>> rng = np.random.RandomState(0)
    >>> scores, subsets = rng.normal(size=(30, 8)), rng.rand(60, 8) < 0.5
    >>> outputs = subsets @ scores.T + rng.normal(size=(60, 30))
    >>> round(linear_datamodeling_score(outputs, scores, subsets), 2)
    0.8

    An interval, over queries:

    >>> values = linear_datamodeling_score(outputs, scores, subsets, average=None)
    >>> bootstrap((values,), np.mean).confidence_interval
    ConfidenceInterval(low=..., high=...)
    """
    scores = check_scores(scores)
    subsets = check_array(subsets, dtype=np.float64, input_name="subsets")
    if subsets.shape[1] != scores.shape[1]:
        raise ValueError(
            "subsets must have the shape (n_subsets, n_groups), with the groups in the columns of "
            f"scores; got {subsets.shape} with scores of shape {scores.shape}."
        )
    if len(subsets) < 2:
        raise ValueError("At least 2 subsets are needed to rank their outputs, got 1.")
    if not np.isin(subsets, (0, 1)).all():
        raise ValueError("subsets must hold booleans, or 0 and 1.")
    shape = (len(subsets), len(scores))
    outputs = check_truth(outputs, "outputs", shape, "(n_subsets, n_queries)")
    values = rank_correlations(scores @ subsets.T, outputs.T)
    return average_queries(values, average)
