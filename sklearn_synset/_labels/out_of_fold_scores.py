"""Out-of-fold objectives of rows under the trained network and under rewound ones."""

from dataclasses import replace

import numpy as np
import torch

from sklearn_synset._data.row_source import Rows
from sklearn_synset._labels.folds import folds_of_rows
from sklearn_synset._labels.label_noise import fit_label_noise
from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._network.training_loss import one_hot_targets
from sklearn_synset._objective.evaluation import evaluate_objective
from sklearn_synset._objective.objective import Objective, margin
from sklearn_synset._retraining.checkpoints import checkpoints
from sklearn_synset._retraining.leave_out import LeaveOut, leave_one_out, with_shorter_steps
from sklearn_synset._retraining.removal import Retraining
from sklearn_synset._retraining.rows_left_out import nearest_in_group
from sklearn_synset._retraining.synset import Synset
from sklearn_synset._runtime.torch_interop import as_array, as_tensor

_REWIND = 0.95  # little is left of what the trained weights memorised
_SHARE_OF_STEPS = 0.5  # what is learnt later is memorised
_FIRST_STEP, _N_CHECKPOINTS = 3, 8
_N_FOLDS = 8
_SHARE_OF_TRAINED = 2 / 3  # it has seen all rows, not a quarter of them


def own_group_objectives(
    model: FunctionalModel,
    synset: Synset,
    leave_out: LeaveOut,
    X: Rows,
    y: torch.Tensor,
    own_group: torch.Tensor,
    objective: Objective,
) -> torch.Tensor:
    r"""Return each row's objective, mean over the trained network and one that trains again.

    Parameters
    ----------
    model : FunctionalModel
        The trained network.
    synset : Synset
        What it is trained on again.
    leave_out : LeaveOut
        How; its `rewind` is not used.
    X : Tensor or RowSource of shape (q, d...)
        Rows.
    y : Tensor of shape (q,) or (q, C)
        Their labels or values.
    own_group : Tensor of shape (q,)
        Group that each falls in.
    objective : callable
        Maps outputs (q, C) and `y` to values (q,), larger for a better network.

    Returns
    -------
    objectives : Tensor of shape (q,)
        :math:`\frac{2}{3} o_i(\theta_T) + \frac{1}{3 |P|} \sum_{t \in P}
        o_i(\theta^{(t)}_{S \setminus F_i})`, where the fold :math:`F_i` holds the synset
        row that is nearest in the row's own group, and a path starts from weights that 0.95 of the
        outputs are taken away from. P are steps spread evenly in their logarithm over the first
        half of the retraining. Margins are averaged as probabilities: the log-odds of their mean.

    Notes
    -----
    The folds part every group's rows as evenly as they can, eight in all, whatever the number of
    groups. A row with a wrong label is learnt late, and from itself and its like alone. The mean
    over the path is an area under the margin [1]_ of networks that have not seen what represents
    the row; the trained network is the best judge of rows that it has not memorised. As
    probabilities, no network outvotes the others by being surer of everything.

    References
    ----------
    .. [1] Pleiss, Zhang, Elenberg, Weinberger, "Identifying mislabeled data using the area under
       the margin ranking", NeurIPS 2020, section 3.
    """
    size, mean = leave_out.batch_size, _Mean(len(X), y.device, is_log_odds=objective is margin)
    folds = _in_folds(synset, leave_out.seed)
    nearest = nearest_in_group(X, one_hot_targets(model, y), own_group, synset)
    rows_of_fold = [
        (folds.group[nearest] == fold).nonzero()[:, 0] for fold in range(folds.n_groups)
    ]
    everyone = torch.arange(len(X), device=y.device)
    mean.add(
        everyone, evaluate_objective(model, model.theta, X, y, objective, size), _SHARE_OF_TRAINED
    )
    retraining = _early_retraining(model, folds, leave_out)
    kept = leave_one_out(folds)
    for networks in torch.arange(len(kept)).split(leave_out.n_networks(model, folds)):
        checkpoints = _checkpoints(model, folds, leave_out, kept[networks], retraining)
        for thetas in checkpoints:
            for fold, theta in zip(networks.tolist(), thetas, strict=True):
                for rows in rows_of_fold[fold].split(size):
                    if len(rows):
                        values = evaluate_objective(model, theta, X[rows], y[rows], objective, size)
                        mean.add(rows, values, (1 - _SHARE_OF_TRAINED) / len(checkpoints))
    return mean.value.to(model.dtype)


