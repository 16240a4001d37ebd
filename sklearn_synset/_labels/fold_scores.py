"""Objectives and true labels of rows, by networks that have not seen them."""

import torch

from sklearn_synset._data.row_source import Rows
from sklearn_synset._labels.folds import Folds, class_probabilities, log_probabilities
from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._network.training_loss import one_hot_targets
from sklearn_synset._objective.objective import Objective
from sklearn_synset._retraining.rows_left_out import nearest_in_group
from sklearn_synset._retraining.synset import Synset
from sklearn_synset._runtime.torch_interop import as_array, as_tensor


def fold_objectives(
    folds: Folds,
    model: FunctionalModel,
    synset: Synset,
    X: Rows,
    y: torch.Tensor,
    own_group: torch.Tensor,
    objective: Objective,
    batch_size: int,
) -> torch.Tensor:
    r"""Return each row's objective by networks that have not seen it.

    Parameters
    ----------
    folds : Folds
        The networks.
    model : FunctionalModel
        The explained network.
    synset : Synset
        The rows that were trained on.
    X : Tensor or RowSource of shape (q, d...)
        Queries.
    y : Tensor of shape (q,) or (q, C)
        Their labels or values.
    own_group : Tensor of shape (q,)
        Group that each falls in.
    objective : callable
        Maps outputs (q, C) and `y` to values (q,).
    batch_size : int
        Most queries to evaluate at once.

    Returns
    -------
    objectives : Tensor of shape (q,), dtype float64
        Of labels :math:`o(\log r_i, y_i)` with the posterior :math:`r_i` of the true label; of
        values :math:`\frac{1}{S} \sum_s o_i(\theta^{(s)}_{-F_i})`.
    """
    if model.loss == "cross_entropy":
        outputs = fold_log_posterior(folds, model, synset, X, y, own_group, batch_size)
        return objective(outputs, y)
    own_fold = _fold_of(folds, model, synset, X, y, own_group)
    found = []
    for networks in folds.networks:
        values = networks.objectives(model, X, y, objective, batch_size)
        found.append(values.gather(0, own_fold[None])[0])
    return torch.stack(found).mean(0)


def fold_log_posterior(
    folds: Folds,
    model: FunctionalModel,
    synset: Synset,
    X: Rows,
    y: torch.Tensor,
    own_group: torch.Tensor,
    batch_size: int,
) -> torch.Tensor:
    r"""Return the log-probability of each class being a row's true label.

    Returns
    -------
    log_posterior : Tensor of shape (q, C), dtype float64
        As of `LabelNoise.log_posterior`, with the probabilities of classes by the networks without
        the fold :math:`F_i`, mean over the course of their training and over the seeds. The fold
        is that of the synset row of the query's group that is nearest to it: of a training row,
        itself. The log-probabilities themselves, if the labels are class probabilities.
    """
    own_fold = _fold_of(folds, model, synset, X, y, own_group)
    p = torch.zeros(len(X), model.n_outputs, dtype=torch.float64, device=y.device)
    for k in own_fold.unique().tolist():
        rows = (own_fold == k).nonzero()[:, 0]
        p[rows] = class_probabilities(model, folds.networks, k, X[rows], batch_size)
    log_p = log_probabilities(as_array(p))
    if folds.noise is not None and y.ndim == 1:
        log_p = folds.noise.log_posterior(log_p, as_array(y))
    return as_tensor(log_p, device=y.device)


def _fold_of(
    folds: Folds,
    model: FunctionalModel,
    synset: Synset,
    X: Rows,
    y: torch.Tensor,
    own_group: torch.Tensor,
) -> torch.Tensor:
    return folds.fold[nearest_in_group(X, one_hot_targets(model, y), own_group, synset)]
