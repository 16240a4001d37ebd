"""Single rows left out of a synset, whose rows represent several of them."""

import numpy as np
import torch

from sklearn_synset._data.row_source import Rows, at_once, few_rows
from sklearn_synset._data.spread import target_scale
from sklearn_synset._data.training_data import TrainingRows
from sklearn_synset._retraining.synset import Synset
from sklearn_synset._runtime.torch_interop import as_array

_EXACT = "donot_use_mm_for_euclid_dist"  # a copy of a row has to be its nearest


def representatives(
    X: Rows, targets: torch.Tensor, rows_by_group: list[torch.Tensor], synset: Synset
) -> torch.Tensor:
    """Find the synset row that represents each training row.

    Parameters
    ----------
    X : Tensor or RowSource of shape (n, d...)
        Training rows.
    targets : Tensor of shape (n, C)
        Their targets.
    rows_by_group : list of K Tensors
        Row indices of each group.
    synset : Synset
        What represents them.

    Returns
    -------
    representative : Tensor of shape (n,)
        Index of the nearest synset row of the row's own group. The targets weigh as much as all
        features together, by their spread within the group.
    """
    nearest = torch.empty(len(X), dtype=torch.long, device=targets.device)
    for k, members in enumerate(rows_by_group):
        candidates = (synset.group == k).nonzero()[:, 0]
        rows = few_rows(X, members)
        scale = target_scale(rows, targets[members])
        own = torch.cat([synset.X[candidates].flatten(1), scale * synset.y[candidates]], dim=1)
        size = at_once(rows)
        for features, some in zip(rows.split(size), members.split(size), strict=True):
            found = _nearest(features, scale * targets[some], own, by_products=True)
            nearest[some] = candidates[found]
    return nearest


def representatives_of(rows: TrainingRows, synset: Synset, *, is_whole: bool) -> np.ndarray:
    """Return the synset row (n,) that represents each training row.

    Parameters
    ----------
    rows : TrainingRows
        The training rows.
    synset : Synset
        What represents them.
    is_whole : bool
        Whether the synset is all training rows in their order, each of which represents itself.
    """
    if is_whole:
        return np.arange(len(rows.X))
    return as_array(representatives(rows.X, rows.targets, rows.rows_by_group, synset))


def nearest_in_group(
    X: Rows, targets: torch.Tensor, own_group: torch.Tensor, synset: Synset
) -> torch.Tensor:
    """Find the synset row next to any row, in the group that it falls in.

    Parameters
    ----------
    X : Tensor or RowSource of shape (q, d...)
        Rows.
    targets : Tensor of shape (q, C)
        Their targets.
    own_group : Tensor of shape (q,)
        Their groups.
    synset : Synset
        What represents training rows.

    Returns
    -------
    nearest : Tensor of shape (q,)
        Index of a synset row. The targets weigh as much as all features together, by their spread
        over the group's synset rows: each row's answer is the same whatever the others are.
    """
    nearest = torch.empty_like(own_group)
    for k in own_group.unique().tolist():
        candidates = (synset.group == k).nonzero()[:, 0]
        scale = target_scale(synset.X[candidates], synset.y[candidates])
        own = torch.cat([synset.X[candidates].flatten(1), scale * synset.y[candidates]], dim=1)
        for some in (own_group == k).nonzero()[:, 0].split(at_once(X)):
            nearest[some] = candidates[_nearest(X[some], scale * targets[some], own)]
    return nearest


def _nearest(
    features: torch.Tensor, targets: torch.Tensor, own: torch.Tensor, *, by_products: bool = False
) -> torch.Tensor:
    """Return which of some rows (m, d + C) is next to each of others, (b, d...) and (b, C).

    By products it takes a quarter of the time where rows are many, but of rows that are equally
    near any may be found. In double precision, which MPS has not, so that a copy of a row is its
    nearest.
    """
    rows = torch.cat([features.flatten(1), targets], dim=1)
    if not by_products or rows.device.type == "mps":
        return torch.cdist(rows, own, compute_mode=_EXACT).argmin(1)
    middle = own.mean(0)
    rows, own = (rows - middle).double(), (own - middle).double()
    return torch.addmm(own.square().sum(1), rows, own.T, alpha=-2).argmin(1)


def in_two_groups(
    synset: Synset,
    representative: np.ndarray,
    group: np.ndarray,
    removed: np.ndarray,
    weight: np.ndarray | None = None,
) -> Synset:
    r"""Part a synset into what represents the kept rows and the removed ones.

    Parameters
    ----------
    synset : Synset
        In K groups.
    representative : ndarray of shape (n,)
        Synset row that represents each training row.
    group : ndarray of shape (n,)
        Group of each training row, in [0, K).
    removed : ndarray of bool of shape (n,)
        Training rows to leave out.
    weight : ndarray of shape (n,), default=None
        Weight of each training row, positive; all ones if None.

    Returns
    -------
    parted : Synset
        Group 0 is kept, group 1 is left out; together they are the synset: a row that represents
        both is in both, with its weight shared out.

    Notes
    -----
    Each removed row takes its weight from its representative. Where that has not as much, the
    rest is taken from the group's other rows in proportion to what they have left, so that a group
    loses the weight of its removed rows, and all of it when all its rows are removed.
    """
    device, dtype = synset.weight.device, synset.weight.dtype
    weight = np.ones(len(removed)) if weight is None else weight
    own = weight[removed]
    count = np.bincount(representative[removed], own, minlength=len(synset.weight))
    wanted = np.bincount(group[removed], own, minlength=synset.n_groups)
    of_row = torch.as_tensor(count, dtype=dtype, device=device)
    of_group = torch.as_tensor(wanted, dtype=dtype, device=device)
    taken = torch.minimum(of_row, synset.weight)
    left = synset.weight - taken
    missing = of_group - _sum_by_group(taken, synset)
    available = _sum_by_group(left, synset)
    share = torch.where(available > 0, missing / available, 0.0).clamp(0, 1)
    is_kept = np.bincount(group[~removed], minlength=synset.n_groups) > 0
    share = torch.where(torch.as_tensor(is_kept, device=device), share, 1.0)
    taken = taken + left * share[synset.group]
    parts = [(synset.weight - taken, 0), (taken, 1)]
    chosen = [weight > 0 for weight, _ in parts]
    return Synset(
        torch.cat([synset.X[rows] for rows in chosen]),
        torch.cat([synset.y[rows] for rows in chosen]),
        torch.cat([weight[rows] for (weight, _), rows in zip(parts, chosen, strict=True)]),
        torch.cat(
            [
                rows.new_full((int(rows.sum()),), part, dtype=torch.long)
                for (_, part), rows in zip(parts, chosen, strict=True)
            ]
        ),
        torch.tensor([weight[~removed].sum(), weight[removed].sum()]).to(synset.group_size),
    )


def _sum_by_group(values: torch.Tensor, synset: Synset) -> torch.Tensor:
    """Sum of values (s,) over each group, (K,)."""
    return values.new_zeros(synset.n_groups).index_add(0, synset.group, values)
