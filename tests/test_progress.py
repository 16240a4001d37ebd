"""Progress bars name the stage, and none is left open."""

import numpy as np
import pytest
from tqdm.auto import tqdm

from sklearn_synset import SynsetAttributor
from sklearn_synset._default_network import StandardizedMLP

RNG = np.random.RandomState(0)
X, Y = RNG.normal(size=(30, 3)), np.arange(30) % 2


def attributor(**options):
    options = {"max_iter": 4, "n_steps": 3, "n_probes": 0, "random_state": 0} | options
    return SynsetAttributor(n_groups=4, **options)


def open_bars():
    return [bar for bar in getattr(tqdm, "_instances", []) if not bar.disable]


def test_nothing_is_written_by_default(capsys):
    attributor().fit(X, Y)
    assert capsys.readouterr() == ("", "")


def test_each_stage_has_a_bar_that_comes_to_its_end(capsys):
    attributor(verbose=1).fit(X, Y)
    shown = capsys.readouterr().err
    assert "Training: 100%" in shown and "Distilling: 100%" in shown
    assert not open_bars()


def test_a_distillation_that_ends_early_is_done_too(capsys):
    fitted = attributor(verbose=1, max_iter=400, tol=1e9).fit(X, Y)
    assert fitted.n_iter_ < 400
    assert f"Distilling: 100%|██████████| {fitted.n_iter_}/{fitted.n_iter_}" in (
        capsys.readouterr().err
    )


def test_bars_are_closed_when_the_training_breaks_off(monkeypatch):
    forward = StandardizedMLP.forward

    def broken(module, X):
        if module.training:
            raise RuntimeError("the network is broken")
        return forward(module, X)

    monkeypatch.setattr(StandardizedMLP, "forward", broken)
    with pytest.raises(RuntimeError, match="the network is broken") as error:
        attributor(verbose=1).fit(X, Y)
    # A traceback that is kept, as notebooks do, would keep an open bar too.
    assert error.tb is not None and not open_bars()


def test_bars_are_closed_when_the_distillation_breaks_off():
    def broken(synset, real):
        raise RuntimeError("the distance is broken")

    with pytest.raises(RuntimeError, match="the distance is broken") as error:
        attributor(verbose=1, distance=broken).fit(X, Y)
    assert error.tb is not None and not open_bars()
