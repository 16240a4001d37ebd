"""How well low scores point out mislabelled rows."""

from numbers import Real

import numpy as np
from sklearn.metrics import roc_auc_score
from sklearn.utils import check_scalar

from sklearn_synset.metrics._check_arrays import check_row_scores


def mislabel_roc_auc(is_mislabelled, scores):
    r"""Return the area under the ROC curve of finding mislabelled rows by low scores.

    Parameters
    ----------
    is_mislabelled : array-like of shape (n_rows,)
        True for the rows whose label is wrong.
    scores : array-like of shape (n_rows,)
        Low is suspicious, as :meth:`SynsetAttributor.score_samples` returns them.

    Returns
    -------
    roc_auc : float
        In [0, 1], higher is better; 0.5 is chance.

    Raises
    ------
    ValueError
        If the shapes differ, a value is not finite, or all rows or none are mislabelled.

    See Also
    --------
    mislabel_recall : What is found when the lowest rows are looked through.

    Notes
    -----
    The probability that a mislabelled row has a lower score than another row, :math:`P(s_- < s_+) +
    \frac12 P(s_- = s_+)` [1]_.

    References
    ----------
    .. [1] Hanley, McNeil, "The meaning and use of the area under a receiver operating
       characteristic (ROC) curve", Radiology 143 (1982).

    Examples
    --------
    >>> from sklearn_synset.metrics import mislabel_roc_auc
    >>> mislabel_roc_auc([True, False, False, True], [-2.0, 1.0, 3.0, 2.0])
    0.75
    """
    flags, scores = check_row_scores(is_mislabelled, scores)
    return float(roc_auc_score(flags, -scores))


def mislabel_recall(is_mislabelled, scores, *, share=0.1):
    r"""Return the share of mislabelled rows that lie among the lowest scores.

    Parameters
    ----------
    is_mislabelled : array-like of shape (n_rows,)
        True for the rows whose label is wrong.
    scores : array-like of shape (n_rows,)
        Low is suspicious, as :meth:`SynsetAttributor.score_samples` returns them.
    share : float, default=0.1
        Share of all rows that are looked through, lowest score first; in (0, 1], rounded to whole
        rows, at least one.

    Returns
    -------
    recall : float
        In [0, 1], higher is better; chance is `share`, and the most that can be reached is
        `share * n_rows / n_mislabelled`, if that is below 1.

    Raises
    ------
    ValueError
        If the shapes differ, a value is not finite, or all rows or none are mislabelled.

    See Also
    --------
    mislabel_roc_auc : The same over all shares.

    Notes
    -----
    Where rows are tied at the last place, each counts by its chance of being looked at, so the
    order of the rows does not matter.

    Examples
    --------
    >>> from sklearn_synset.metrics import mislabel_recall
    >>> mislabel_recall([True, False, False, True], [-2.0, 1.0, 3.0, 2.0], share=0.25)
    0.5
    """
    check_scalar(share, "share", Real, min_val=0, max_val=1, include_boundaries="right")
    flags, scores = check_row_scores(is_mislabelled, scores)
    n_inspected = max(1, int(np.rint(share * len(scores))))
    last = np.partition(scores, n_inspected - 1)[n_inspected - 1]
    below, tied = scores < last, scores == last
    chance = (n_inspected - below.sum()) / tied.sum()
    return float((flags[below].sum() + chance * flags[tied].sum()) / flags.sum())
