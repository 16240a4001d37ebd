"""How far the synset's group gradients are from those of the training rows."""

from collections.abc import Callable

import torch

Distance = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def squared_error(synset: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    r"""Return the squared relative error of the groups' gradients and of their sum.

    Parameters
    ----------
    synset, real : Tensor of shape (K, D)
        Gradient of each group, of its synset rows and of its training rows.

    Returns
    -------
    distance : Tensor of shape ()
        :math:`\sum_k \lVert \hat g_k - g_k \rVert^2 / \sum_k \lVert g_k \rVert^2
        + \lVert \sum_k (\hat g_k - g_k) \rVert^2 / \lVert \sum_k g_k \rVert^2`; 0 for equal ones.
    """
    error, size = synset - real, real.square().sum()
    # A converged network's total is small against its parts, and no measure for their error.
    total = torch.maximum(real.sum(0).square().sum(), size / len(real))
    groups = error.square().sum() / torch.where(size > 0, size, 1)
    whole = error.sum(0).square().sum() / torch.where(total > 0, total, 1)
    return groups + whole


def cosine_distance(synset: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    r"""Return one minus the cosine between the groups' gradients, mean over groups.

    Parameters
    ----------
    synset, real : Tensor of shape (K, D)
        Gradient of each group, of its synset rows and of its training rows.

    Returns
    -------
    distance : Tensor of shape ()
        In [0, 2]; blind to the length of the gradients.
    """
    return 1 - torch.nn.functional.cosine_similarity(synset, real, dim=-1).mean()


DISTANCES: dict[str, Distance] = {"cosine": cosine_distance, "squared_error": squared_error}
