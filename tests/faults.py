"""Faults that are injected: where something raises, and how."""

from contextlib import contextmanager

import numpy as np
import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback
from torch import nn

from sklearn_synset import SynsetAttributor
from tests.problems import mlp, seeded

FAST = {"max_iter": 8, "n_steps": 8, "n_probes": 2, "random_state": 0}
N = 36
ERRORS = {"error": ValueError("injected"), "interrupt": KeyboardInterrupt("injected")}
OUT_OF_MEMORY = {
    "MemoryError": (MemoryError, ""),
    "torch on the CPU": (RuntimeError, "DefaultCPUAllocator: not enough memory: you tried ..."),
    "torch on a GPU": (torch.cuda.OutOfMemoryError, "CUDA out of memory."),
}


def another(error):
    """Return an equal exception that was never raised: a traceback would be copied with a clone."""
    return type(error)(*error.args)


def run_out_of_memory(name):
    """Raise one of the errors that say so."""
    error, message = OUT_OF_MEMORY[name]
    raise error(message)


def rows():
    rng = np.random.RandomState(0)
    return rng.normal(size=(N, 4)), np.arange(N) % 3


class Failing(nn.Module):
    """A network that raises on its n-th call after it is armed."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3).double()

    def forward(self, X):
        Failing.n_calls += 1
        if Failing.n_calls == Failing.fails_at:
            raise another(Failing.error)
        return self.layer(X)

    n_calls, fails_at, error = 0, None, None

    @classmethod
    @contextmanager
    def armed(cls, fails_at, error):
        cls.n_calls, cls.fails_at, cls.error = 0, fails_at, error
        try:
            yield
        finally:
            cls.fails_at = None


def count_calls(run):
    """Return how often the network is called while something runs."""
    with Failing.armed(None, None):
        run()
        return Failing.n_calls


class FailingCallback(Callback):
    """Raises at the end of the second epoch."""

    def __init__(self, error):
        self.error = error

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 2:
            raise another(self.error)


def net(callbacks=None, module=None):
    return NeuralNetClassifier(
        seeded(Failing) if module is None else module,
        criterion=nn.CrossEntropyLoss,
        max_epochs=4,
        train_split=None,
        verbose=0,
        callbacks=callbacks,
    )


def module_attributor(**params):
    return SynsetAttributor(seeded(Failing), n_groups=6, **FAST | params)


def distance(error):
    def fail(synset, real):
        raise another(error)

    return fail


def initialization(error):
    def fail(X, targets, residual_norm, size, generator):
        raise another(error)

    return fail


def objective(error):
    def fail(outputs, y):
        # The trial before any work is let through.
        if outputs.shape[-2] > 2:
            raise another(error)
        return outputs.sum(-1)

    return fail


CALLABLES = {
    "distance": distance,
    "initialization": initialization,
    "objective": objective,
}


def fitted():
    X, y = rows()
    module = mlp()
    return SynsetAttributor(module, n_groups=6, **FAST).fit(X, y)
