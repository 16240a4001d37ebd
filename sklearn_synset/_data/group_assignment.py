"""Which group of the fitted partition a row falls in."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist
from sklearn.preprocessing import StandardScaler

from sklearn_synset._data.input_checks import CHECK_TURN
from sklearn_synset._data.row_source import at_once, row_slices

_MAX_DISTANCES = 2**24  # to hold at once


@dataclass(frozen=True, eq=False)
class GroupCentres:
    """Centres of the groups in standardised features.

    Parameters
    ----------
    scaler : StandardScaler
        Standardises flattened rows (with the target appended for regression).
    centres : ndarray of shape (K, d)
        Mean of each group's standardised rows.
    has_class : ndarray of shape (K, C) or None
        Whether a group holds rows of a class; None for regression.
    """

    scaler: StandardScaler
    centres: np.ndarray
    has_class: np.ndarray | None

    def assign(self, X: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the group with the nearest centre, among those that hold the row's class if any.

        Parameters
        ----------
        X : ndarray of shape (q, d...)
            Rows.
        y : ndarray of shape (q,) or (q, t)
            Codes of their classes, or their targets.

        Returns
        -------
        groups : ndarray of shape (q,)
            In [0, K).
        """
        parts = [self._assign(X[rows], y[rows]) for rows in row_slices(len(X), at_once(X))]
        return np.concatenate(parts)

    def _assign(self, X: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Assign a few rows."""
        rows = standardised(self.scaler, X, y if self.has_class is None else None)
        if self.has_class is None:
            return _nearest(rows, self.centres)
        groups = np.empty(len(rows), dtype=np.int64)
        for code in np.unique(y):
            candidates = np.flatnonzero(self.has_class[:, code])
            if not len(candidates):  # a class without training rows
                candidates = np.arange(len(self.centres))
            members = y == code
            nearest = _nearest(rows[members], self.centres[candidates])
            groups[members] = candidates[nearest]
        return groups


def group_centres(
    X: np.ndarray, y: np.ndarray, groups: np.ndarray, n_classes: int | None
) -> GroupCentres:
    """Describe a partition by its centres.

    Parameters
    ----------
    X : ndarray of shape (n, d...)
        Training rows.
    y : ndarray of shape (n,) or (n, t)
        Codes of their classes, or their targets.
    groups : ndarray of shape (n,)
        Group of each row, in [0, K), none of them empty.
    n_classes : int or None
        C; None for regression.
    """

    def appended(rows: slice) -> np.ndarray | None:
        return y[rows] if n_classes is None else None

    scaler = StandardScaler()
    for rows in row_slices(len(X), at_once(X)):
        scaler.partial_fit(_features(X[rows], appended(rows)))
    n_groups = int(groups.max()) + 1
    totals = np.zeros((n_groups, scaler.n_features_in_))
    for rows in row_slices(len(X), at_once(X)):
        n_rows = rows.stop - rows.start
        places = (np.ones(n_rows), (groups[rows], np.arange(n_rows)))
        membership = csr_array(places, shape=(n_groups, n_rows))
        totals += membership @ standardised(scaler, X[rows], appended(rows))
    centres = totals / np.bincount(groups, minlength=n_groups)[:, None]
    if n_classes is None:
        return GroupCentres(scaler, centres, None)
    has_class = np.zeros((n_groups, n_classes), dtype=bool)
    has_class[groups, y] = True
    return GroupCentres(scaler, centres, has_class)


def standardised(scaler: StandardScaler, X: np.ndarray, y: np.ndarray | None) -> np.ndarray:
    """Return standardised rows; a target is appended with the weight of all d features.

    Parameters
    ----------
    scaler : StandardScaler
        Fitted on such rows.
    X : ndarray of shape (q, d...)
        Rows.
    y : ndarray of shape (q,) or (q, t) or None
        Targets, or None to append nothing.

    Returns
    -------
    rows : ndarray of shape (q, d + t)
        Targets are multiplied by the square root of d / t, as in the partition.
    """
    with CHECK_TURN:
        rows = scaler.transform(_features(X, y))
    if y is not None:
        n_targets = y.reshape(len(y), -1).shape[1]
        n_features = rows.shape[1] - n_targets
        rows[:, n_features:] *= np.sqrt(n_features / n_targets)
    return rows


def _nearest(rows: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Return the centre (q,) next to each row; unlike scikit-learn's, fit for several threads."""
    chunks = np.array_split(rows, max(1, len(rows) * len(centres) // _MAX_DISTANCES))
    return np.concatenate([cdist(chunk, centres, "sqeuclidean").argmin(1) for chunk in chunks])


def _features(X: np.ndarray, y: np.ndarray | None) -> np.ndarray:
    rows = X.reshape(len(X), -1).astype(float)
    return rows if y is None else np.hstack([rows, y.reshape(len(y), -1)])
