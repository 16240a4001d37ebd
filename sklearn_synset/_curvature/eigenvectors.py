"""The leading eigenvectors of a curvature that is known by its products alone."""

from collections.abc import Callable

import torch


def leading_curvature(
    multiply: Callable[[torch.Tensor], torch.Tensor], sketch: torch.Tensor, rank: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Find leading eigenpairs within the space that a sketch spans.

    Parameters
    ----------
    multiply : callable
        Maps columns (D, c) to their products with a symmetric, positive semi-definite matrix.
    sketch : Tensor of shape (D, c)
        Products of the matrix with random columns, a few more than wanted; products of
        products for a spectrum that falls slowly [1]_.
    rank : int
        Eigenpairs to return, at most c.

    Returns
    -------
    curvature : Tensor of shape (rank,)
        Eigenvalues, the largest first.
    directions : Tensor of shape (D, rank)
        Orthonormal eigenvectors.

    References
    ----------
    .. [1] Halko, Martinsson, Tropp, "Finding structure with randomness", SIAM Review 53(2), 2011,
       algorithms 4.4 and 5.3.
    """
    basis = torch.linalg.qr(sketch)[0]
    image = basis.T @ multiply(basis)
    eigenvalues, rotation = torch.linalg.eigh((image + image.T) / 2)
    kept = eigenvalues.argsort(descending=True)[:rank]
    return eigenvalues[kept].clamp(min=0), basis @ rotation[:, kept]
