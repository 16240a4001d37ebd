"""Partition of the training rows into groups: clusters within each class."""

import math
import warnings
from collections.abc import Iterator

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from sklearn_synset._data.row_source import at_once, row_slices

# Centres are found on a random part of more rows than this, or than this for each group.
_FITTED_ROWS, _FITTED_ROWS_A_GROUP = 5000, 100


def auto_n_groups(n_rows: int, n_classes: int) -> int:
    """Choose how many groups to make: one for every 20 rows, within limits.

    Returns
    -------
    n_groups : int
        ``n_rows / 20``, but at least two a class and at most 100, unless that would leave groups
        of fewer than two rows on average or a class without a group.

    Examples
    --------
    >>> from sklearn_synset._data.partition import auto_n_groups
    >>> auto_n_groups(1000, 10), auto_n_groups(100, 10), auto_n_groups(60000, 10)
    (50, 20, 100)
    """
    wanted = max(2 * n_classes, min(100, n_rows // 20))
    return max(n_classes, min(wanted, n_rows // 2))


def class_wise_kmeans(
    X: np.ndarray,
    y: np.ndarray,
    n_groups: int | str,
    *,
    classification: bool,
    random_state: np.random.RandomState,
) -> np.ndarray:
    r"""Cluster the standardised rows of each class by k-means.

    Parameters
    ----------
    X : ndarray of shape (n, d...)
        Training rows; image-shaped ones are flattened.
    y : ndarray of shape (n,) or (n, t)
        Class labels, or targets.
    n_groups : int or "auto"
        Number of groups, "auto" as of `auto_n_groups`; shared among the classes in proportion to
        their rows (largest remainder), at least one each.
    classification : bool
        Whether `y` holds labels. Targets are clustered along with the features instead.
    random_state : RandomState
        Source of k-means' starting centres.

    Returns
    -------
    labels : ndarray of shape (n,), dtype int64
        Group of each row, in [0, n_groups); every group has a row, and for classification the
        groups are numbered class by class.

    Raises
    ------
    ValueError
        If there are fewer rows than groups, or fewer groups than classes.

    Notes
    -----
    For regression, features :math:`x \in R^d` and target :math:`y \in R^t` are standardised and
    k-means runs once on :math:`(x, y \sqrt{d / t})`. The target then weighs as much as all
    features together, as it does for classes, and no number of strata has to be chosen.

    Rows that repeat can leave k-means with fewer clusters than asked for. The largest cluster is
    then halved in row order until the number is right.

    Of more than 5,000 rows, and more than 100 for each group, a random part of every class (5,000
    or 100 a group, in all) finds the centres, and all rows then go to the nearest one of their
    class. They are read a few at a time.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_synset._data.partition import class_wise_kmeans
    >>> X = np.array([[0.0], [0.1], [9.0], [0.0], [9.0], [9.1]])
    >>> y = np.array([0, 0, 0, 1, 1, 1])
    >>> rng = np.random.RandomState(0)
    >>> labels = class_wise_kmeans(X, y, 4, classification=True, random_state=rng)
    >>> bool(labels[0] == labels[1] != labels[2]), bool(labels[3] != labels[4] == labels[5])
    (True, True)
    """
    n_rows = len(X)
    if n_groups == "auto":
        n_groups = auto_n_groups(n_rows, len(np.unique(y)) if classification else 1)
    n_groups = int(n_groups)
    if n_groups > n_rows:
        raise ValueError(f"There are fewer rows than groups: {n_rows} rows, n_groups={n_groups}.")
    share_fitted = max(_FITTED_ROWS, _FITTED_ROWS_A_GROUP * n_groups) / n_rows
    features = _StandardisedRows(X, None if classification else y)
    if not classification:
        return _kmeans(features, np.arange(n_rows), n_groups, share_fitted, random_state)
    codes = np.unique(y, return_inverse=True)[1]
    shares = _proportional_shares(np.bincount(codes), n_groups)
    labels = np.empty(n_rows, dtype=np.int64)
    first_groups = np.cumsum(shares) - shares
    for code, (share, first_group) in enumerate(zip(shares, first_groups, strict=True)):
        rows = np.flatnonzero(codes == code)
        labels[rows] = first_group + _kmeans(features, rows, share, share_fitted, random_state)
    return labels


class _StandardisedRows:
    """Standardised rows, with a target that weighs as much as all features if there is one."""

    def __init__(self, X: np.ndarray, y: np.ndarray | None) -> None:
        self._X, self._scaler = X, StandardScaler()
        for rows in row_slices(len(X), at_once(X)):
            self._scaler.partial_fit(X[rows].reshape(rows.stop - rows.start, -1))
        self._target = None
        if y is not None:
            target = StandardScaler().fit_transform(y.reshape(len(y), -1))
            self._target = target * np.sqrt(self._scaler.n_features_in_ / target.shape[1])

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        features = self._scaler.transform(self._X[rows].reshape(len(rows), -1))
        return features if self._target is None else np.hstack([features, self._target[rows]])

    def split(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """Read some rows, a few at a time."""
        return (self[rows[part]] for part in row_slices(len(rows), at_once(self._X)))


def _proportional_shares(sizes: np.ndarray, total: int) -> np.ndarray:
    """Split `total` in proportion to `sizes`: each share is in [1, size], remainders decide."""
    if total < len(sizes):
        raise ValueError(
            f"There are fewer groups than classes: n_groups={total}, {len(sizes)} classes."
        )
    quotas = total * sizes / sizes.sum()
    shares = np.maximum(np.floor(quotas).astype(np.int64), 1)
    while shares.sum() < total:
        shares[np.argmax(quotas - shares)] += 1
    while shares.sum() > total:
        shares[np.argmax(np.where(shares > 1, shares - quotas, -np.inf))] -= 1
    return shares


def _kmeans(
    features: _StandardisedRows,
    rows: np.ndarray,
    n_clusters: int,
    share_fitted: float,
    random_state: np.random.RandomState,
) -> np.ndarray:
    """Return labels (b,) of exactly `n_clusters` clusters of some rows, none of them empty."""
    if n_clusters == 1:
        return np.zeros(len(rows), dtype=np.int64)
    kmeans = KMeans(n_clusters, n_init=2, random_state=random_state)
    # Products of k-means are small, and numpy's threads would wait for each other.
    with threadpool_limits(1, user_api="blas"), warnings.catch_warnings():
        # Repeated rows; _split_to makes up for the missing clusters.
        warnings.filterwarnings("ignore", "Number of distinct clusters", ConvergenceWarning)
        if share_fitted >= 1:
            labels = kmeans.fit_predict(features[rows])
        else:
            n_fitted = max(n_clusters, math.ceil(share_fitted * len(rows)))
            fitted = np.sort(random_state.permutation(len(rows))[:n_fitted])
            kmeans.fit(features[rows[fitted]])
            labels = np.concatenate([kmeans.predict(batch) for batch in features.split(rows)])
    return _split_to(n_clusters, np.unique(labels, return_inverse=True)[1])


def _split_to(n_clusters: int, labels: np.ndarray) -> np.ndarray:
    """Halve the largest cluster, in row order, until there are `n_clusters`."""
    for new_label in range(labels.max() + 1, n_clusters):
        rows = np.flatnonzero(labels == np.bincount(labels).argmax())
        labels[rows[len(rows) // 2 :]] = new_label
    return labels
