"""TracIn, and influence from the leading eigenvectors of an explicit Hessian, of captum."""

import time

from _retraining import objective, row_losses
from captum.influence import NaiveInfluenceFunction, TracInCP
from torch.utils.data import TensorDataset


def load_state(module, checkpoint):
    """Put a checkpoint's weights into the module; return its weight in the sum."""
    state, weight = checkpoint
    module.load_state_dict(state)
    module.eval()
    return weight


def minus_objective(output, y):
    """Loss whose decrease helps the measured objective."""
    return -objective(output, y)


def dense(problem, **setting):
    """Inverse of the explicit Hessian on its leading eigenvectors.

    Parameters
    ----------
    problem : Problem
        See `_peers_run.py`.
    **setting
        Keyword arguments of `NaiveInfluenceFunction`.

    Returns
    -------
    As `_peers_dattri.influence`.
    """
    start = time.process_time()
    influence = NaiveInfluenceFunction(
        problem.module,
        TensorDataset(problem.X, problem.y),
        checkpoint=(problem.module.state_dict(), 1.0),
        checkpoints_load_func=load_state,
        loss_fn=row_losses,
        test_loss_fn=minus_objective,
        batch_size=len(problem.X),
        **setting,
    )
    fitted = time.process_time()
    scores = influence.influence(problem.queries).detach().numpy().T
    return scores, fitted - start, time.process_time() - fitted


def tracin(problem, n_checkpoints=5, weighted=True):
    """Sum over checkpoints of the products of gradients.

    Parameters
    ----------
    problem : Problem
        See `_peers_run.py`.
    n_checkpoints : int, default=5
        Number of evenly spaced checkpoints, the trained network the last of them.
    weighted : bool, default=True
        Whether they are weighted by their learning rates.

    Returns
    -------
    As `_peers_dattri.influence`; the scores have no unit.
    """
    step = max(1, len(problem.checkpoints) // n_checkpoints)
    chosen = problem.checkpoints[::-step][:n_checkpoints][::-1]
    start = time.process_time()
    tracin = TracInCP(
        problem.module,
        TensorDataset(problem.X, problem.y),
        checkpoints=[(state, rate if weighted else 1.0) for state, rate in chosen],
        checkpoints_load_func=load_state,
        loss_fn=row_losses,
        test_loss_fn=minus_objective,
        batch_size=len(problem.X),
    )
    fitted = time.process_time()
    scores = tracin.influence(problem.queries).detach().numpy().T
    return scores, fitted - start, time.process_time() - fitted
