"""Two processes and a dask cluster compute what one process does, to the bit."""

import os
import threading
import time
from contextlib import contextmanager

import joblib
import numpy as np
import pytest
import torch
from skorch import NeuralNetClassifier
from torch import nn

import sklearn_synset._retraining.leave_out as leave_out
from sklearn_synset import SynsetAttributor
from sklearn_synset._runtime.parallel import in_parallel
from sklearn_synset.metrics import retraining

pytestmark = pytest.mark.filterwarnings(
    "ignore:Attributions agree badly:sklearn.exceptions.ConvergenceWarning"
)


class Recording(nn.Module):
    """Writes down in which process it is trained, and in which it is used as a function."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder
        self.layers = nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 3))

    def forward(self, X):
        kind = "training" if self.training else "function"
        (self.folder / f"{kind}-{os.getpid()}").touch()
        return self.layers(X)


def rows():
    rng = np.random.RandomState(0)
    X = rng.normal(size=(120, 20)).astype(np.float32)
    y = X[:, :3].argmax(1)
    return X, y, np.arange(120) % 20


def net(folder):
    return NeuralNetClassifier(
        Recording,
        module__folder=folder,
        criterion=nn.CrossEntropyLoss,
        lr=0.1,
        max_epochs=3,
        train_split=None,
        verbose=0,
    )


def answers(folder, n_jobs=None):
    """Return what fit, attribute and the truth say, and the processes of each kind of work."""
    folder.mkdir()
    X, y, groups = rows()
    options = {
        "max_iter": 4,
        "n_steps": 4,
        "n_probes": 8,
        "random_state": 0,
    }
    attributor = SynsetAttributor(net(folder), n_models=2, n_jobs=n_jobs, **options)
    attributor.fit(X, y, groups=groups)
    truth = retraining(
        net(folder), X, y, X[:5], y[:5], groups=groups, subsets=2, n_jobs=n_jobs, random_state=0
    )
    found = [
        attributor.attribute(X, y),
        attributor.score_samples(X, y),
        attributor.X_synset_,
        attributor.fidelity_.rank_correlation,
        attributor.leave_out(groups=[3])[1].module_.layers[0].weight.detach().numpy(),
        truth.effects,
        truth.outputs,
    ]
    pids = {"training": set(), "function": set()}
    for path in folder.iterdir():
        kind, pid = path.name.split("-")
        pids[kind].add(int(pid))
    return found, pids


@pytest.fixture
def small_jobs(monkeypatch):
    """Make a job of every eight networks, however little work they are."""
    monkeypatch.setattr(leave_out, "_FLOPS_PER_JOB", 1.0)


@contextmanager
def two_threads():
    """Let torch have another number of threads here than a worker starts with."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.fixture
def cluster():
    """Start two workers, each a process."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
        ) as local,
        distributed.Client(local) as client,
    ):
        yield client


def assert_same_bits(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    """Return the answers of one process, with two threads of torch."""
    with pytest.MonkeyPatch.context() as patch, two_threads():
        patch.setattr(leave_out, "_FLOPS_PER_JOB", 1.0)
        found, pids = answers(tmp_path_factory.mktemp("serial") / "folder")
    assert pids == {"training": {os.getpid()}, "function": {os.getpid()}}
    return found


@pytest.mark.slow
def test_two_processes_give_the_bits_of_one(serial, tmp_path, small_jobs):
    with two_threads():
        found, pids = answers(tmp_path / "folder", n_jobs=2)
    # The process that calls fit repeats the trainings, too.
    assert len(pids["training"] - {os.getpid()}) == 2
    assert len(pids["function"] - {os.getpid()}) == 2
    assert_same_bits(found, serial)


@pytest.mark.slow
def test_a_dask_cluster_gives_the_bits_of_one_process(serial, tmp_path, small_jobs, cluster):
    with two_threads(), joblib.parallel_config(backend="dask"):
        found, pids = answers(tmp_path / "folder")
    # The process that calls fit repeats the trainings, too.
    assert len(pids["training"] - {os.getpid()}) == 2
    assert len(pids["function"] - {os.getpid()}) == 2
    assert_same_bits(found, serial)


@pytest.mark.slow
def test_threads_give_the_bits_of_one(serial, tmp_path, small_jobs):
    with two_threads(), joblib.parallel_config(backend="threading"):
        found, _ = answers(tmp_path / "folder", n_jobs=3)
    assert_same_bits(found, serial)


def settings(_=None):
    """Return the settings of the process that this runs in."""
    time.sleep(0.05)  # so that each of two workers gets some
    return (
        torch.get_num_threads(),
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.get_float32_matmul_precision(),
    )


@pytest.mark.slow
def test_settings_go_along_and_workers_get_theirs_back():
    parallel = joblib.Parallel(n_jobs=2)
    before = parallel(joblib.delayed(settings)() for _ in range(8))
    here = settings()
    try:
        torch.set_num_threads(3)
        torch.set_default_dtype(torch.float64)
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.set_float32_matmul_precision("high")
        with torch.no_grad():
            expected = settings()
            found = list(in_parallel(settings, [(i,) for i in range(8)], n_jobs=2))
    finally:
        torch.set_num_threads(here[0])
        torch.set_default_dtype(here[1])
        torch.use_deterministic_algorithms(here[3], warn_only=here[4])
        torch.set_float32_matmul_precision(here[5])
    assert set(found) == {expected} and expected not in before
    assert set(parallel(joblib.delayed(settings)() for _ in range(8))) == set(before)


def busy(seconds, running):
    """Return how many of these run at once."""
    running.append(1)
    n_running = len(running)
    time.sleep(seconds)
    running.pop()
    return n_running


def test_jobs_in_threads_of_one_process_take_turns():
    running = []
    with joblib.parallel_config(backend="threading"):
        found = list(in_parallel(busy, [(0.02, running)] * 6, n_jobs=3))
    assert found == [1] * 6


def nested(n):
    return list(in_parallel(pow, [(each, 2) for each in range(n)], n_jobs=2))


@pytest.mark.slow
def test_a_job_may_start_jobs():
    with joblib.parallel_config(backend="threading"):
        finished = []
        thread = threading.Thread(
            target=lambda: finished.extend(in_parallel(nested, [(2,), (3,)], n_jobs=2)),
            daemon=True,
        )
        thread.start()
        thread.join()
    assert finished == [[0, 1], [0, 1, 4]]


def test_what_is_not_worth_it_runs_here():
    found = list(in_parallel(os.getpid, [()] * 4, n_jobs=2, is_worth_it=False))
    assert found == [os.getpid()] * 4
