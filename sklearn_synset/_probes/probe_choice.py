"""Which groups are probed, and what for: to choose by, or to report on."""

import torch

_SHARE_TO_CHOOSE_BY = 0.25


def draw_probes(n_groups: int, n_probes: int, generator: torch.Generator) -> torch.Tensor:
    """Draw groups to leave out, one at a time.

    Parameters
    ----------
    n_groups : int
        K.

    n_probes : int
        Groups to draw; all of them if there are fewer.

    generator : torch.Generator
        On the CPU.

    Returns
    -------
    kept : Tensor of shape (P, K)
        For each probe, 1 for a group that is kept and 0 for the one that is left out: first the
        probes to choose by (see `n_to_choose_by`), then those to report on, both in the groups'
        order.
    """
    groups = torch.randperm(n_groups, generator=generator)[:n_probes]
    parts = groups.tensor_split([n_to_choose_by(len(groups))])
    groups = torch.cat([part.sort().values for part in parts])
    kept = torch.ones(len(groups), n_groups)
    kept[torch.arange(len(groups)), groups] = 0
    return kept


def n_to_choose_by(n_probes: int) -> int:
    """Return how many probes the synset is chosen by, the first ones.

    Parameters
    ----------
    n_probes : int
        P.

    Returns
    -------
    n : int
        A quarter of them, so that the others, which share no group with these, tell how good the
        choice was. 0 when that would be a single one: nothing is then chosen.

    Examples
    --------
    >>> from sklearn_synset._probes.probe_choice import n_to_choose_by
    >>> [n_to_choose_by(n) for n in (2, 7, 8, 16)]
    [0, 0, 2, 4]
    """
    n = int(n_probes * _SHARE_TO_CHOOSE_BY)
    return n if n > 1 else 0
