"""Whether scores are in real units: the slope of true effects on them."""

import warnings
from numbers import Real

import numpy as np
from scipy.stats import t as student_t
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.utils import check_scalar

from sklearn_synset._statistics.slope import least_squares_slope
from sklearn_synset.metrics._check_arrays import check_scores, check_truth


def calibration_slope(
    effects, scores, *, fit_intercept=True, return_interval=False, confidence_level=0.95
):
    r"""Return the least-squares slope of true effects on scores.

    Parameters
    ----------
    effects : array-like of shape (n_queries, n_groups) or (n_seeds, n_queries, n_groups)
        What leaving each group out really does, as for :func:`leave_one_out_correlation`; the mean
        is taken over seeds.
    scores : array-like of shape (n_queries, n_groups)
        Attributions, meant in the unit of the effects.
    fit_intercept : bool, default=True
        False puts the line through the origin: the factor by which scores should be multiplied.
    return_interval : bool, default=False
        Whether to return a confidence interval, too.
    confidence_level : float, default=0.95
        Its level, in (0, 1).

    Returns
    -------
    slope : float
        1: scores are in real units; 2: effects are twice as large as the scores; negative: wrong
        sign. NaN for constant scores.
    interval : tuple of float
        Lower and upper end; only if `return_interval`.

    Raises
    ------
    ValueError
        If shapes do not fit each other, a value is not finite, or there are fewer than two groups
        (for an interval: or queries).

    Warns
    -----
    UndefinedMetricWarning
        If the scores are constant.

    See Also
    --------
    leave_one_out_correlation : Whether the order agrees.

    Notes
    -----
    :math:`b = \sum_{qk} (\tau_{qk} - \bar\tau)(e_{qk} - \bar e) / \sum_{qk} (\tau_{qk} -
    \bar\tau)^2` for scores :math:`\tau` and effects e of query q and group k; without an intercept
    the means are zero. Truth is regressed on prediction, as its seed noise then does not bias the
    slope; noise in the *scores* lowers it.

    Errors of one query are correlated, and so are those of one group, so the interval is that of
    standard errors clustered both ways [1]_: with :math:`u = (\tau - \bar\tau)` times the
    residuals,

    .. math:: \mathrm{Var}\, b = \frac{V_Q + V_K - V_{QK}}{(\sum (\tau - \bar\tau)^2)^2}, \quad
              V_Q = \tfrac{n_Q}{n_Q - 1} \sum_q \bigl( \sum_k u_{qk} \bigr)^2

    and alike over groups (:math:`V_K`) and single pairs (:math:`V_{QK}`), but not less than
    :math:`V_Q` or :math:`V_K` alone. The quantiles are Student's with :math:`\min(n_Q, n_K) - 1`
    degrees of freedom.

    References
    ----------
    .. [1] Cameron, Gelbach, Miller, "Robust Inference With Multiway Clustering", Journal of
       Business & Economic Statistics 29 (2011), section 2.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_synset.metrics import calibration_slope
    >>> scores = np.random.RandomState(0).normal(size=(40, 10))
    >>> effects = 1.5 * scores + np.random.RandomState(1).normal(size=(40, 10))
    >>> slope, (low, high) = calibration_slope(effects, scores, return_interval=True)
    >>> print(f"{slope:.2f} ({low:.2f} to {high:.2f})")
    1.52 (1.35 to 1.69)
    """
    check_scalar(
        confidence_level,
        "confidence_level",
        Real,
        min_val=0,
        max_val=1,
        include_boundaries="neither",
    )
    scores = check_scores(scores)
    effects = check_truth(effects, "effects", scores.shape, "(n_queries, n_groups)")
    if return_interval and len(scores) < 2:
        raise ValueError("At least 2 queries are needed for an interval, got 1.")
    slope, x, residual = least_squares_slope(scores, effects, fit_intercept=fit_intercept)
    if np.isnan(slope):
        warnings.warn(
            "scores are constant, so the slope on them is not defined.",
            UndefinedMetricWarning,
            stacklevel=2,
        )
    if not return_interval:
        return slope
    margin = _standard_error(x, residual) * student_t.ppf(
        (1 + confidence_level) / 2, min(scores.shape) - 1
    )
    return slope, (float(slope - margin), float(slope + margin))


def _standard_error(x: np.ndarray, residual: np.ndarray) -> float:
    """Return the slope's standard error, clustered by rows and by columns."""
    u = x * residual
    by_query, by_group = (
        len(sums) / (len(sums) - 1) * (sums**2).sum() for sums in (u.sum(1), u.sum(0))
    )
    by_pair = u.size / (u.size - 1) * (u**2).sum()
    variance = max(by_query + by_group - by_pair, by_query, by_group)
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.sqrt(variance) / (x * x).sum())
