"""What is interrupted leaves nothing half done; what runs out of memory goes on in small steps."""

import os
import time

import numpy as np
import pytest
import torch
from skorch.callbacks import EarlyStopping
from torch import nn

import sklearn_synset._attribution.group_effects as group_effects
import sklearn_synset._curvature.group_gradient as group_gradient
import sklearn_synset._retraining.leave_out as leave_out
from sklearn_synset import SynsetAttributor
from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._runtime.memory import in_smaller_chunks
from tests import faults
from tests.faults import (
    CALLABLES,
    ERRORS,
    FAST,
    OUT_OF_MEMORY,
    Failing,
    FailingCallback,
    run_out_of_memory,
)
from tests.problems import mlp

pytestmark = pytest.mark.filterwarnings(
    "ignore:Attributions agree badly:sklearn.exceptions.ConvergenceWarning"
)


def snapshot(attributor):
    """Return the attributes, by identity."""
    return {name: id(value) for name, value in vars(attributor).items()}


def assert_left_as_it_was(attributor, X, y, groups, error):
    """Fit, expect the error, and compare attributes and answers with those before."""
    before, answers = snapshot(attributor), None
    if hasattr(attributor, "groups_"):
        answers = attributor.transform(np.zeros((2, 4)))
    with pytest.raises(type(error), match="injected"):
        attributor.fit(X, y, groups=groups)
    assert snapshot(attributor) == before
    if answers is not None:
        np.testing.assert_array_equal(attributor.transform(np.zeros((2, 4))), answers)


@pytest.fixture(scope="module")
def watched():
    """Return a fitted attributor, and how often its network is called when it is fitted again."""
    X, y = faults.rows()
    n_calls = faults.count_calls(lambda: faults.module_attributor().fit(X[:, ::-1], y))
    return faults.module_attributor().fit(X, y), n_calls


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.999])
def test_a_network_that_fails_in_fit_leaves_the_attributor_as_it_was(watched, kind, share):
    X, y = faults.rows()
    fitted, n_calls = watched
    # The first calls are those of the checks, which tell it their own way.
    fails_at = 30 + int(share * (n_calls - 30))
    for attributor in (faults.module_attributor(), fitted):
        before = snapshot(attributor)
        with Failing.armed(fails_at, ERRORS[kind]), pytest.raises(type(ERRORS[kind])):
            attributor.fit(X[:, ::-1], y)
        assert snapshot(attributor) == before
    assert not hasattr(faults.module_attributor(), "n_features_in_")


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("name", CALLABLES)
def test_a_callable_that_fails_in_fit_leaves_the_attributor_as_it_was(kind, name):
    X, y = faults.rows()
    error = ERRORS[kind]
    unfitted = SynsetAttributor(mlp(), n_groups=6, **FAST | {name: CALLABLES[name](error)})
    assert_left_as_it_was(unfitted, X, y, None, error)
    fitted = faults.fitted().set_params(**{name: CALLABLES[name](error)})
    before = snapshot(fitted)
    with pytest.raises(type(error), match="injected"):
        fitted.fit(X, y)
    assert snapshot(fitted) == before


@pytest.mark.parametrize("kind", ERRORS)
def test_a_training_that_fails_leaves_the_attributor_as_it_was(kind):
    X, y = faults.rows()
    attributor = SynsetAttributor(faults.net(), n_groups=6, **FAST)
    n_checks = 40  # calls before the training begins, at the most
    with Failing.armed(n_checks, ERRORS[kind]), pytest.raises(type(ERRORS[kind])):
        attributor.fit(X, y)
    assert not hasattr(attributor, "estimators_") and not hasattr(attributor, "n_features_in_")


def test_an_interrupted_training_is_not_taken_for_a_finished_one(monkeypatch):
    X, y = faults.rows()
    steps = []

    def interrupted(self, *args, **kwargs):
        steps.append(1)
        raise KeyboardInterrupt("injected")

    monkeypatch.setattr(faults.NeuralNetClassifier, "train_step", interrupted)
    attributor = SynsetAttributor(faults.net(), n_groups=6, **FAST)
    assert_left_as_it_was(attributor, X, y, None, ERRORS["interrupt"])
    assert len(steps) == 1


def test_a_callback_that_fails_leaves_the_attributor_as_it_was():
    X, y = faults.rows()
    net = faults.net([FailingCallback(ERRORS["error"])])
    assert_left_as_it_was(SynsetAttributor(net, n_groups=6, **FAST), X, y, None, ERRORS["error"])


def test_a_callback_may_stop_the_training_early():
    X, y = faults.rows()
    net = faults.net([EarlyStopping(monitor="train_loss", patience=1, threshold=1e9)])
    attributor = SynsetAttributor(net, n_groups=6, **FAST).fit(X, y)
    assert 1 <= len(attributor.estimator_.history) < 4


