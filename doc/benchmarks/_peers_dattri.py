"""Influence functions of dattri: explicit inverse, conjugate gradients, Arnoldi iteration.

Its scores are `grad(row loss) @ inverse(H) @ grad(measured)`, H the Hessian of the mean loss; minus
that over the number of rows is the first-order effect of leaving the row out.
"""

import time

import torch
from _retraining import objective, row_losses
from dattri.algorithm.influence_function import (
    IFAttributorArnoldi,
    IFAttributorCG,
    IFAttributorExplicit,
)
from dattri.task import AttributionTask
from torch.func import functional_call
from torch.utils.data import DataLoader, TensorDataset

_QUERIES_AT_ONCE = 10  # a hundred take gigabytes for convolutions


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
    n_rows = len(problem.X)
    # All rows are one batch: the scores of a batch are computed with that batch's Hessian.
    train = DataLoader(TensorDataset(problem.X, problem.y), batch_size=n_rows)
    query = DataLoader(TensorDataset(*problem.queries), batch_size=len(problem.queries[0]))
    task = attribution_task(problem.module)
    start = time.process_time()
    attributor = attributor_class(task=task, **setting)
    attributor.cache(train)
    fitted = time.process_time()
    scores = attributor.attribute(train, query).detach().numpy() / -n_rows
    return scores, fitted - start, time.process_time() - fitted


def attribution_task(module):
    """Tell the library the mean loss of rows and the sum of queries' objectives."""

    def mean_loss(parameters, batch):
        X, y = batch
        return row_losses(functional_call(module, parameters, (X,)), y).mean()

    def measured(parameters, batch):
        X, y = batch
        return objective(functional_call(module, parameters, (X,)), y).sum()

    return AttributionTask(mean_loss, module, module.state_dict(), target_func=measured)


def conjugate_gradient_in_batches(problem, n_hessian, n_queries, batch_size=1000, **setting):
    """Solve by conjugate gradients where the gradients of all rows would not fit the memory.

    The library's own steps, in an order that solves once for each query and not once for each batch
    of rows and query.

    Parameters
    ----------
    problem : Problem
        See `_peers_run.py`.
    n_hessian : int
        Rows, drawn at random, whose mean loss has the Hessian.
    n_queries : int
        The first queries, which alone are attributed: the others would take as long each.
    batch_size : int, default=1000
        Rows whose gradients are held at once.
    **setting
        Keyword arguments of the attributor.

    Returns
    -------
    As `influence`, with scores (n_rows, `n_queries`).
    """
    X, y = problem.X, problem.y
    drawn = torch.randperm(len(X), generator=torch.Generator().manual_seed(0))[:n_hessian]
    start = time.process_time()
    attributor = IFAttributorCG(task=attribution_task(problem.module), **setting)
    attributor.cache(DataLoader(TensorDataset(X[drawn], y[drawn]), batch_size=len(drawn)))
    fitted = time.process_time()
    solved = [
        attributor.transform_test_rep(
            0, attributor.generate_test_rep(0, (rows[None], labels[None]))
        ).detach()
        for rows, labels in zip(
            *(part[:n_queries].split(_QUERIES_AT_ONCE) for part in problem.queries), strict=True
        )
    ]
    solutions = torch.cat(solved)
    scores = [
        attributor.generate_train_rep(0, (rows[None], labels[None])).detach() @ solutions.T
        for rows, labels in zip(X.split(batch_size), y.split(batch_size), strict=True)
    ]
    scores = torch.cat(scores).numpy() / -len(X)
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
