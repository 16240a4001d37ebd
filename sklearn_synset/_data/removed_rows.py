"""Which training rows are to be left out, from what a user names."""

import numpy as np

from sklearn_synset._data.input_checks import exact_labels, unknown_labels


def removed_rows(
    group_labels: np.ndarray, groups: object | None, rows: object | None
) -> np.ndarray:
    """Mark the training rows that are named by their group or themselves.

    Parameters
    ----------
    group_labels : ndarray of shape (n,)
        Group of each training row.
    groups : array-like or None
        Labels of groups.
    rows : array-like or None
        Boolean mask (n,), or indices.

    Returns
    -------
    removed : ndarray of bool of shape (n,)
        True for each row that is named at least once.

    Raises
    ------
    TypeError
        If neither is given, or `rows` holds neither booleans nor integers.
    ValueError
        If a group or row is unknown, or none would be left.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_synset._data.removed_rows import removed_rows
    >>> removed_rows(np.array(["a", "b", "b", "c"]), ["b"], [3])
    array([False,  True,  True,  True])
    """
    if groups is None and rows is None:
        raise TypeError("leave_out needs groups, rows or both.")
    removed = np.zeros(len(group_labels), dtype=bool)
    if groups is not None:
        groups = np.atleast_1d(np.asarray(exact_labels(groups)))
        if groups.ndim > 1:
            raise ValueError(f"groups should be a 1d array, got an array of shape {groups.shape}.")
        unknown = unknown_labels(groups, group_labels)
        if unknown:
            raise ValueError(f"groups holds {unknown}, which are not in groups_.")
        removed |= np.isin(group_labels, groups)
        if removed.all():
            raise ValueError("groups holds all groups: nothing would be left to train on.")
    if rows is not None:
        removed |= _row_mask(rows, len(group_labels))
        if removed.all():
            raise ValueError("rows names all training rows: nothing would be left to train on.")
    return removed


def _row_mask(rows: object, n_rows: int) -> np.ndarray:
    """Mark rows that are given as a mask or by their indices."""
    given = np.atleast_1d(np.asarray(rows))
    if given.ndim != 1:
        raise ValueError(f"rows must be one-dimensional, got shape {given.shape}.")
    if given.dtype == bool:
        if len(given) != n_rows:
            raise ValueError(f"rows marks {len(given)} rows, but fit was given {n_rows}.")
        return given
    if len(given) and given.dtype.kind not in "iu":
        raise TypeError(f"rows must hold booleans or integers, got dtype {given.dtype}.")
    unknown = given[(given < 0) | (given >= n_rows)] if len(given) else given
    if len(unknown):
        raise ValueError(f"rows holds {unknown[:5].tolist()}, outside of 0 to {n_rows - 1}.")
    mask = np.zeros(n_rows, dtype=bool)
    mask[given.astype(int)] = True
    return mask
