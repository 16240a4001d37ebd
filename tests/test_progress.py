"""Progress bars name the stage and come to their end."""

import numpy as np

from sklearn_synset import SynsetAttributor

RNG = np.random.RandomState(0)
X, Y = RNG.normal(size=(30, 3)), np.arange(30) % 2


def attributor(**options):
    options = {"max_iter": 4, "n_steps": 3, "n_probes": 0, "random_state": 0} | options
    return SynsetAttributor(n_groups=4, **options)


def test_nothing_is_written_by_default(capsys):
    attributor().fit(X, Y)
    assert capsys.readouterr() == ("", "")


def test_each_stage_has_a_bar_that_comes_to_its_end(capsys):
    attributor(verbose=1).fit(X, Y)
    shown = capsys.readouterr().err
    assert "Training: 100%" in shown and "Distilling: 100%" in shown


def test_a_distillation_that_ends_early_is_done_too(capsys):
    fitted = attributor(verbose=1, max_iter=400, tol=1e9).fit(X, Y)
    assert fitted.n_iter_ < 400
    assert f"Distilling: 100%|██████████| {fitted.n_iter_}/{fitted.n_iter_}" in (
        capsys.readouterr().err
    )
