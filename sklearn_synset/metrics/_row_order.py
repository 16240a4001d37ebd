"""From scores of rows or groups to the order in which rows are removed."""

from typing import Any

import numpy as np
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.validation import check_consistent_length

from sklearn_synset._data.input_checks import exact_labels


def read_groups(groups: Any, n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Tell the groups, and each row's.

    Parameters
    ----------
    groups : array-like of shape (n_rows,) or None
        Label of each row's group; every row is one of its own if None.
    n_rows : int
        Number of rows.

    Returns
    -------
    labels : ndarray of shape (n_groups,)
        Sorted.
    codes : ndarray of shape (n_rows,)
        Index of each row's group.

    Raises
    ------
    ValueError
        If the length is another, a label is NaN, or there are fewer than two groups.
    """
    groups = np.arange(n_rows) if groups is None else column_or_1d(exact_labels(groups))
    check_consistent_length(groups, np.empty(n_rows))
    if groups.dtype.kind == "f" and not np.isfinite(groups).all():
        raise ValueError("groups holds NaN or infinity.")
    labels, codes = np.unique(groups, return_inverse=True)
    if len(labels) < 2:
        raise ValueError(f"At least 2 groups are needed to leave one out, got {len(labels)}.")
    return labels, codes


def scores_of_rows(scores: Any, groups: Any, n_rows: int, *, ndim: int) -> np.ndarray:
    """Give every row its group's score.

    Parameters
    ----------
    scores : array-like of shape (n_groups,) or (n_queries, n_groups)
        Scores of groups in sorted order; of rows if there are no groups.
    groups : array-like of shape (n_rows,) or None
        Label of each row's group.
    n_rows : int
        Number of rows.
    ndim : int
        Axes that the scores must have.

    Returns
    -------
    scores : ndarray of shape (n_rows,) or (n_queries, n_rows)
        float64.

    Raises
    ------
    ValueError
        If shapes do not fit each other, or a value is not finite.
    """
    labels, codes = read_groups(groups, n_rows)
    scores = check_array(scores, dtype=np.float64, ensure_2d=False, input_name="scores")
    if scores.ndim != ndim or scores.shape[-1] != len(labels):
        what = "rows" if groups is None else "groups"
        axes = f"(n_{what},)" if ndim == 1 else f"(n_queries, n_{what})"
        raise ValueError(
            f"scores must have the shape {axes} with {len(labels)} {what}; got {scores.shape}."
        )
    return scores[..., codes]


def ascending(scores: np.ndarray, random_state: np.random.RandomState) -> np.ndarray:
    """Order rows from the lowest to the highest score, ties at random.

    Parameters
    ----------
    scores : ndarray of shape (n_rows,)
        One for each row.
    random_state : RandomState
        Advanced by one permutation.

    Returns
    -------
    order : ndarray of shape (n_rows,)
        Indices of rows.
    """
    return np.lexsort((random_state.permutation(len(scores)), scores))


def check_shares(shares: Any, n_rows: int, *, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Validate shares of the rows to remove.

    Parameters
    ----------
    shares : array-like of shape (n_shares,)
        What came.
    n_rows : int
        Number of rows.
    least : float
        The smallest share that makes sense.

    Returns
    -------
    shares : ndarray of shape (n_shares,)
        float64.
    n_removed : ndarray of shape (n_shares,)
        Rows to remove, rounded; at least one for a positive share.

    Raises
    ------
    ValueError
        If they do not ascend, or are below `least` or not below 1, or no row would be left.
    """
    shares = check_array(shares, dtype=np.float64, ensure_2d=False, input_name="shares")
    if shares.ndim != 1 or (np.diff(shares) <= 0).any() or shares[0] < least or shares[-1] >= 1:
        raise ValueError(
            f"shares must ascend from {least} or more to less than 1, got {shares.tolist()}."
        )
    n_removed = np.maximum(np.rint(shares * n_rows).astype(int), shares > 0)
    if n_removed[-1] >= n_rows:
        raise ValueError(f"A share of {shares[-1]} leaves none of the {n_rows} rows.")
    return shares, n_removed
