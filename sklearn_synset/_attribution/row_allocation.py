"""Refinement: a group's effect shared out among its rows."""

import numpy as np
from scipy.sparse import csr_array

_FLOOR = 0.5
_LEAST_SCALE = 0.1
_LARGEST_SCALE = 10.0
_LEAST_CLAIM = 1e-3


def share_out(
    scores: np.ndarray, effects: np.ndarray, codes: np.ndarray, weight: np.ndarray | None = None
) -> np.ndarray:
    r"""Share each group's score out among its rows by the rows' own effects.

    Parameters
    ----------
    scores : ndarray of shape (q, K)
        Effect of each group on each query, in the objective's unit.
    effects : ndarray of shape (q, n)
        Effect of each row, up to a factor that a query's rows have in common.
    codes : ndarray of shape (n,)
        Group of each row, in [0, K), none of them empty.
    weight : ndarray of shape (n,), default=None
        Weight of each row; all ones if None.

    Returns
    -------
    shares : ndarray of shape (q, n)
        :math:`t_k p_i - m_i / t_k` for the rows i of group k, which add up to the group's score
        within rounding.

    Notes
    -----
    A row's effect is first brought to the scale of the groups' scores, by least squares over the
    query's groups, and then taken apart into a helpful and a harmful part,
    :math:`e_i = p_i - m_i` with :math:`p_i m_i = f^2`. The group's helpful parts are multiplied,
    and its harmful ones divided, by the :math:`t_k > 0` that makes the sum right,

    .. math:: t_k = \frac{A_k + \sqrt{A_k^2 + 4 P_k M_k}}{2 P_k},

    where :math:`P_k`, :math:`M_k` are the sums of the parts and :math:`A_k` is the score. This
    is the smallest change of all parts in relative entropy [1]_. It neither divides by a sum that
    may be 0 because effects cancel, nor lets rows change order within their group. The floor f,
    half the mean absolute effect of the query's rows, times the row's weight, is what rows without
    effect of their own take a share by: where all are 0, or f outweighs them, shares are equal.

    References
    ----------
    .. [1] Deville, Särndal, "Calibration estimators in survey sampling", Journal of the American
       Statistical Association 87(418), 1992, section 2, case 2, here for parts of two signs.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_synset._attribution.row_allocation import share_out
    >>> share_out(np.array([[4.0, 1.0]]), np.array([[1.0, 3.0, 0.0, 0.0]]), np.array([0, 0, 1, 1]))
    array([[1. , 3. , 0.5, 0.5]])
    """
    membership = _membership(codes, scores.shape[1])
    unit = np.abs(scores).max(1, keepdims=True).astype(np.float64)
    unit[unit == 0] = 1.0
    scores, effects = scores / unit, _with_largest_one(effects.astype(np.float64))
    effects *= _common_scale(scores, effects, effects @ membership)
    floor = _FLOOR * np.abs(effects).mean(1, keepdims=True)
    floor[floor == 0] = 1.0
    if weight is not None:
        floor = floor * np.maximum(weight, _LEAST_CLAIM**2)
    half = np.hypot(effects / 2, floor)
    helpful = half + effects / 2
    harmful = half - effects / 2
    P, M = helpful @ membership, harmful @ membership
    root = np.hypot(scores, 2 * np.sqrt(P * M))
    # Two forms of the same root, each without cancellation on its side of 0.
    tilt = np.where(scores >= 0, (scores + root) / (2 * P), 2 * M / (root + np.abs(scores)))
    tilt = tilt[:, codes]
    shares = helpful * tilt - harmful / tilt
    return unit * _without_rounding(shares, scores, codes, membership)


