"""Checks of the arrays that several metrics take."""

from typing import Any

import numpy as np
from sklearn.utils import check_array


def check_scores(scores: Any) -> np.ndarray:
    """Validate attribution scores.

    Parameters
    ----------
    scores : array-like of shape (n_queries, n_groups)
        What came.

    Returns
    -------
    scores : ndarray of shape (n_queries, n_groups)
        float64.

    Raises
    ------
    ValueError
        If a value is not finite, there is no query, or there are fewer than two groups.
    """
    scores = check_array(scores, dtype=np.float64, input_name="scores")
    if scores.shape[1] < 2:
        raise ValueError(
            "scores must hold at least 2 groups, one a column, as there is nothing to rank "
            f"otherwise; got the shape {scores.shape}."
        )
    return scores


def check_truth(truth: Any, name: str, shape: tuple[int, int], layout: str) -> np.ndarray:
    """Validate what retraining found, and average it over seeds.

    Parameters
    ----------
    truth : array-like of shape `shape` or (n_seeds, *shape)
        What came.
    name : str
        Its name.
    shape : tuple of int
        What a single seed must have.
    layout : str
        What the axes mean.

    Returns
    -------
    truth : ndarray of shape `shape`
        float64, mean over seeds.

    Raises
    ------
    ValueError
        If a value is not finite, or the shape is another.
    """
    truth = check_array(
        truth, dtype=np.float64, allow_nd=True, ensure_min_features=0, input_name=name
    )
    if truth.shape[-2:] != shape or truth.ndim not in (2, 3):
        raise ValueError(
            f"{name} must have the shape {layout} = {shape}, with an axis of seeds before them or "
            f"without; got {truth.shape}."
        )
    return truth.mean(0) if truth.ndim == 3 else truth


def check_row_scores(is_mislabelled: Any, scores: Any) -> tuple[np.ndarray, np.ndarray]:
    """Validate which rows are mislabelled, and one score for each.

    Parameters
    ----------
    is_mislabelled : array-like of shape (n_rows,)
        Booleans, or 0 and 1.
    scores : array-like of shape (n_rows,)
        What came.

    Returns
    -------
    is_mislabelled : ndarray of shape (n_rows,)
        Booleans.
    scores : ndarray of shape (n_rows,)
        float64.

    Raises
    ------
    ValueError
        If the lengths differ, a value is not finite or no boolean, or all rows are alike.
    """
    scores = check_array(scores, dtype=np.float64, ensure_2d=False, input_name="scores")
    flags = check_array(is_mislabelled, dtype=None, ensure_2d=False, input_name="is_mislabelled")
    if flags.ndim != 1 or flags.shape != scores.shape:
        raise ValueError(
            "is_mislabelled and scores must both have the shape (n_rows,); got "
            f"{flags.shape} and {scores.shape}."
        )
    if not np.isin(flags, (0, 1)).all():
        raise ValueError("is_mislabelled must hold booleans, or 0 and 1.")
    flags = flags.astype(bool)
    if flags.all() or not flags.any():
        raise ValueError(
            "is_mislabelled must hold mislabelled and other rows; got "
            f"{int(flags.sum())} mislabelled of {len(flags)}."
        )
    return flags, scores


def average_queries(values: np.ndarray, average: str | None) -> float | np.ndarray:
    """Return the mean over queries, or the values as they are.

    Parameters
    ----------
    values : ndarray of shape (n_queries,)
        One for each query.
    average : {"queries"} or None
        What was asked for.

    Returns
    -------
    average : float or ndarray of shape (n_queries,)
        The mean for "queries", the values for None.

    Raises
    ------
    ValueError
        If `average` is anything else.
    """
    if average not in ("queries", None):
        raise ValueError(f"average must be 'queries' or None, got {average!r}.")
    return values if average is None else float(values.mean())
