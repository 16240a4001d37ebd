"""What leaving out a group does to the weights to first order: it adds up over groups."""

import torch

from sklearn_synset._curvature.inverse import inverse_curvature
from sklearn_synset._data.training_data import TrainingRows
from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._retraining.gradient_path import retraining_path
from sklearn_synset._retraining.removal import Retraining
from sklearn_synset._retraining.synset import Synset

_RANK = 64
_SHARE = 0.25


def first_order_displacements(
    model: FunctionalModel,
    synset: Synset,
    rows: TrainingRows,
    sample: Synset,
    retraining: Retraining,
    generator: torch.Generator,
) -> torch.Tensor:
    r"""Return how leaving out each group moves the weights, to first order.

    Parameters
    ----------
    model : FunctionalModel
        The trained network.
    synset : Synset
        What it is trained on again.
    rows : TrainingRows
        The training rows, whose gradients are taken.
    sample : Synset
        Some of them, whose curvature is measured.
    retraining : Retraining
        How it is trained again.
    generator : torch.Generator
        On the CPU.

    Returns
    -------
    displacement : Tensor of shape (K, D)
        :math:`(H + \lambda)^{-1} (\bar g_k - \frac{n_k}{n} \sum_j \bar g_j)` up to a common factor,
        an influence function [1]_ but for its gradients: :math:`\bar g_k` is the mean over the
        path on which the network is trained again with all groups, see `retraining_path`. H is the
        Gauss-Newton matrix at the trained weights, of rank 64, :math:`\lambda` the weight decay
        and damping plus twice the reciprocal of the path's length.

    References
    ----------
    .. [1] Koh, Liang, "Understanding black-box predictions via influence functions", ICML 2017,
       section 2.
    """
    path = retraining_path(model, synset, retraining)
    gradients = path.group_gradients(model, rows)
    share = synset.group_size / synset.group_size.sum()
    gradients -= share[:, None] * gradients.sum(0)
    curvature = inverse_curvature(model, sample.X, sample.weight, generator, _RANK)
    return curvature.solve(gradients, model.weight_decay + retraining.damping + path.damping)


def blended(displacement: torch.Tensor, first_order: torch.Tensor) -> torch.Tensor:
    r"""Mix displacements with those of first order.

    Parameters
    ----------
    displacement : Tensor of shape (K, D)
        By leave-out retraining.
    first_order : Tensor of shape (K, D)
        To first order, up to a common factor.

    Returns
    -------
    displacement : Tensor of shape (K, D)
        :math:`\frac{3}{4} \delta_k + \frac{1}{4} c\, \delta_k'`, where c gives both the same
        Frobenius norm.

    Notes
    -----
    Both have errors, and of different kinds: a retraining rests on few synset rows and depends
    on what else was learnt, the first order does not see how residuals change. Effects that are
    the sum of both agree better with networks that lose many groups.
    """
    length = first_order.norm()
    if not length > 0:
        return displacement
    return torch.lerp(displacement, first_order * (displacement.norm() / length), _SHARE)
