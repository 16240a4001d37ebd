"""Which real rows a synset starts from: a weighted coreset of every group."""

from collections.abc import Callable

import torch

Initialization = Callable[
    [torch.Tensor, torch.Tensor, int, torch.Generator], tuple[torch.Tensor, torch.Tensor]
]


def residual_rows(
    rows: torch.Tensor, residual_norm: torch.Tensor, size: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Take the rows that the network fits worst, and random others for the rest of the group.

    One or two badly fitted rows carry most of a group's gradient; each of them stands for itself
    alone, and the random others share the rest of the group.

    Parameters
    ----------
    rows : Tensor of shape (n_k,)
        Indices of the group's rows.

    residual_norm : Tensor of shape (n_k,)
        Norm of the loss gradient with respect to each row's outputs.

    size : int
        Rows to take, at most n_k.

    generator : torch.Generator
        Draws the others; on the CPU.

    Returns
    -------
    chosen : Tensor of shape (size,)
        Row indices.

    weight : Tensor of shape (size,)
        Training rows that each stands for; sums to n_k.
    """
    n_rows = len(rows)
    n_worst = size if size == n_rows else (size + 1) // 2 if size > 1 else 0
    order = residual_norm.argsort(descending=True, stable=True).cpu()
    worst, rest = order[:n_worst], order[n_worst:]
    others = rest[torch.randperm(len(rest), generator=generator)[: size - n_worst]]
    weight = torch.ones(size)
    weight[n_worst:] = (n_rows - n_worst) / max(1, size - n_worst)
    return rows[torch.cat([worst, others]).to(rows.device)], weight


def random_rows(
    rows: torch.Tensor, residual_norm: torch.Tensor, size: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Take random rows of equal weight; parameters and returns as of `residual_rows`."""
    chosen = torch.randperm(len(rows), generator=generator)[:size].to(rows.device)
    return rows[chosen], torch.full((size,), len(rows) / size)


INITIALIZATIONS: dict[str, Initialization] = {"random": random_rows, "residual": residual_rows}


def choose_rows(
    rows_by_group: list[torch.Tensor],
    residual_norm: torch.Tensor,
    synset_size: int,
    initialization: str | Initialization,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Choose the starting rows of all groups.

    Parameters
    ----------
    rows_by_group : list of K Tensors
        Row indices of each group.

    residual_norm : Tensor of shape (n,)
        Norm of the loss gradient with respect to each row's outputs.

    synset_size : int
        Rows per group; a smaller group gives all its rows.

    initialization : {"random", "residual"} or callable
        A callable has the signature of `residual_rows`.

    generator : torch.Generator
        On the CPU.

    Returns
    -------
    chosen : Tensor of shape (s,)
        Row indices, group after group.

    weight : Tensor of shape (s,)
        Training rows that each stands for.
    """
    choose = INITIALIZATIONS[initialization] if isinstance(initialization, str) else initialization
    parts = [
        choose(rows, residual_norm[rows], min(synset_size, len(rows)), generator)
        for rows in rows_by_group
    ]
    chosen, weights = zip(*parts, strict=True)
    return torch.cat(chosen), torch.cat(weights).to(residual_norm)
