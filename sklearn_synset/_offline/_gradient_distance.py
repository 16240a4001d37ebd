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
    tiny = torch.finfo(real.dtype).tiny
    error, total = synset - real, real.sum(0)
    groups = error.square().sum() / real.square().sum().clamp(min=tiny)
    # A converged network's total is small against its parts, and no measure for their error.
    floor = real.square().sum() / len(real)
    whole = error.sum(0).square().sum() / torch.maximum(total.square().sum(), floor).clamp(min=tiny)
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
