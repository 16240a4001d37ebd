"""Attributions to single training rows, a few queries at a time."""

from collections.abc import Iterator

import numpy as np

from sklearn_synset._attribution.leave_out_networks import LeaveOutNetworks
from sklearn_synset._attribution.row_allocation import share_out, share_out_remainder
from sklearn_synset._attribution.standard_error import check_several_networks, standard_error
from sklearn_synset._data.input_checks import check_option, result_dtype
from sklearn_synset._data.row_source import RowSource, row_slices
from sklearn_synset._network.training_loss import encoded_labels
from sklearn_synset._objective.objective import Objective
from sklearn_synset._runtime.torch_interop import as_array

_WEIGHTS_AT_ONCE = 2**26
_EFFECTS_AT_ONCE = 2**25
_SHARES_AT_ONCE = 2**21


def sample_attributions(
    online: LeaveOutNetworks, X: np.ndarray, target: np.ndarray, objective: Objective
) -> Iterator[tuple[slice, np.ndarray]]:
    """Share the groups' attributions out among the training rows.

    Parameters
    ----------
    online : LeaveOutNetworks
        The networks without each group, and the training rows.
    X : ndarray of shape (q, d...)
        Queries.
    target : ndarray of shape (q,) or (q, C)
        Codes of their labels, or their values.
    objective : callable
        Maps outputs (q, C) and labels to values (q,).

    Yields
    ------
    queries : slice
        The next queries, in their order.
    attributions : ndarray of shape (M, b, n)
        For each of M networks, the effect of each training row on these queries. Those of a
        group's rows add up to the group's.
    """
    effects_of_rows = online.row_effects
    codes, weight = group_codes(online), as_array(online.rows.weight)  # type: ignore[union-attr]
    scores = online.attributions_by_network(X, target, objective)
    model = online.models[0]
    queries = RowSource.to_read(X, model.dtype, model.device)
    labels = encoded_labels(model, target)
    for block in row_slices(len(X), _queries_at_once(online, len(codes))):
        effects = [
            as_array(of_network.effects(queries[block], labels[block], objective))
            for of_network in effects_of_rows
        ]
        sharing = [
            share_out_remainder if of_network.path.is_a_minimum else share_out
            for of_network in effects_of_rows
        ]
        for part in row_slices(block.stop - block.start, max(1, _SHARES_AT_ONCE // len(codes))):
            which = slice(block.start + part.start, block.start + part.stop)
            shares = [
                share(score[which], effect[part], codes, weight)
                for share, score, effect in zip(sharing, scores, effects, strict=True)
            ]
            yield which, np.stack(shares)


def attribution_to_rows(
    online: LeaveOutNetworks,
    X: np.ndarray,
    target: np.ndarray,
    objective: Objective,
    *,
    return_std: bool,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the whole matrix of attributions (q, n), mean over networks, and its standard error.

    Parameters
    ----------
    online, X, target, objective
        As of `sample_attributions`.
    return_std : bool
        Whether to return the standard error (q, n), else None.

    Returns
    -------
    attributions, std : ndarray of shape (q, n)
        Of the dtype of `X`.
    """
    if return_std:
        check_several_networks(len(online.models))
    dtype = result_dtype(X)
    parts = [
        (each.mean(0).astype(dtype), standard_error(each).astype(dtype) if return_std else None)
        for _, each in sample_attributions(online, X, target, objective)
    ]
    attributions = np.concatenate([part for part, _ in parts])
    return attributions, np.concatenate([error for _, error in parts]) if return_std else None


def most_influential(
    online: LeaveOutNetworks,
    X: np.ndarray,
    target: np.ndarray,
    objective: Objective,
    *,
    n_rows: int,
    direction: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Return indices and attributions (q, n_rows) of the rows that matter most to each query.

    Returns
    -------
    indices, values : ndarray of shape (q, n_rows)
        As of `largest_attributions`; values of the dtype of `X`.

    Raises
    ------
    ValueError
        If there are not so many training rows, or there is no such direction.
    """
    check_option("direction", direction, ("both", "helpful", "harmful"))
    most = len(online.training_rows.X)
    if not isinstance(n_rows, (int, np.integer)) or not 1 <= n_rows <= most:
        raise ValueError(
            f"n_rows={n_rows!r} has to be an int between 1 and the number of training rows, {most}."
        )
    parts = [
        largest_attributions(each.mean(0), n_rows, direction)
        for _, each in sample_attributions(online, X, target, objective)
    ]
    indices, values = (np.concatenate(part) for part in zip(*parts, strict=True))
    return indices, values.astype(result_dtype(X))


def largest_attributions(
    attributions: np.ndarray, n_rows: int, direction: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows that matter most for each query.

    Parameters
    ----------
    attributions : ndarray of shape (q, n)
        Effect of each training row on each query.
    n_rows : int
        Rows to return, at most n.
    direction : {"both", "helpful", "harmful"}
        By absolute value, the largest, or the smallest.

    Returns
    -------
    indices : ndarray of shape (q, n_rows)
        Which rows, the most influential first, ties in the order of the rows.
    values : ndarray of shape (q, n_rows)
        Their attributions.
    """
    sign = {"helpful": 1.0, "harmful": -1.0}
    size = np.abs(attributions) if direction == "both" else sign[direction] * attributions
    indices = np.argsort(-size, axis=1, kind="stable")[:, :n_rows]
    return indices, np.take_along_axis(attributions, indices, axis=1)


def group_codes(online: LeaveOutNetworks) -> np.ndarray:
    """Return the group (n,) of each training row, in [0, K)."""
    return as_array(online.rows.group)  # type: ignore[union-attr]


def _queries_at_once(online: LeaveOutNetworks, n_rows: int) -> int:
    by_weights = _WEIGHTS_AT_ONCE // online.models[0].n_parameters
    by_effects = _EFFECTS_AT_ONCE // (n_rows * len(online.models))
    return max(1, min(by_weights, by_effects))
