"""Progress bars name the stage and come to their end."""

import numpy as np
import pytest
from skorch import NeuralNetClassifier
from skorch.callbacks import EarlyStopping
from torch import nn

from sklearn_synset import SynsetAttributor

pytestmark = pytest.mark.filterwarnings(
    "ignore:Attributions agree badly:sklearn.exceptions.ConvergenceWarning"
)

RNG = np.random.RandomState(0)
X, Y = RNG.normal(size=(30, 3)), np.arange(30) % 2


def attributor(**options):
    sizes = {"synset_size": 2, "max_iter": 4, "n_steps": 3, "n_probes": 0}
    options = sizes | {"random_state": 0} | options
    return SynsetAttributor(n_groups=4, **options)


def test_nothing_is_written_by_default(capsys):
    attributor().fit(X, Y)
    assert capsys.readouterr() == ("", "")


def test_each_stage_has_a_bar_that_comes_to_its_end(capsys):
    attributor(verbose=1).fit(X, Y)
    shown = capsys.readouterr().err
    assert "Training: 100%" in shown and "Distilling: 100%" in shown


@pytest.mark.parametrize("solver", ["replay", "rewind"])
@pytest.mark.parametrize("n_models", [1, 2])
@pytest.mark.parametrize("is_net", [False, True])
def test_every_stage_of_a_fit_has_a_bar(capsys, solver, n_models, is_net):
    net = NeuralNetClassifier(
        nn.Linear, module__in_features=3, module__out_features=2, criterion=nn.CrossEntropyLoss,
        max_epochs=3, train_split=None, verbose=0,
    )  # fmt: skip
    options = {"n_probes": 2, "n_models": n_models, "solver": solver, "verbose": 1}
    fitted = attributor(estimator=net if is_net else None, **options)
    fitted.fit(X.astype("float32"), Y)
    shown = capsys.readouterr().err
    n_epochs = 3 if is_net else fitted.estimator_.max_epochs
    n_trained = {1: n_epochs, 2: 2}[n_models]
    assert f"Training: 100%|██████████| {n_trained}/{n_trained} [" in shown
    for stage in ("Distilling", "Probing", "Leaving out"):
        assert f"{stage}: 100%|" in shown
    if solver == "rewind":
        for stage, total in {"Probing": 2 * 3, "Leaving out": 4 * n_models}.items():
            assert f"{stage}: 100%|██████████| {total}/{total} [" in shown


def test_a_net_that_reports_its_epochs_has_no_bar_of_its_own(capsys):
    net = NeuralNetClassifier(
        nn.Linear, module__in_features=3, module__out_features=2, criterion=nn.CrossEntropyLoss,
        max_epochs=3, train_split=None,
    )  # fmt: skip
    attributor(estimator=net, verbose=1).fit(X.astype("float32"), Y)
    shown = capsys.readouterr()
    assert "Training" not in shown.err and "epoch" in shown.out


def test_a_training_that_a_callback_ends_early_is_done_too(capsys):
    stop = EarlyStopping(monitor="train_loss", patience=1, threshold=1e9)
    net = NeuralNetClassifier(
        nn.Linear, module__in_features=3, module__out_features=2, criterion=nn.CrossEntropyLoss,
        max_epochs=50, train_split=None, verbose=0, callbacks=[stop],
    )  # fmt: skip
    attributor(estimator=net, verbose=1).fit(X.astype("float32"), Y)
    assert "Training: 100%" in capsys.readouterr().err


def test_a_distillation_that_ends_early_is_done_too(capsys):
    fitted = attributor(verbose=1, max_iter=400, tol=1e9).fit(X, Y)
    assert fitted.n_iter_ < 400
    assert f"Distilling: 100%|██████████| {fitted.n_iter_}/{fitted.n_iter_}" in (
        capsys.readouterr().err
    )


def test_the_bar_of_a_distillation_tells_steps_and_distance(capsys):
    fitted = attributor(verbose=1).fit(X, Y)
    shown = capsys.readouterr().err
    assert "Distilling:   0%|          | 0/4 [" in shown
    assert "Distilling: 100%|██████████| 4/4 [" in shown
    assert f"distance={fitted.matching_loss_curve_[-1]:.3g}]" in shown
