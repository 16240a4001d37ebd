"""Influence functions of dattri: explicit inverse, conjugate gradients, Arnoldi iteration.

Its scores are `grad(row loss) @ inverse(H) @ grad(measured)`, H the Hessian of the mean loss; minus
that over the number of rows is the first-order effect of leaving the row out.
"""

import time

from _retraining import objective, row_losses
from dattri.algorithm.influence_function import (
    IFAttributorArnoldi,
    IFAttributorCG,
    IFAttributorExplicit,
)
from dattri.task import AttributionTask
from torch.func import functional_call
from torch.utils.data import DataLoader, TensorDataset


def influence(attributor_class, problem, **setting):
    """Run an attributor.

    Parameters
    ----------
    attributor_class : type
        Attributor of dattri.
    problem : Problem
        See `_peers_run.py`.
    **setting
        Keyword arguments of the attributor.

    Returns
    -------
    scores : ndarray of shape (n_rows, n_queries)
        Effect of each row on each query, positive where the row helps.
    fit_s : float
        Seconds (of the processor) before the first query is known.
    attribute_s : float
        Seconds for all queries.
    """
    module, n_rows = problem.module, len(problem.X)

    def mean_loss(parameters, batch):
        X, y = batch
        return row_losses(functional_call(module, parameters, (X,)), y).mean()

    def measured(parameters, batch):
        X, y = batch
        return objective(functional_call(module, parameters, (X,)), y).sum()

    # All rows are one batch: the scores of a batch are computed with that batch's Hessian.
    train = DataLoader(TensorDataset(problem.X, problem.y), batch_size=n_rows)
    query = DataLoader(TensorDataset(*problem.queries), batch_size=len(problem.queries[0]))
    task = AttributionTask(mean_loss, module, module.state_dict(), target_func=measured)
    start = time.process_time()
    attributor = attributor_class(task=task, **setting)
    attributor.cache(train)
    fitted = time.process_time()
    scores = attributor.attribute(train, query).detach().numpy() / -n_rows
    return scores, fitted - start, time.process_time() - fitted


def dense(problem, **setting):
    """Inverse of the explicit Hessian, see `influence`."""
    return influence(IFAttributorExplicit, problem, **setting)


def conjugate_gradient(problem, **setting):
    """Solve by conjugate gradients, see `influence`."""
    return influence(IFAttributorCG, problem, **setting)


def arnoldi(problem, **setting):
    """Invert on a Krylov space, see `influence`."""
    return influence(IFAttributorArnoldi, problem, **setting)