def share_out_remainder(
    scores: np.ndarray, effects: np.ndarray, codes: np.ndarray, weight: np.ndarray | None = None
) -> np.ndarray:
    r"""Keep the rows' own effects, and share out what they lack of their group's score.

    Parameters
    ----------
    scores : ndarray of shape (q, K)
        Effect of each group on each query, in the objective's unit.
    effects : ndarray of shape (q, n)
        Effect of each row left out alone, in the objective's unit.
    codes : ndarray of shape (n,)
        Group of each row, in [0, K), none of them empty.
    weight : ndarray of shape (n,), default=None
        Weight of each row; only whether it is 0 matters, as effects hold it. All ones if None.

    Returns
    -------
    shares : ndarray of shape (q, n)
        :math:`e_i + R_k c_i / C_k` for the rows i of group k, which add up to the group's score
        within rounding.

    Notes
    -----
    Leaving out a group does more or less than leaving out its rows one at a time, as the rows that
    remain stand in for each other. This remainder, :math:`R_k = A_k - \sum_{i \in k} e_i` of the
    score :math:`A_k`, goes to the rows that act in its direction, by the squares of their effects,

    .. math:: c_i = \left(\max(e_i \operatorname{sign} R_k, 0) + \epsilon \bar e\right)^2,

    with their sum :math:`C_k` over the group and :math:`\epsilon \bar e` a thousandth of the
    query's mean absolute effect. Where the norm of all effects is more than ten times that of the
    scores, effects are no measure of their size, and are brought down to that. Rows that hardly
    matter keep their place among the rows of all groups, as they have in leaving out single rows.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_synset._attribution.row_allocation import share_out_remainder
    >>> effects = np.array([[1.0, 3.0, -2.0, 1.0]])
    >>> share_out_remainder(np.array([[14.0, -3.0]]), effects, np.array([0, 0, 1, 1])).round(2)
    array([[ 2.,  12., -4.,  1.]])
    """
    membership = _membership(codes, scores.shape[1])
    scores, effects = scores.astype(np.float64), effects.astype(np.float64)
    effects *= np.minimum(1, _LARGEST_SCALE * _ratio(_norm(scores), _norm(effects)))
    size = np.abs(effects).mean(1, keepdims=True)
    size[size == 0] = 1.0
    remainder = scores - effects @ membership
    direction = np.where(remainder >= 0, 1.0, -1.0)[:, codes]
    least = _LEAST_CLAIM if weight is None else _LEAST_CLAIM * np.clip(weight, _LEAST_CLAIM, 1)
    claims = (np.maximum(effects * direction, 0) / size + least) ** 2
    shares = effects + claims * (remainder / (claims @ membership))[:, codes]
    return _without_rounding(shares, scores, codes, membership)


def _membership(codes: np.ndarray, n_groups: int) -> csr_array:
    """Return the 0/1 matrix (n, K) of rows in groups."""
    places = (np.ones(len(codes)), codes, np.arange(len(codes) + 1))
    return csr_array(places, shape=(len(codes), n_groups))


def _without_rounding(
    shares: np.ndarray, scores: np.ndarray, codes: np.ndarray, membership: csr_array
) -> np.ndarray:
    """Spread what rounding left of the scores over the groups' rows."""
    sizes = np.bincount(codes, minlength=scores.shape[1])
    return shares + ((scores - shares @ membership) / sizes)[:, codes]


def _with_largest_one(values: np.ndarray) -> np.ndarray:
    """Divide each line of values by its largest absolute value, but lines of 0."""
    largest = np.abs(values).max(1, keepdims=True)
    return values / np.where(largest > 0, largest, 1.0)


def _common_scale(scores: np.ndarray, effects: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Return the factor (q, 1) that brings sums of effects (q, K) to the scores (q, K).

    By least squares, with two bounds. Where sums and scores disagree, it is a tenth of what makes
    their norms equal: effects still say how rows of one group differ. And the norm of all effects
    becomes at most ten times that of the scores: where effects cancel in all groups, their sums
    are no measure of their size.
    """
    norm_of_scores, norm_of_sums = _norm(scores), _norm(sums)
    agreement = (scores * sums).sum(1, keepdims=True)
    factor = _ratio(agreement, norm_of_sums**2)
    factor = np.maximum(factor, _LEAST_SCALE * _ratio(norm_of_scores, norm_of_sums))
    return np.minimum(factor, _LARGEST_SCALE * _ratio(norm_of_scores, _norm(effects)))


def _norm(values: np.ndarray) -> np.ndarray:
    return np.linalg.norm(values, axis=1, keepdims=True)


def _ratio(values: np.ndarray, divisor: np.ndarray) -> np.ndarray:
    """Divide, but 0 where the divisor is too small to be divided by."""
    safe = divisor > np.finfo(np.float64).tiny ** 0.5
    return np.divide(values, divisor, out=np.zeros_like(values), where=safe)
