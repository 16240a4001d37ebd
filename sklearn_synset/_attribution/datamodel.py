"""Linear datamodels: group effects from random subsets instead of single removals."""

import torch


def random_halves(n_removals: int, n_groups: int, generator: torch.Generator) -> torch.Tensor:
    """Draw random halves of the groups.

    Parameters
    ----------
    n_removals : int
        Number of halves R.
    n_groups : int
        Number of groups K, at least 2.
    generator : torch.Generator
        On the CPU.

    Returns
    -------
    kept : Tensor of shape (R, K)
        1 for the K / 2 groups (rounded up) that are kept.
    """
    order = torch.rand(n_removals, n_groups, generator=generator).argsort(1)
    return (order < (n_groups + 1) // 2).double()


def datamodel_weights(kept: torch.Tensor) -> torch.Tensor:
    r"""Return the map from the removals' effects to each group's effect.

    Parameters
    ----------
    kept : Tensor of shape (R, K)
        1 for the groups that a network was trained on.

    Returns
    -------
    weights : Tensor of shape (R, K)
        W with which effects E (q, R), the objective with everything minus that of each network,
        give the attribution matrix :math:`E W` (q, K).

    Notes
    -----
    Each query's objective is regressed on the masks [1]_: :math:`E \approx a + (1 - M) \beta^\top`
    by least squares of the smallest norm, so :math:`\beta_k` is what leaving out group k costs on
    average over random halves of the others.

    References
    ----------
    .. [1] Ilyas, Park, Engstrom, Leclerc, Madry, "Datamodels", ICML 2022, section 2.
    """
    removed = 1 - kept
    return torch.linalg.pinv(removed - removed.mean(0)).T
