"""Partition of the training rows into groups: clusters within each class."""

import warnings

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler


def auto_n_groups(n_rows: int, n_classes: int) -> int:
    """Choose how many groups to make: one for every 20 rows, within limits.

    Parameters
    ----------
    n_rows : int
        Number of training rows.

    n_classes : int
        Number of classes; 1 for regression.

    Returns
    -------
    n_groups : int
        ``n_rows / 20``, but at least two a class and at most 100, unless that would leave groups
        of fewer than two rows on average or a class without a group.

    Examples
    --------
    >>> from sklearn_synset._offline._data_partition import auto_n_groups
    >>> auto_n_groups(1000, 10), auto_n_groups(100, 10), auto_n_groups(60000, 10)
    (50, 20, 100)
    """
    wanted = max(2 * n_classes, min(100, n_rows // 20))
    return max(n_classes, min(wanted, n_rows // 2))


def class_wise_kmeans(
    X: np.ndarray,
    y: np.ndarray,
    n_groups: int,
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

    n_groups : int
        Number of groups, shared among the classes in proportion to their rows (largest
        remainder), at least one each.

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

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_synset._offline._data_partition import class_wise_kmeans
    >>> X = np.array([[0.0], [0.1], [9.0], [0.0], [9.0], [9.1]])
    >>> y = np.array([0, 0, 0, 1, 1, 1])
    >>> rng = np.random.RandomState(0)
    >>> labels = class_wise_kmeans(X, y, 4, classification=True, random_state=rng)
    >>> bool(labels[0] == labels[1] != labels[2]), bool(labels[3] != labels[4] == labels[5])
    (True, True)
    """
    n_rows = len(X)
    if n_groups > n_rows:
        raise ValueError(f"There are fewer rows than groups: {n_rows} rows, n_groups={n_groups}.")
    features = StandardScaler().fit_transform(X.reshape(n_rows, -1))
    if not classification:
        return _kmeans(_append_target(features, y), n_groups, random_state)
    codes = np.unique(y, return_inverse=True)[1]
    shares = _proportional_shares(np.bincount(codes), n_groups)
    labels = np.empty(n_rows, dtype=np.int64)
    first_groups = np.cumsum(shares) - shares
    for code, (share, first_group) in enumerate(zip(shares, first_groups, strict=True)):
        rows = np.flatnonzero(codes == code)
        labels[rows] = first_group + _kmeans(features[rows], share, random_state)
    return labels


def _append_target(features: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return (n, d + t): features and the target, which weighs as much as all of them."""
    target = StandardScaler().fit_transform(y.reshape(len(y), -1))
    return np.hstack([features, target * np.sqrt(features.shape[1] / target.shape[1])])


def _proportional_shares(sizes: np.ndarray, total: int) -> np.ndarray:
    """Split `total` in proportion to `sizes`: each share is in [1, size], remainders decide."""
    if total < len(sizes):
        raise ValueError(
            f"There are fewer groups than classes: n_groups={total}, {len(sizes)} classes."
        )
    quotas = total * sizes / sizes.sum()
    shares = np.maximum(np.floor(quotas).astype(np.int64), 1)
    while shares.sum() < total:
        shares[np.argmax(np.where(shares < sizes, quotas - shares, -np.inf))] += 1
    while shares.sum() > total:
        shares[np.argmax(np.where(shares > 1, shares - quotas, -np.inf))] -= 1
    return shares


def _kmeans(
    features: np.ndarray, n_clusters: int, random_state: np.random.RandomState
) -> np.ndarray:
    """Return labels (n,) of exactly `n_clusters` clusters, none of them empty."""
    if n_clusters == 1:
        return np.zeros(len(features), dtype=np.int64)
    with warnings.catch_warnings():
        # Repeated rows; _split_to makes up for the missing clusters.
        warnings.filterwarnings("ignore", "Number of distinct clusters", ConvergenceWarning)
        labels = KMeans(n_clusters, n_init=2, random_state=random_state).fit_predict(features)
    return _split_to(n_clusters, np.unique(labels, return_inverse=True)[1])


def _split_to(n_clusters: int, labels: np.ndarray) -> np.ndarray:
    """Halve the largest cluster, in row order, until there are `n_clusters`."""
    for new_label in range(labels.max() + 1, n_clusters):
        rows = np.flatnonzero(labels == np.bincount(labels).argmax())
        labels[rows[len(rows) // 2 :]] = new_label
    return labels
