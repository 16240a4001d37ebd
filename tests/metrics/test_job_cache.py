"""Retrainings that were interrupted, and go on."""

import json
import os

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from sklearn_synset.metrics import (
    retraining,
)
from tests.metrics.nets import net

# Resuming.


class Counting(GaussianNB):
    """Writes a line for every fit; from a given one on, fits fail."""

    def __init__(self, path=None):
        super().__init__()
        self.path = path

    def fit(self, X, y):
        with open(self.path, "a") as file:
            file.write("fit\n")
        limit = os.environ.get("SYNSET_TEST_FITS")
        if limit is not None and self.n_fits() > int(limit):
            raise KeyboardInterrupt
        return super().fit(X, y)

    def n_fits(self):
        with open(self.path) as file:
            return len(file.readlines())


@pytest.fixture
def cached(iris, tmp_path):
    """Return a function that retrains with a cache, and the estimator that counts its fits."""
    X, y, groups, X_query, y_query = iris
    estimator = Counting(str(tmp_path / "fits"))
    start = {"X": X, "y": y, "X_query": X_query, "y_query": y_query, "groups": groups}
    start |= {"estimator": estimator, "subsets": 4, "random_state": 0}
    start |= {"cache_dir": tmp_path / "cache"}
    return (lambda **changes: retraining(**(start | changes))), estimator


def test_all_pools_of_threads_are_left_as_they_were():
    before = torch.get_num_threads()
    rng = np.random.RandomState(0)
    X, y = rng.normal(size=(12, 3)), np.arange(12) % 2
    try:
        torch.set_num_threads(before + 1)
        pools = torch.__config__.parallel_info()
        retraining(LogisticRegression(), X, y, X, y, groups=np.arange(12) // 2)
        assert torch.__config__.parallel_info() == pools
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_an_interrupted_run_goes_on_where_it_stopped(cached, monkeypatch, n_jobs):
    run, estimator = cached
    expected = run(cache_dir=None)
    n_total = estimator.n_fits()
    assert n_total == 1 + 15 + 4
    monkeypatch.setenv("SYNSET_TEST_FITS", str(n_total + 7))
    with pytest.raises(KeyboardInterrupt):
        run()
    monkeypatch.delenv("SYNSET_TEST_FITS")
    assert estimator.n_fits() == n_total + 8
    resumed = run(n_jobs=n_jobs)
    assert estimator.n_fits() == n_total + 8 + 13
    again = run(n_jobs=n_jobs)
    assert estimator.n_fits() == n_total + 8 + 13
    for truth in (resumed, again):
        assert_array_equal(truth.effects, expected.effects)
        assert_array_equal(truth.outputs, expected.outputs)


def test_seeds_and_subsets_are_added_to_a_cache(cached):
    run, estimator = cached
    first = run()
    more = run(subsets=6, n_seeds=2)
    assert estimator.n_fits() == 20 + 2 + 22
    assert_array_equal(more.outputs[:1, :4], first.outputs)
    assert_array_equal(more.effects[:1], first.effects)


def test_a_damaged_file_is_made_again(cached, tmp_path):
    run, estimator = cached
    expected = run().effects
    files = sorted((tmp_path / "cache").glob("*.npz"))
    assert len(files) == 20
    files[3].write_bytes(files[3].read_bytes()[:100])
    files[4].write_bytes(b"")
    assert_array_equal(run().effects, expected)
    assert estimator.n_fits() == 22


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda iris: {"X": iris[0] + 1}, "X"),
        (lambda iris: {"y": np.roll(iris[1], 10)}, "y"),
        (lambda iris: {"X_query": iris[3] + 1}, "X_query"),
        (lambda iris: {"y_query": 2 - iris[4]}, "y_query"),
        (lambda iris: {"groups": np.roll(iris[2], 1)}, "groups"),
        (lambda iris: {"objective": "loss"}, "objective"),
        (lambda iris: {"estimator": GaussianNB()}, "estimator"),
    ],
)
def test_a_cache_of_something_else_is_refused_before_training(cached, iris, change, named):
    run, estimator = cached
    run()
    with pytest.raises(ValueError, match=rf"differ in {named};"):
        run(**change(iris))
    assert estimator.n_fits() == 20


def test_a_cache_knows_a_nets_parameters_and_layers(iris, tmp_path):
    X, y, groups, X_query, y_query = iris

    def run(estimator):
        return retraining(
            *(estimator, X, y, X_query, y_query),
            groups=groups,
            leave_one_out=False,
            random_state=0,
            cache_dir=tmp_path / "cache",
        ).full_outputs

    weighted = net().set_params(criterion__weight=torch.tensor([1.0, 2.0, 3.0]))
    first = run(weighted)
    assert_array_equal(run(net().set_params(criterion__weight=torch.tensor([1.0, 2, 3]))), first)
    with pytest.raises(ValueError, match="differ in estimator"):
        run(net().set_params(criterion__weight=torch.tensor([1.0, 2.0, 4.0])))
    with pytest.raises(ValueError, match="differ in estimator"):
        run(net().set_params(lr=0.2, criterion__weight=torch.tensor([1.0, 2.0, 3.0])))
    with pytest.raises(ValueError, match="differ in estimator, module"):
        run(net().set_params(module__n_hidden=7))


def test_a_directory_of_other_files_is_left_alone(cached, tmp_path):
    run, _ = cached
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "thesis.tex").write_text("all of it")
    with pytest.raises(ValueError, match="no retrainings"):
        run()
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["thesis.tex"]


def test_the_manifest_holds_hashes_alone(cached, tmp_path):
    run, _ = cached
    run()
    manifest = json.loads((tmp_path / "cache" / "manifest.json").read_text())
    assert manifest.keys() >= {"X", "y", "X_query", "y_query", "groups", "estimator", "objective"}
    assert {len(value) for value in manifest.values()} == {32}


def test_progress_is_shown_if_asked_for(iris, capsys):
    X, y, groups, X_query, y_query = iris
    retraining(GaussianNB(), X, y, X_query, y_query, groups=groups)
    assert not capsys.readouterr().err
    retraining(GaussianNB(), X, y, X_query, y_query, groups=groups, verbose=1)
    assert "16/16" in capsys.readouterr().err
