"""Measure on the training rows what a synset's gradients lack, along the path with all groups."""

from functools import partial
from itertools import islice

import torch

from sklearn_synset._curvature.eigenvectors import leading_curvature
from sklearn_synset._curvature.gauss_newton import (
    gauss_newton_blocks,
    gauss_newton_products_in_batches,
)
from sklearn_synset._curvature.group_gradient import group_gradients, training_gradients
from sklearn_synset._data.training_data import TrainingRows
from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._retraining.path_remainder import PathRemainder
from sklearn_synset._retraining.removal import MOMENTUM, Retraining, removal_path
from sklearn_synset._retraining.rewinding import (
    is_single_layer,
    on_the_way,
    rewound,
)
from sklearn_synset._retraining.synset import Synset

_N_STEPS = 6
_MAX_NUMBERS = 2**25
_RANK = 64
_RANK_OF_A_LAYER = 256  # a layer has as many curved directions as inputs times classes
_MAX_MOVES = 256
_OWN_RANK = 8
_OVERSAMPLING = 8


def affordable_steps(model: FunctionalModel, synset: Synset) -> int:
    """At how many steps the gradients of all groups can be kept, in 32 million numbers.

    What is measured on the path with all groups holds on those without one where the curvature
    changes little: with a squared loss, or outputs that are linear in the weights. In deeper
    classifiers the curvature is that of few, badly fitted rows, and falls as they are fitted.
    """
    return min(_N_STEPS, _MAX_NUMBERS // (synset.n_groups * model.n_parameters))


def measured_remainder(
    model: FunctionalModel,
    synset: Synset,
    rows: TrainingRows,
    sample: Synset,
    retraining: Retraining,
    moves: torch.Tensor,
    generator: torch.Generator,
) -> PathRemainder:
    r"""Return what the synset's gradients and curvature lack of the training rows'.

    Parameters
    ----------
    model : FunctionalModel
        The trained network.
    synset : Synset
        Its synset.
    rows : TrainingRows
        The training rows.
    sample : Synset
        Some of them, whose curvature is measured.
    retraining : Retraining
        How the network is trained.
    moves : Tensor of shape (R, D)
        Displacements of the wanted networks, without a remainder; curvature is
        measured in up to 256 of these directions, too.
    generator : torch.Generator
        On the CPU.

    Returns
    -------
    remainder : PathRemainder
        At as many steps of the path with all groups as are affordable, evenly in their logarithm.
        Each costs a pass over all rows.
    """
    n_steps = affordable_steps(model, synset)
    steps, points = _points_on_the_path(model, synset, retraining, n_steps)
    gradient = torch.stack(
        [
            training_gradients(model, point, rows) - _synset_gradients(model, synset, point)
            for point in points
        ]
    )
    curved = _curved_directions(model, sample, retraining.rewind, generator)
    directions = _orthonormal(torch.cat([moves[:_MAX_MOVES], curved]))
    totals, vectors, values = [], [], []
    for point in points:
        lacking = _blocks(model, sample, point, directions)
        lacking -= _blocks(model, synset, point, directions)
        totals.append(_positive_part(lacking.sum(0)))
        own_vectors, own_values = _leading_part(lacking, generator)
        vectors.append(own_vectors)
        values.append(own_values)
    return PathRemainder(
        steps,
        gradient,
        directions,
        torch.stack(totals),
        torch.stack(vectors),
        torch.stack(values),
    )


def _points_on_the_path(
    model: FunctionalModel, synset: Synset, retraining: Retraining, n_points: int
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Return steps (T,) of the path with all groups, and the weights that they differentiate at."""
    last = retraining.n_steps - 1
    spread = [round(max(last, 0) ** (part / (n_points - 1))) for part in range(1, n_points)]
    steps = sorted({0, *(step for step in spread if step <= last)})
    everything = torch.ones_like(synset.group_size)[None]
    theta = rewound(model, retraining.rewind)
    points = [theta]
    path = removal_path(model, synset, everything, retraining)
    for step, (reached,) in enumerate(islice(path, last), 1):
        theta, velocity = reached.clone(), reached - theta
        if step in steps:
            points.append(theta + MOMENTUM * velocity)
    return torch.tensor(steps), points


def _synset_gradients(model: FunctionalModel, synset: Synset, theta: torch.Tensor) -> torch.Tensor:
    """Return the gradient (K, D) of each group's synset rows."""
    rows_by_group = [(synset.group == group).nonzero()[:, 0] for group in range(synset.n_groups)]
    share = synset.weight / synset.n_rows
    size = len(synset.weight)
    return group_gradients(model, theta, synset.X, synset.y, rows_by_group, size, share)


def _curved_directions(
    model: FunctionalModel, sample: Synset, rewind: float, generator: torch.Generator
) -> torch.Tensor:
    """Return the leading eigenvectors (r, D) of the rows' curvature, mean over the path's ends."""
    rank = _RANK_OF_A_LAYER if is_single_layer(model) else _RANK
    n_probes = min(rank + _OVERSAMPLING, model.n_parameters)
    shape = (model.n_parameters, n_probes)
    probes = torch.randn(shape, generator=generator, dtype=model.dtype).to(model.device)
    multiply = partial(gauss_newton_products_in_batches, model)
    share = sample.weight / sample.n_rows

    def mean_product(columns: torch.Tensor) -> torch.Tensor:
        ends = on_the_way(model, rewind)[::2]
        products = [multiply(theta, sample.X, columns.T, share) for theta in ends]
        return torch.stack(products).mean(0).T

    directions = leading_curvature(
        mean_product, mean_product(torch.linalg.qr(mean_product(probes))[0]), min(rank, n_probes)
    )[1]
    return directions.T.contiguous()


def _orthonormal(directions: torch.Tensor) -> torch.Tensor:
    """Return an orthonormal basis (r, D) of the first directions (R, D), at most D of them."""
    length = directions.norm(dim=1, keepdim=True)
    directions = (directions / torch.where(length > 0, length, 1))[: directions.shape[1]]
    return torch.linalg.qr(directions.T)[0].T.contiguous()


def _blocks(
    model: FunctionalModel, rows: Synset, theta: torch.Tensor, directions: torch.Tensor
) -> torch.Tensor:
    """Return each group's curvature (K, r, r) in some directions (r, D)."""
    share = rows.weight / rows.n_rows
    return gauss_newton_blocks(model, theta, rows.X, directions, share, rows.group, rows.n_groups)


def _positive_part(matrix: torch.Tensor) -> torch.Tensor:
    """Return a symmetric matrix without its negative eigenvalues."""
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    return (vectors * values.clamp(min=0)) @ vectors.T


def _leading_part(
    matrices: torch.Tensor, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the eigenvectors (K, q, r) and -values (K, q) of symmetric matrices (K, r, r).

    Those of the largest absolute values, by subspace iteration.
    """
    rank = matrices.shape[-1]
    n_columns = min(2 * _OWN_RANK, rank)
    start = torch.randn(rank, n_columns, generator=generator, dtype=matrices.dtype)
    basis = start.to(matrices.device).expand(len(matrices), -1, -1)
    for _ in range(2):
        basis = torch.linalg.qr(matrices @ basis)[0]
    values, rotation = torch.linalg.eigh(basis.mT @ matrices @ basis)
    kept = values.abs().argsort(-1, descending=True)[:, :_OWN_RANK]
    vectors = torch.take_along_dim(basis @ rotation, kept[:, None], -1)
    return vectors.mT.contiguous(), values.gather(-1, kept)
