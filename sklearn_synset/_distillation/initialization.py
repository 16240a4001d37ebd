"""What a synset starts from: real rows, and means of real rows, for every group."""

import warnings
from collections.abc import Callable

import numpy as np
import torch
from sklearn.cluster import KMeans, kmeans_plusplus
from sklearn.exceptions import ConvergenceWarning

from sklearn_synset._data.row_source import Rows, at_once, few_rows
from sklearn_synset._data.spread import target_scale

# Centres of clusters are found on a random part of more rows than this of a group.
_FITTED_ROWS, _FITTED_ROWS_A_CLUSTER = 1250, 10

Initialization = Callable[
    [Rows, torch.Tensor, torch.Tensor, int, torch.Generator],
    tuple[torch.Tensor, torch.Tensor],
]


def centroid_rows(
    X: Rows,
    targets: torch.Tensor,
    residual_norm: torch.Tensor,
    size: int,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Take the rows that the network fits worst, and means of clusters of the others.

    One or two badly fitted rows carry most of a group's gradient; each of them represents itself
    alone. The others are so alike that the mean of a cluster acts as its rows do.

    Parameters
    ----------
    X : Tensor or SelectedRows of shape (n_k, d...)
        The group's rows.
    targets : Tensor of shape (n_k, C)
        Their targets.
    residual_norm : Tensor of shape (n_k,)
        Norm of the loss gradient with respect to each row's outputs.
    size : int
        Synset rows to make, m, at most n_k.
    generator : torch.Generator
        On the CPU.

    Returns
    -------
    average : Tensor of shape (m, n_k)
        What each synset row is the mean of; its lines sum to 1.
    weight : Tensor of shape (m,)
        Training rows that each represents; sums to n_k.
    """
    n_worst = _n_worst(len(X), size)
    order = residual_norm.argsort(descending=True, stable=True).cpu()
    labels = torch.empty(len(X), dtype=torch.long)
    labels[order[:n_worst]] = torch.arange(n_worst)
    rest = order[n_worst:].sort().values
    if len(rest):
        labels[rest] = n_worst + _cluster(X, targets, rest, size - n_worst, generator)
    member = torch.nn.functional.one_hot(labels, size).T.to(targets)
    weight = member.sum(1)
    filled = weight > 0  # rows that repeat can leave k-means with fewer clusters
    average = member[filled] / weight[filled, None]
    return _means_of_equal_targets(average, targets, generator), weight[filled]


def random_rows(
    X: Rows,
    targets: torch.Tensor,
    residual_norm: torch.Tensor,
    size: int,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Take random rows of equal weight; parameters and returns as of `centroid_rows`."""
    chosen = torch.randperm(len(X), generator=generator)[:size]
    weight = torch.full((size,), len(X) / size).to(targets)
    return torch.nn.functional.one_hot(chosen, len(X)).to(targets), weight


INITIALIZATIONS: dict[str, Initialization] = {"centroid": centroid_rows, "random": random_rows}


def auto_sizes(group_sizes: np.ndarray, share: float, largest: int) -> np.ndarray:
    r"""Share synset rows out among groups by the square root of their training rows.

    Parameters
    ----------
    group_sizes : ndarray of shape (K,)
        Training rows of each group.
    share : float
        Most synset rows over training rows, in all, unless one a group is more.
    largest : int
        Most synset rows of a group.

    Returns
    -------
    sizes : ndarray of shape (K,)
        Synset rows of each group, :math:`\lfloor c \sqrt{n_k} \rfloor` within 1 and the smaller of
        `largest` and :math:`n_k`, with the largest c that keeps to the share.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_synset._distillation.initialization import auto_sizes
    >>> auto_sizes(np.array([2, 20, 14]), 0.25, 10)
    array([1, 4, 4])
    """
    root = np.sqrt(group_sizes)
    ceilings = np.minimum(group_sizes, largest)

    def sizes(factor):
        return np.clip(np.floor(factor * root).astype(int), 1, ceilings)

    # The sizes change only where c times a root is a whole number.
    steps = np.unique(np.arange(1, largest + 1)[:, None] / root[None, :])
    # A step is taken a little late rather than lost to rounding.
    steps = np.append(0.0, steps * (1 + 1e-12))
    fits = [sizes(step).sum() <= share * group_sizes.sum() for step in steps]
    return sizes(steps[max(0, sum(fits) - 1)])


def starting_rows(
    X: Rows,
    targets: torch.Tensor,
    rows_by_group: list[torch.Tensor],
    residual_norm: torch.Tensor,
    sizes: np.ndarray,
    initialization: str | Initialization,
    generator: torch.Generator,
    of_identifiers: bool = False,
    row_weight: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Make the starting rows of all groups.

    Parameters
    ----------
    X : Tensor or RowSource of shape (n, d...)
        Training rows.
    targets : Tensor of shape (n, C)
        Their targets.
    rows_by_group : list of K Tensors
        Row indices of each group.
    residual_norm : Tensor of shape (n,)
        Norm of the loss gradient with respect to each row's outputs.
    sizes : ndarray of shape (K,)
        Synset rows per group; a group of fewer rows gives all of them.
    initialization : {"centroid", "random"} or callable
        A callable has the signature of `centroid_rows`.
    generator : torch.Generator
        On the CPU.
    of_identifiers : bool, default=False
        Whether rows hold identifiers, whose averages are no rows: "centroid" takes random rows
        then, and the row next to each average of a callable takes its place. With the worst rows
        and a row of each cluster of the others, effects were 1.8 times too small; with random
        rows, 0.9 times.
    row_weight : Tensor of shape (n,), default=None
        Weight of each row, positive; all ones if None. Averages are weighted by it, and the rows
        of a group add up to its total.

    Returns
    -------
    X_synset : Tensor of shape (s, d...)
        Inputs, group after group.
    y_synset : Tensor of shape (s, C)
        Targets.
    weight : Tensor of shape (s,)
        Training rows that each represents.
    group : Tensor of shape (s,)
        Group of each.
    """
    if of_identifiers and initialization == "centroid":
        initialization = "random"
    make = INITIALIZATIONS[initialization] if isinstance(initialization, str) else initialization
    largest = [min(int(size), len(rows)) for size, rows in zip(sizes, rows_by_group, strict=True)]
    inputs = targets.new_empty((sum(largest), *X.shape[1:]), dtype=X[:1].dtype)
    outputs = targets.new_empty((sum(largest), targets.shape[1]))
    weights, groups = [], []
    end = 0
    for k, rows in enumerate(rows_by_group):
        # A callable may do with the rows whatever tensors are good for.
        members = few_rows(X, rows) if isinstance(initialization, str) else X[rows]
        average, weight = make(members, targets[rows], residual_norm[rows], largest[k], generator)
        average, weight = average.to(targets), weight.to(targets)
        _check_rows(average, weight, largest[k], len(rows))
        if row_weight is not None:
            average, weight = _weighted(average, weight, row_weight[rows])
        start, end = end, end + len(weight)
        if of_identifiers:
            inputs[start:end] = _medoids(average, members)
        else:
            inputs[start:end] = _averages(average, members)
        own = targets[rows]
        # Rounding may leave probabilities that are larger than 1.
        outputs[start:end] = (average @ own).clamp(own.amin(0), own.amax(0))
        weights.append(weight)
        groups.append(torch.full((len(weight),), k, device=weight.device))
    return inputs[:end], outputs[:end], torch.cat(weights), torch.cat(groups)


def _weighted(
    average: torch.Tensor, weight: torch.Tensor, row_weight: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return averages (m, n_k) and their weights (m,) with the rows weighted."""
    mean = average @ row_weight
    own = weight * mean
    return average * row_weight / mean[:, None], own * (row_weight.sum() / own.sum())


def _check_rows(average: torch.Tensor, weight: torch.Tensor, size: int, n_rows: int) -> None:
    """Raise a ValueError unless an initialisation gives rows that a group can be made of."""
    is_right = weight.ndim == 1 and average.shape == (len(weight), n_rows)
    is_right = is_right and 0 < len(weight) <= size
    if not is_right or not average.isfinite().all() or not (weight > 0).all():
        raise ValueError(
            f"initialization must return averages of shape (m, {n_rows}) and m positive weights, "
            f"with m at most {size}; got averages of shape {tuple(average.shape)} and weights of "
            f"shape {tuple(weight.shape)}, or values that are not finite or not positive."
        )


def _n_worst(n_rows: int, size: int) -> int:
    """Return how many synset rows are real rows: half of them, or all if there are enough."""
    if size >= n_rows:
        return n_rows
    return min((size + 1) // 2, size - 1)


def _averages(average: torch.Tensor, X: Rows) -> torch.Tensor:
    """Return averages (m, d...) of rows (n_k, d...), a few of them at a time."""
    size = at_once(X)
    parts = zip(average.split(size, dim=1), X.split(size), strict=True)
    first, rows = next(parts)
    total = torch.tensordot(first, rows, dims=1)
    for part, rows in parts:
        total += torch.tensordot(part, rows, dims=1)
    return total


def _medoids(average: torch.Tensor, X: Rows) -> torch.Tensor:
    """Return the row (m, d...) next to each average, out of those that it is made of."""
    rows = X[:].flatten(1).double()
    distance = torch.cdist(average.double() @ rows, rows)
    nearest = distance.masked_fill(average == 0, torch.inf).argmin(1)
    return X[nearest]


def _append_targets(X: torch.Tensor, targets: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Append targets to rows so that k-means parts them first: (n, d + C)."""
    features = X.flatten(1) if X.is_floating_point() else X.flatten(1).double()
    return torch.cat([features, scale * targets], dim=1)


def _cluster(
    X: Rows, targets: torch.Tensor, rest: torch.Tensor, n_clusters: int, generator: torch.Generator
) -> torch.Tensor:
    """Return the cluster (b,) of some rows; of many, a random part finds the centres."""
    seed = int(torch.randint(2**31 - 1, (1,), generator=generator))
    if n_clusters == 1:
        return torch.zeros(len(rest), dtype=torch.long)
    rest = rest.to(targets.device)
    n_fitted = max(_FITTED_ROWS, _FITTED_ROWS_A_CLUSTER * n_clusters)
    if len(rest) <= n_fitted:
        scale, fitted = target_scale(X, targets), rest
    else:
        drawn = torch.randperm(len(rest), generator=generator)[:n_fitted].sort().values
        fitted = rest[drawn.to(rest.device)]
        scale = target_scale(X[fitted], targets[fitted])

    def read(some: torch.Tensor) -> np.ndarray:
        return _append_targets(X[some], targets[some], scale).cpu().numpy()

    some = read(fitted)
    # Of single precision, scikit-learn converts the rows again for each centre that it draws.
    centres, _ = kmeans_plusplus(some.astype(np.float64), n_clusters, random_state=seed)
    kmeans = KMeans(n_clusters, init=centres.astype(some.dtype), n_init=1, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        labels = kmeans.fit_predict(some)
    if len(fitted) < len(rest):
        labels = np.concatenate([kmeans.predict(read(some)) for some in rest.split(at_once(X))])
    return torch.from_numpy(labels.astype(np.int64))


def _means_of_equal_targets(
    average: torch.Tensor, targets: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Replace the mean of rows of several classes, which acts like none, by one of the rows."""
    is_label = bool(((targets == 0) | (targets == 1)).all()) and targets.shape[1] > 1
    mixed = ((average @ targets) * (1 - average @ targets)).sum(1) > 1e-6
    if is_label:
        for line in mixed.nonzero()[:, 0].tolist():
            members = average[line].nonzero()[:, 0].cpu()
            drawn = members[torch.randint(len(members), (1,), generator=generator)]
            average[line] = 0
            average[line, drawn] = 1
    return average
