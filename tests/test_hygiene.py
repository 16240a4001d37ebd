"""No call leaves a trace outside the attributor, also when it raises; threads do not meet."""

import collections
import copy
import logging
import os
import random
import signal
import sys
import threading
import time
import warnings

import numpy as np
import pytest
import sklearn
import threadpoolctl
import torch
from skorch import NeuralNetClassifier
from torch import nn

from sklearn_synset import SynsetAttributor
from tests import faults
from tests.problems import seeded, small_conv

FAST = faults.FAST
N = 36

pytestmark = pytest.mark.filterwarnings(
    "ignore:Attributions agree badly:sklearn.exceptions.ConvergenceWarning"
)


def process_state():
    """Return everything of the process that a call could change."""
    generator = np.random.get_state()
    backends = torch.backends
    return {
        "numpy generator": (generator[0], generator[1].tobytes(), *generator[2:]),
        "python generator": random.getstate(),
        "torch generator": torch.get_rng_state().numpy().tobytes(),
        "default dtype": torch.get_default_dtype(),
        "default device": getattr(torch, "get_default_device", lambda: None)(),  # of torch 2.3
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "pools": [(pool["user_api"], pool["num_threads"]) for pool in pools()],
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "anomalies": torch.is_anomaly_enabled(),
        "determinism": torch.are_deterministic_algorithms_enabled(),
        "attention": (
            backends.cuda.flash_sdp_enabled(),
            backends.cuda.mem_efficient_sdp_enabled(),
            backends.cuda.math_sdp_enabled(),
        ),
        "float errors": np.geterr(),
        "print options": str(np.get_printoptions()),
        "warnings": list(warnings.filters),
        "root logger": (logging.root.level, list(logging.root.handlers), logging.root.disabled),
        "logging": logging.root.manager.disable,
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "path": list(sys.path),
        "scikit-learn": sklearn.get_config(),
        "signals": [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)],
        "hooks": (sys.excepthook, sys.gettrace(), sys.stdout, sys.stderr),
        "running threads": threading.active_count(),
    }


def pools():
    return sorted(threadpoolctl.threadpool_info(), key=lambda pool: pool["filepath"])


def module_state(module):
    """Return the bytes of everything in a module."""
    return (
        [(name, part.training) for name, part in module.named_modules()],
        [
            (name, each.dtype, each.requires_grad, each.detach().numpy().tobytes(), each.grad)
            for name, each in module.named_parameters()
        ],
        [(name, each.numpy().tobytes()) for name, each in module.named_buffers()],
        [(id(part), sorted(vars(part)), len(part._forward_hooks)) for part in module.modules()],
    )


def array_state(array):
    return array.tobytes(), array.dtype, array.shape, array.strides, str(array.flags)


def conv():
    """Return a network with every kind of state, in training mode."""
    return small_conv().train()


def rows():
    rng = np.random.RandomState(0)
    X = rng.normal(size=(N, 16))
    X.flags.writeable = False
    return X, np.arange(N) % 3, np.arange(N) // 3 % 6


class Watch:
    """Compares the world before and after a block."""

    def __init__(self, module, *arrays):
        self.module, self.arrays = module, arrays

    def look(self):
        state = process_state() | {"module": module_state(self.module)}
        return state | {f"array {i}": array_state(each) for i, each in enumerate(self.arrays)}

    def __enter__(self):
        self.before = self.look()

    def __exit__(self, *exception):
        after = self.look()
        changed = [name for name in after if after[name] != self.before[name]]
        assert not changed, f"changed: {changed}"


CALLS = {
    "transform": lambda attributor, X, y, path: attributor.transform(X),
    "attribute": lambda attributor, X, y, path: attributor.attribute(X, y, objective="loss"),
    "score_samples": lambda attributor, X, y, path: attributor.score_samples(X, y),
    "score": lambda attributor, X, y, path: attributor.score(X, y),
    "leave_out": lambda attributor, X, y, path: attributor.leave_out([0, 1]),
    "get_feature_names_out": lambda attributor, X, y, path: attributor.get_feature_names_out(),
    "save": lambda attributor, X, y, path: attributor.save(path / "file"),
    "load": lambda attributor, X, y, path: (
        attributor.save(path / "file"),
        SynsetAttributor.load(path / "file", attributor.estimator),
    ),
}


def attributor_of(module, **params):
    settings = FAST | {"input_shape": (1, 4, 4)} | params
    return SynsetAttributor(module, **settings)


@pytest.fixture(scope="module")
def fitted():
    module = conv()
    X, y, groups = rows()
    return attributor_of(module).fit(X, y, groups=groups), module


