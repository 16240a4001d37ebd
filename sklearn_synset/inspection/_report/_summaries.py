"""Numbers that summarise effects over groups and over queries."""

from __future__ import annotations

import numpy as np


def groups_to_flip(gap: np.ndarray, effects: np.ndarray) -> np.ndarray:
    r"""Return how many groups have to be left out until a prediction flips.

    Parameters
    ----------
    gap : ndarray of shape (n_queries,)
        How far the predicted label is ahead of the second, in logits.
    effects : ndarray of shape (n_queries, n_groups)
        What each group adds to that gap, in logits.

    Returns
    -------
    n_groups : ndarray of shape (n_queries,)
        The last group counts by the share of it that is needed, so that predictions which need the
        same number are ordered; round up for the number. Infinity if all groups that add to the gap
        are not enough.

    Notes
    -----
    :math:`\min \{m : \sum_{k \le m} e_{(k)} \ge g\}` with the effects in descending order: it is
    assumed that effects of several groups add up, so it is an estimate.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_synset.inspection._report._summaries import groups_to_flip
    >>> groups_to_flip(np.array([1.0, 2.5, 9.0]), np.array([[2.0, 1.0, -1.0]] * 3))
    array([0.5, 1.5, inf])
    """
    ordered = -np.sort(-np.maximum(effects, 0), axis=1)
    reached = np.cumsum(ordered, axis=1)
    is_enough = reached >= gap[:, None]
    first = is_enough.argmax(1)
    rows = np.arange(len(gap))
    last = ordered[rows, first]
    missing = gap - (reached[rows, first] - last)
    share = np.divide(missing, last, out=np.zeros(len(gap)), where=last > 0)
    return np.where(is_enough.any(1), first + share, np.inf)


def runner_up(logits: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return the label with the largest logit but the predicted one.

    Parameters
    ----------
    logits : ndarray of shape (n_queries, n_classes)
        At least two classes.
    predicted : ndarray of shape (n_queries,)
        Codes of the predicted labels.

    Returns
    -------
    codes : ndarray of shape (n_queries,)
        Of the second labels.
    """
    others = np.array(logits, dtype=float)
    others[np.arange(len(others)), predicted] = -np.inf
    return others.argmax(1)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities of logits.

    Parameters
    ----------
    logits : ndarray of shape (n_queries, n_classes)
        In nats.

    Returns
    -------
    probabilities : ndarray of shape (n_queries, n_classes)
        Each line sums to 1.
    """
    shares = np.exp(logits - logits.max(1, keepdims=True))
    return shares / shares.sum(1, keepdims=True)


def thirds(values: np.ndarray) -> np.ndarray:
    """Return in which third each value is: 0 the lowest, 2 the highest.

    Parameters
    ----------
    values : ndarray of shape (n,)
        Numbers.

    Returns
    -------
    codes : ndarray of shape (n,)
        Equal values are in the same third.
    """
    return np.searchsorted(np.quantile(values, [1 / 3, 2 / 3]), values, side="left")


def mean_by_kind(effects: np.ndarray, kinds: np.ndarray, n_kinds: int) -> np.ndarray:
    """Return each group's mean effect on each kind of query.

    Parameters
    ----------
    effects : ndarray of shape (n_queries, n_groups)
        Effects.
    kinds : ndarray of shape (n_queries,)
        Kind of each query, an integer from 0.
    n_kinds : int
        Number of kinds.

    Returns
    -------
    means : ndarray of shape (n_groups, n_kinds)
        NaN for a kind of which there is no query.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_synset.inspection._report._summaries import mean_by_kind
    >>> mean_by_kind(np.array([[1.0], [3.0], [5.0]]), np.array([0, 0, 1]), 2)
    array([[2., 5.]])
    """
    membership = np.eye(n_kinds)[kinds]
    counts = membership.sum(0)
    means = np.full((effects.shape[1], n_kinds), np.nan)
    return np.divide(effects.T @ membership, counts, out=means, where=counts > 0)


def mean_and_error(effects: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each group's mean effect, and the standard error of that mean over queries.

    Parameters
    ----------
    effects : ndarray of shape (n_queries, n_groups)
        Effects.

    Returns
    -------
    mean, error : ndarray of shape (n_groups,)
        The error of the mean of a single query is not known, and infinite.
    """
    n_queries = len(effects)
    if n_queries < 2:
        return effects.mean(0), np.full(effects.shape[1], np.inf)
    return effects.mean(0), effects.std(0, ddof=1) / np.sqrt(n_queries)


def composition(codes: np.ndarray, groups: np.ndarray, n_groups: int, n_classes: int) -> np.ndarray:
    """Return how many rows of each class a group has.

    Parameters
    ----------
    codes : ndarray of shape (n_rows,)
        Class of each row, an integer from 0.
    groups : ndarray of shape (n_rows,)
        Group of each row, an integer from 0.
    n_groups, n_classes : int
        Numbers of both.

    Returns
    -------
    counts : ndarray of shape (n_groups, n_classes), dtype int
        Rows.
    """
    flat = np.bincount(groups * n_classes + codes, minlength=n_groups * n_classes)
    return flat.reshape(n_groups, n_classes)