@pytest.mark.parametrize("fails", ["training", "distillation"])
def test_progress_bars_are_closed(monkeypatch, fails):
    opened = []

    def recording(module):
        class Bar(module.tqdm):
            def __init__(self, *args, **kwargs):
                super().__init__(*args, **kwargs)
                opened.append(self)

        monkeypatch.setattr(module, "tqdm", Bar)

    import sklearn_synset._distillation.distilled_synset as distilled_synset
    import sklearn_synset._wrapping.default_network as default_network
    import sklearn_synset._wrapping.skorch_net as skorch_net

    recording(skorch_net)
    recording(distilled_synset)
    X, y = faults.rows()
    params = {"distance": CALLABLES["distance"](ERRORS["error"]), "synset_size": 3}
    if fails == "training":
        params = {}
        forward = default_network.StandardizedMLP.forward

        def failing(self, X):
            if opened:
                raise ERRORS["error"]
            return forward(self, X)

        monkeypatch.setattr(default_network.StandardizedMLP, "forward", failing)
    with pytest.raises(ValueError, match="injected"):
        SynsetAttributor(n_groups=6, verbose=1, **FAST | params).fit(X, y)
    assert opened and all(bar.disable for bar in opened)


class Dying(nn.Module):
    """Writes down in which process it runs, and fails there."""

    def __init__(self, folder):
        super().__init__()
        self.folder, self.layer = folder, nn.Linear(4, 3)

    def forward(self, X):
        (self.folder / str(os.getpid())).touch()
        if self.training:
            raise ValueError("injected")
        return self.layer(X)


@pytest.mark.slow
def test_worker_processes_are_gone_after_an_error(tmp_path):
    X, y = faults.rows()
    net = faults.net(module=Dying(tmp_path))
    attributor = SynsetAttributor(net, n_groups=6, n_models=2, n_jobs=2, **FAST)
    with pytest.raises(ValueError, match="injected"):
        attributor.fit(X.astype(np.float32), y)
    workers = [int(path.name) for path in tmp_path.iterdir()]
    assert workers and os.getpid() not in workers

    def is_alive(pid):
        status = f"/proc/{pid}/stat"
        return os.path.exists(status) and open(status).read().split()[2] != "Z"

    deadline = time.monotonic() + 300  # minutes, so that a busy machine does not decide
    while any(map(is_alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(is_alive, workers))


# Memory


@pytest.fixture(scope="module")
def fitted():
    return faults.fitted()


@pytest.mark.parametrize("name", OUT_OF_MEMORY)
def test_a_chunk_that_does_not_fit_is_halved(name):
    tried = []

    def evaluate(size):
        tried.append(size)
        if size > 5:
            run_out_of_memory(name)
        return "result"

    with pytest.warns(RuntimeWarning, match="not enough memory for twice .* rows at once"):
        assert in_smaller_chunks(evaluate, 40, "rows") == "result"
    assert tried == [40, 20, 10, 5]


@pytest.mark.filterwarnings("ignore:There is not enough memory:RuntimeWarning")
@pytest.mark.parametrize("name", OUT_OF_MEMORY)
def test_memory_that_is_too_small_for_anything_is_reported(name):
    def evaluate(size):
        run_out_of_memory(name)

    with pytest.raises(MemoryError, match="not enough memory for one of the rows"):
        in_smaller_chunks(evaluate, 8, "rows")


def test_other_errors_are_not_tried_again():
    tried = []

    def evaluate(size):
        tried.append(size)
        raise RuntimeError("injected")

    with pytest.raises(RuntimeError, match="injected"):
        in_smaller_chunks(evaluate, 8, "rows")
    assert tried == [8]


def with_little_memory(monkeypatch, name, largest=8):
    """Let every evaluation of more than a few rows run out of memory."""
    call = FunctionalModel.__call__

    def limited(self, theta, X, *others):
        if len(X) > largest:
            run_out_of_memory(name)
        return call(self, theta, X, *others)

    monkeypatch.setattr(FunctionalModel, "__call__", limited)


@pytest.mark.parametrize("name", OUT_OF_MEMORY)
@pytest.mark.parametrize("method", ["transform", "score_samples", "score"])
def test_queries_go_on_in_smaller_chunks(fitted, monkeypatch, name, method):
    X = faults.rows()[0]
    expected = getattr(fitted, method)(X)
    with_little_memory(monkeypatch, name)
    with pytest.warns(RuntimeWarning, match="not enough memory"):
        found = getattr(fitted, method)(X)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("module", "name", "size_of"),
    [
        (group_gradient, "group_gradients", lambda *args: args[5]),
        (leave_out, "displacements", lambda model, synset, kept, retraining: len(kept)),
        (group_effects, "attribution_matrix", lambda *args: args[-1]),
    ],
)
def test_fit_goes_on_in_smaller_chunks(fitted, monkeypatch, module, name, size_of):
    X, y = faults.rows()
    function = getattr(module, name)

    def limited(*args):
        if size_of(*args) > 2:
            raise MemoryError
        return function(*args)

    monkeypatch.setattr(module, name, limited)
    with pytest.warns(RuntimeWarning, match="not enough memory"):
        again = SynsetAttributor(mlp(), n_groups=6, **FAST).fit(X, y)
        found = again.transform(X)
    monkeypatch.undo()
    np.testing.assert_allclose(found, fitted.transform(X), rtol=1e-6, atol=1e-9)
    assert torch.equal(fitted.estimator_[0].weight, again.estimator_[0].weight)