@pytest.fixture(autouse=True)
def unusual_settings():
    """Set what a call might set back to its default."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(n_threads + 1)
    with np.errstate(divide="ignore"), torch.set_grad_enabled(False):
        yield
    torch.set_num_threads(n_threads)


def test_the_watch_sees_changes(fitted):
    _, module = fitted
    array = np.zeros(3)
    for change in (
        lambda: np.random.rand(),
        lambda: torch.rand(1),
        lambda: random.random(),
        lambda: torch.set_num_threads(torch.get_num_threads() + 1),
        lambda: module[0].weight.mul_(1.5),
        lambda: array.__setitem__(0, 1),
        lambda: warnings.filterwarnings("ignore", "nothing"),
    ):
        twin = copy.deepcopy(module.state_dict())
        with warnings.catch_warnings(), pytest.raises(AssertionError, match="changed"):
            with Watch(module, array):
                change()
        module.load_state_dict(twin)
        array[0] = 0


@pytest.mark.parametrize("kind", ["module", "net", "none"])
def test_fit_leaves_no_trace(kind):
    X, y, groups = rows()
    module = conv()
    estimator, params = module, {}
    if kind == "net":
        net_module = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 3)))
        estimator = NeuralNetClassifier(
            net_module, criterion=nn.CrossEntropyLoss, max_epochs=2, train_split=None, verbose=0
        )
    if kind == "none":
        estimator, params = None, {"input_shape": None}
    attributor = attributor_of(estimator, **params)
    attributor.fit(X, y, groups=groups)  # what is started once, such as pools of threads
    with Watch(module, X, y, groups):
        attributor.fit(X, y, groups=groups)


@pytest.mark.parametrize("name", CALLS)
def test_a_call_leaves_no_trace(fitted, name, tmp_path):
    attributor, module = fitted
    X, y, _ = rows()
    CALLS[name](attributor, X, y, tmp_path)
    with Watch(module, X, y):
        CALLS[name](attributor, X, y, tmp_path)


@pytest.mark.parametrize("kind", faults.ERRORS)
@pytest.mark.parametrize("name", faults.CALLABLES)
def test_a_fit_that_fails_leaves_no_trace(kind, name):
    X, y, groups = rows()
    module, error = conv(), faults.ERRORS[kind]
    attributor = attributor_of(module, **{name: faults.CALLABLES[name](error)})
    with Watch(module, X, y, groups), pytest.raises(type(error), match="injected"):
        attributor.fit(X, y, groups=groups)


@pytest.mark.parametrize("kind", faults.ERRORS)
@pytest.mark.parametrize("name", ["attribute", "score_samples", "score", "leave_out", "save"])
def test_a_call_that_fails_leaves_no_trace(fitted, monkeypatch, kind, name, tmp_path):
    attributor, module = fitted
    X, y, _ = rows()
    error = faults.ERRORS[kind]

    def fail(*args, **kwargs):
        raise faults.another(error)

    function = "fsync" if name == "save" else "__call__"
    monkeypatch.setattr(
        os if name == "save" else attributor._online.models[0].module.__class__, function, fail
    )
    with Watch(module, X, y), pytest.raises(type(error), match="injected"):
        CALLS[name](attributor, X, y, tmp_path)
    assert not list(tmp_path.iterdir())


# Threads


@pytest.mark.parametrize("kind", ["module", pytest.param("attention", marks=pytest.mark.slow)])
def test_threads_that_query_one_attributor_get_what_one_thread_gets(fitted, kind):
    attributor = fitted[0]
    X, y, groups = rows()
    if kind == "attention":
        module = seeded(lambda: Attention().double())
        attributor = SynsetAttributor(module, **FAST).fit(X, y, groups=groups)
    calls = [
        lambda: attributor.attribute(X, y),
        lambda: attributor.score_samples(X, y),
        lambda: attributor.score(X, y),
        lambda: attributor.leave_out([0, 1]).state_dict()[weight].numpy(),
    ]
    weight = next(iter(attributor.estimator_.state_dict()))
    expected = [call() for call in calls]
    before, wrong = process_state(), []

    def query(first):
        try:
            for i in range(first, first + 4):
                found = calls[i % len(calls)]()
                if not np.array_equal(found, expected[i % len(calls)]):
                    wrong.append(i)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=query, args=(first,)) for first in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not wrong
    after = process_state()
    assert not [name for name in after if after[name] != before[name]]


@pytest.mark.parametrize("name", ["attribute", "score_samples", "score"])
def test_threads_replace_the_warning_filters_one_at_a_time(fitted, monkeypatch, name):
    attributor = fitted[0]
    X, y, _ = rows()
    call = getattr(attributor, name)
    expected = call(X, y)
    inside, together, wrong = collections.Counter(), [], []

    class Slow(warnings.catch_warnings):
        def __enter__(self):
            inside[threading.get_ident()] += 1
            together.append(sum(count > 0 for count in inside.values()))
            time.sleep(0.002)
            return super().__enter__()

        def __exit__(self, *exception):
            super().__exit__(*exception)
            inside[threading.get_ident()] -= 1

    def query():
        try:
            wrong.extend([] if np.array_equal(call(X, y), expected) else ["bits"])
        except BaseException as error:
            wrong.append(error)

    monkeypatch.setattr(warnings, "catch_warnings", Slow)
    threads = [threading.Thread(target=query) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(together) >= 8 and max(together) == 1


class Attention(nn.Module):
    """Takes 16 features for a sequence of 4."""

    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(4, 1, 8, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, X):
        return self.head(self.layer(X.reshape(-1, 4, 4)).mean(1))


pytestmark = [
    pytestmark,
    pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning"),
]
