"""Minibatches: a large synset is retrained on a few hundred of its rows at a time."""

from collections.abc import Iterator
from dataclasses import replace

import torch

from sklearn_synset._synset import Synset

_ROWS = 250


def n_minibatches(synset: Synset, size: int | None = None) -> int:
    """Return how many minibatches a pass over a synset takes; 1 up to some 375 rows."""
    return max(1, round(len(synset.weight) / (size or _ROWS)))


def minibatches(synset: Synset, seed: int, size: int | None = None) -> Iterator[Synset]:
    r"""Deal a synset's rows out at random, pass after pass, without end.

    Parameters
    ----------
    synset : Synset
        Of s rows.

    seed : int
        Of the order of the rows.

    size : int, default=None
        Rows of a minibatch; 250 if None.

    Yields
    ------
    minibatch : Synset
        About as many rows, whose weights are scaled by one factor so that their sum is that of all
        rows; the synset itself if that makes one minibatch.

    Examples
    --------
    >>> import torch
    >>> from sklearn_synset._online._minibatches import minibatches
    >>> from sklearn_synset._synset import Synset
    >>> zeros, size = torch.zeros(1000, 1), torch.tensor([1000.0])
    >>> synset = Synset(zeros, zeros, torch.ones(1000), torch.zeros(1000, dtype=torch.long), size)
    >>> minibatch = next(minibatches(synset, seed=0))
    >>> len(minibatch.weight), float(minibatch.weight.sum())
    (250, 1000.0)
    """
    generator = torch.Generator().manual_seed(seed)
    n_rows, n_parts = len(synset.weight), n_minibatches(synset, size)
    while n_parts == 1:
        yield synset
    while True:
        for rows in torch.randperm(n_rows, generator=generator).chunk(n_parts):
            yield _some_rows(synset, rows.to(synset.group.device))


def _some_rows(synset: Synset, rows: torch.Tensor) -> Synset:
    weight = synset.weight[rows]
    return replace(
        synset,
        X=synset.X[rows],
        y=synset.y[rows],
        weight=weight * (synset.weight.sum() / weight.sum()),
        group=synset.group[rows],
    )
