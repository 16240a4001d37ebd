"""TRAK, of traker."""

import logging
import tempfile
import time

import numpy as np
import torch
from _retraining import objective
from torch.func import functional_call
from trak import TRAKer
from trak.modelout_functions import AbstractModelOutput

_BATCH = 2500  # rows whose gradients are held at once


class TaskOutput(AbstractModelOutput):
    """The task's objective, and minus the derivative of the loss by the objective."""

    def __init__(self):
        pass

    @staticmethod
    def get_output(model, weights, buffers, x, y):
        """Objective of one row."""
        output = functional_call(model, (weights, buffers), (x.unsqueeze(0),))
        return objective(output, y.unsqueeze(0)).sum()

    def get_out_to_loss_grad(self, model, weights, buffers, batch):
        """Probability of another label, or for regression the residual."""
        X, y = batch
        output = functional_call(model, (weights, buffers), (X,)).detach()
        if y.is_floating_point():
            return y.unsqueeze(-1) - output
        return 1 - output.softmax(-1).gather(-1, y.unsqueeze(-1))


def trak(problem, relative_ridge=None, **setting):
    """Kernel regression on projected gradients.

    Parameters
    ----------
    problem : Problem
        See `_peers_run.py`.
    relative_ridge : float or None, default=None
        The library's `lambda_reg` over the mean of the diagonal that it is added to, whose size
        differs by orders between tasks; None leaves the default, 0.
    **setting
        Keyword arguments of `TRAKer`.

    Returns
    -------
    As `_peers_dattri.influence`; the scores have no unit, as the library scales the inverse.
    """
    state = problem.module.state_dict()
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        traker = TRAKer(
            problem.module,
            TaskOutput(),
            train_set_size=len(problem.X),
            save_dir=folder,
            device="cpu",
            logging_level=logging.ERROR,
            use_half_precision=False,
            **setting,
        )
        traker.load_checkpoint(state, model_id=0)
        for batch in batches(problem.X, problem.y):
            traker.featurize(batch, num_samples=len(batch[0]))
        if relative_ridge is not None:
            features = traker.saver.current_store["grads"].astype(np.float64)
            diagonal = (features**2).sum() / features.shape[1]
            traker.score_computer.lambda_reg = float(relative_ridge * diagonal)
        traker.finalize_features()
        fitted = time.process_time()
        n_queries = len(problem.queries[0])
        traker.start_scoring_checkpoint("queries", state, model_id=0, num_targets=n_queries)
        for batch in batches(*problem.queries):
            traker.score(batch, num_samples=len(batch[0]))
        scores = np.array(traker.finalize_scores("queries"), np.float32)
        return scores, fitted - start, time.process_time() - fitted


def batches(X, y):
    """Split rows into batches."""
    return list(zip(torch.split(X, _BATCH), torch.split(y, _BATCH), strict=True))