def rewound_log_posterior(
    model: FunctionalModel,
    synset: Synset,
    leave_out: LeaveOut,
    X: Rows,
    y: torch.Tensor,
    own_group: torch.Tensor,
) -> torch.Tensor:
    """Return the log-probability (q, C) of each class being a row's true label.

    Parameters
    ----------
    model, synset, leave_out, X, y, own_group
        As of `own_group_objectives`; `y` holds codes. The label noise is estimated from these rows.
    """
    every = torch.arange(model.n_outputs, device=y.device)
    row = torch.arange(len(y), device=y.device).repeat_interleave(len(every))
    # Of each class, with the fold left out that the row is in by its given label.
    log_odds = own_group_objectives(
        model, synset, leave_out, X[row], every.repeat(len(y)), own_group[row], margin
    )
    share = torch.nn.functional.logsigmoid(log_odds.double()).reshape(len(y), -1)
    log_p, labels = as_array(share.log_softmax(-1)), as_array(y)
    return as_tensor(fit_label_noise(log_p, labels).log_posterior(log_p, labels), device=y.device)


class _Mean:
    """Mean (q,) of rows' objectives over networks; of log-odds, those of the mean probability."""

    def __init__(self, n_rows: int, device: torch.device, *, is_log_odds: bool) -> None:
        # Not in float32: the probability of a label is 1 for most rows there.
        self._total = torch.zeros(n_rows, dtype=torch.float64, device=device)
        self._against = torch.zeros_like(self._total) if is_log_odds else None

    def add(self, rows: torch.Tensor, values: torch.Tensor, weight: float) -> None:
        """Add some rows' objectives under one network."""
        values = values.double()
        if self._against is not None:
            self._against[rows] += weight * torch.sigmoid(-values)
            values = torch.sigmoid(values)
        self._total[rows] += weight * values

    @property
    def value(self) -> torch.Tensor:
        """What was added, put together."""
        if self._against is None:
            return self._total
        least = torch.finfo(torch.float64).tiny
        return self._total.clamp(min=least).log() - self._against.clamp(min=least).log()


def _in_folds(synset: Synset, seed: int) -> Synset:
    """Return the synset with folds in the place of its groups."""
    fold = folds_of_rows(synset.group, _N_FOLDS, seed)
    weight = synset.weight.new_zeros(int(fold.max()) + 1).index_add(0, fold, synset.weight)
    return replace(synset, group=fold, group_size=weight)


def _early_retraining(model: FunctionalModel, synset: Synset, leave_out: LeaveOut) -> Retraining:
    """Plan the first half of a retraining from weights that are rewound far."""
    whole = replace(leave_out, rewind=_REWIND).plan(model, synset)
    return replace(whole, n_steps=max(1, round(_SHARE_OF_STEPS * whole.n_steps)))


def _checkpoints(
    model: FunctionalModel,
    synset: Synset,
    leave_out: LeaveOut,
    kept: torch.Tensor,
    retraining: Retraining,
) -> list[torch.Tensor]:
    """Return weights (R, D) along the paths; with shorter steps if one of them diverges."""
    first, last = min(_FIRST_STEP, retraining.n_steps), retraining.n_steps
    steps = set(np.geomspace(first, last, _N_CHECKPOINTS).round().astype(int).tolist())

    def passed(plan: Retraining) -> list[torch.Tensor]:
        return list(checkpoints(model, synset, kept, plan, steps).values())

    return with_shorter_steps(passed, retraining)
