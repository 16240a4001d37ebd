"""Influence functions with eigenvalue-corrected Kronecker factors (EK-FAC), of kronfluence.

Its scores are `grad(row loss) @ inverse(H) @ grad(measured)` with the Fisher matrix H of the mean
loss; minus that over the number of rows is the first-order effect of leaving the row out.
"""

import logging
import tempfile
import time

import torch
from _retraining import objective, row_losses
from kronfluence.analyzer import Analyzer, prepare_model
from kronfluence.arguments import FactorArguments, ScoreArguments
from kronfluence.task import Task
from torch.utils.data import TensorDataset


class SupervisedTask(Task):
    """The task's loss and objective."""

    def compute_train_loss(self, batch, model, sample=False):
        """Sum of the losses, on the rows' labels or on labels drawn from the network."""
        X, y = batch
        output = model(X)
        if sample:
            with torch.no_grad():
                y = draw_labels(output, y)
        return row_losses(output, y).sum()

    def compute_measurement(self, batch, model):
        """Sum of the objectives."""
        X, y = batch
        return objective(model(X), y).sum()


def draw_labels(output, y):
    """Draw labels from the network's distribution: of its classes, or with variance 1."""
    if y.is_floating_point():
        return torch.normal(output.squeeze(-1).detach(), 1.0)
    return torch.multinomial(output.softmax(-1), 1).squeeze(-1)


def ekfac(problem, use_empirical_fisher=False, **setting):
    """Run EK-FAC.

    Parameters
    ----------
    problem : Problem
        See `_peers_run.py`.
    use_empirical_fisher : bool, default=False
        Whether gradients are those of the rows' labels, not of drawn ones.
    **setting
        Arguments of `ScoreArguments`.

    Returns
    -------
    As `_peers_dattri.influence`.
    """
    rows, queries = TensorDataset(problem.X, problem.y), TensorDataset(*problem.queries)
    task, n_rows = SupervisedTask(), len(problem.X)
    batch_size = min(n_rows, 500)
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        analyzer = Analyzer(
            "peers",
            prepare_model(problem.module, task),
            task,
            cpu=True,
            log_level=logging.ERROR,
            disable_tqdm=True,
            output_dir=folder,
        )
        analyzer.fit_all_factors(
            "factors",
            rows,
            per_device_batch_size=batch_size,
            factor_args=FactorArguments(use_empirical_fisher=use_empirical_fisher),
        )
        fitted = time.process_time()
        analyzer.compute_pairwise_scores(
            "scores",
            "factors",
            queries,
            rows,
            per_device_query_batch_size=len(queries),
            per_device_train_batch_size=batch_size,
            score_args=ScoreArguments(**setting),
        )
        scores = analyzer.load_pairwise_scores("scores")["all_modules"]
        return scores.T.numpy() / -n_rows, fitted - start, time.process_time() - fitted
