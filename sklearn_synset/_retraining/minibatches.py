"""Minibatches: a large synset is retrained on a few hundred of its rows at a time."""

from collections.abc import Iterator
from dataclasses import replace

import torch

from sklearn_synset._retraining.synset import Synset

_ROWS = 200  # at least, of several minibatches


def n_minibatches(synset: Synset, size: int | None = None) -> int:
    """Return how many minibatches of about a size a pass takes; by default 1 below 400 rows."""
    n_rows = len(synset.weight)
    return max(1, n_rows // _ROWS if size is None else round(n_rows / size))


def minibatches(
    synset: Synset, seed: int, size: int | None = None, *, is_even: bool = True
) -> Iterator[Synset]:
    r"""Split a synset's rows into random minibatches, pass after pass, without end.

    Parameters
    ----------
    synset : Synset
        Of s rows.
    seed : int
        Of the order of the rows.
    size : int, default=None
        Rows of a minibatch, about; 200 or some more if None.
    is_even : bool, default=True
        Spread each group's rows over a pass at even distances from a random start, so that no
        minibatch has many of some groups and none of others.

    Yields
    ------
    minibatch : Synset
        Some rows, whose weights are scaled by one factor so that their sum is that of all
        rows; the synset itself if that makes one minibatch.

    Examples
    --------
    >>> import torch
    >>> from sklearn_synset._retraining.minibatches import minibatches
    >>> from sklearn_synset._retraining.synset import Synset
    >>> zeros, size = torch.zeros(1000, 1), torch.tensor([1000.0])
    >>> synset = Synset(zeros, zeros, torch.ones(1000), torch.zeros(1000, dtype=torch.long), size)
    >>> minibatch = next(minibatches(synset, seed=0))
    >>> len(minibatch.weight), float(minibatch.weight.sum())
    (200, 1000.0)
    """
    generator = torch.Generator().manual_seed(seed)
    group, n_parts = synset.group.cpu(), n_minibatches(synset, size)
    while n_parts == 1:
        yield synset
    while True:
        order = torch.randperm(len(group), generator=generator)
        if is_even:
            order = _spread_out(order, group, generator)
        for rows in order.chunk(n_parts):
            yield _some_rows(synset, rows.to(synset.group.device))


def _spread_out(
    order: torch.Tensor, group: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Return an order of the rows (n,) in which those of each group are evenly spread.

    Within a group they are in the given order (n,).
    """
    shuffled = group[order]
    count = shuffled.bincount()
    start = torch.rand(len(count), generator=generator, dtype=torch.float64)
    by_group = shuffled.argsort(stable=True)
    rank = torch.arange(len(group)) - (count.cumsum(0) - count).repeat_interleave(count)
    position = (rank + start.repeat_interleave(count)) / count.repeat_interleave(count)
    return order[by_group[position.argsort(stable=True)]]


def _some_rows(synset: Synset, rows: torch.Tensor) -> Synset:
    weight = synset.weight[rows]
    return replace(
        synset,
        X=synset.X[rows],
        y=synset.y[rows],
        weight=weight * (synset.weight.sum() / weight.sum()),
        group=synset.group[rows],
    )
