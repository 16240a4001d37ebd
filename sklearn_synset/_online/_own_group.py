"""How well a row is known: by the trained network, and early in training without its own group."""

from dataclasses import replace

import numpy as np
import torch

from sklearn_synset._functional_model import FunctionalModel
from sklearn_synset._online._leave_out import LeaveOut, with_shorter_steps
from sklearn_synset._online._objective import Objective
from sklearn_synset._online._objective_evaluation import evaluate_objective
from sklearn_synset._online._removal import Retraining, removal_path
from sklearn_synset._row_source import Rows
from sklearn_synset._synset import Synset

_REWIND = 0.95  # little is left of what the trained weights know by heart
_SHARE_OF_STEPS = 0.25  # what is learnt later is learnt by heart
_FIRST_STEP, _N_CHECKPOINTS = 3, 8


def own_group_objectives(
    model: FunctionalModel,
    synset: Synset,
    leave_out: LeaveOut,
    X: Rows,
    y: torch.Tensor,
    own_group: torch.Tensor,
    objective: Objective,
) -> torch.Tensor:
    r"""Return each row's objective, mean over the trained network and two that train again.

    Parameters
    ----------
    model : FunctionalModel
        The trained network.

    synset : Synset
        What it is trained on again.

    leave_out : LeaveOut
        How; its `rewind` is not used. A callable solver has no path: the ends take its place.

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
        :math:`\frac{1}{3} \left( o_i(\theta_T) + \frac{1}{|P|} \sum_{t \in P} \left(
        o_i(\theta^{(t)}_S) + o_i(\theta^{(t)}_{S \setminus S_k}) \right) \right)` with k the row's
        own group, and paths from weights that 0.95 of the outputs are taken away from. P are steps
        spread evenly in their logarithm over the first quarter of the retraining.

    Notes
    -----
    A row with a wrong label is learnt late, and from itself and its like alone. The sum over the
    path on the whole synset is an area under the margin [1]_; the path without the own group tells
    rows that hold each other up; the trained network is the best judge of rows that it does not
    know by heart.

    References
    ----------
    .. [1] Pleiss, Zhang, Elenberg, Weinberger, "Identifying mislabeled data using the area under
       the margin ranking", NeurIPS 2020, section 3.
    """
    groups, position = own_group.unique(return_inverse=True)
    kept = synset.group_size.new_ones(len(groups) + 1, synset.n_groups)
    kept[torch.arange(len(groups)), groups] = 0  # the last network is trained on everything
    everyone = torch.arange(len(X), device=y.device)
    rows_of_network = [everyone[position == column] for column in range(len(groups))] + [everyone]
    size = leave_out.batch_size
    total = evaluate_objective(model, model.theta, X, y, objective, size)
    retraining = _early_retraining(model, synset, leave_out)
    for networks in torch.arange(len(kept)).split(leave_out.n_networks(model, synset)):
        checkpoints = _checkpoints(model, synset, leave_out, kept[networks], retraining)
        for thetas in checkpoints:
            for network, theta in zip(networks.tolist(), thetas, strict=True):
                for rows in rows_of_network[network].split(size):
                    values = evaluate_objective(model, theta, X[rows], y[rows], objective, size)
                    total[rows] += values / len(checkpoints)
    return total / 3


def _early_retraining(model: FunctionalModel, synset: Synset, leave_out: LeaveOut) -> Retraining:
    """Plan the first quarter of a retraining from weights that are rewound far."""
    if callable(leave_out.solver):
        return leave_out.plan(model, synset)
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
    if callable(leave_out.solver):
        return [model.theta + leave_out.displacements(model, synset, kept, retraining)]
    first, last = min(_FIRST_STEP, retraining.n_steps), retraining.n_steps
    steps = set(np.geomspace(first, last, _N_CHECKPOINTS).round().astype(int).tolist())

    def passed(plan: Retraining) -> list[torch.Tensor]:
        path = enumerate(removal_path(model, synset, kept, plan), 1)
        return [theta for step, theta in path if step in steps]

    return with_shorter_steps(passed, retraining)
