import re

import numpy as np
import pytest
from sklearn import config_context
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import Bunch
from skorch import NeuralNetClassifier
from torch import nn

from sklearn_synset import SynsetAttributor
from sklearn_synset._persistence.representation import fitted_summary
from tests.problems import mlp

NET = NeuralNetClassifier(nn.Linear(4, 3), criterion=nn.CrossEntropyLoss)


@pytest.fixture(scope="module")
def fitted(digits):
    return digits.attributor


@pytest.mark.parametrize(
    "estimator, text",
    [
        (None, "SynsetAttributor(n_groups=4)"),
        (mlp(), "SynsetAttributor(estimator=Sequential(...), n_groups=4)"),
        (NET, "SynsetAttributor(estimator=NeuralNetClassifier(...), n_groups=4)"),
        (FrozenEstimator(NET), "estimator=FrozenEstimator(NeuralNetClassifier(...)),"),
        ("a mistake", "SynsetAttributor(estimator='a mistake', n_groups=4)"),
    ],
    ids=["default", "module", "net", "frozen", "mistake"],
)
def test_the_text_names_the_network_and_not_what_is_in_it(estimator, text):
    shown = repr(SynsetAttributor(estimator, n_groups=4))
    assert text in shown
    assert len(shown) < 120


def test_the_text_leaves_the_parameters_alone():
    module = mlp()
    attributor = SynsetAttributor(module)
    repr(attributor)
    assert attributor.estimator is module


def test_a_notebook_shows_parameters_state_and_fidelity(fitted):
    unfitted = SynsetAttributor(mlp(), n_groups=4)._repr_html_()
    assert "Not fitted" in unfitted and "synset-summary" not in unfitted
    shown = fitted._repr_html_()
    assert "Fitted" in shown and "n_groups" in shown
    summary = re.search(r'<div class="synset-summary".*?>(.*?)</div>', shown)[1]
    assert summary == "<br>".join(fitted_summary(fitted))
    assert f"{fitted.fidelity_.rank_correlation:.2f}" in summary
    assert fitted._repr_mimebundle_()["text/html"].count("synset-summary") == 1


def test_plain_text_is_shown_when_that_is_configured(fitted):
    with config_context(display="text"):
        assert not hasattr(fitted, "_repr_html_")
        assert fitted._repr_mimebundle_() == {"text/plain": repr(fitted)}


def test_it_shows_within_a_pipeline():
    pipeline = make_pipeline(StandardScaler(), SynsetAttributor(NET))
    assert "SynsetAttributor" in pipeline._repr_html_()
    assert "SynsetAttributor" in repr(pipeline)


@pytest.mark.parametrize(
    "correlation, words",
    [
        (
            0.29,
            "low: do not trust the attributions. Rank correlation 0.29 (-0.10 to 0.90), slope",
        ),
        (0.49, "fair: trust the strongest groups only. Rank correlation 0.49 (-0.10 to 0.90)"),
        (0.51, "good. Rank correlation 0.51 (-0.10 to 0.90), slope 1.20, on 6 groups left out"),
        (np.nan, "not measured; that needs at least 2 probes"),
    ],
)
def test_the_summary_says_what_was_fitted_and_how_far_to_trust_it(correlation, words):
    fake = Bunch(
        group_labels_=np.zeros(2000),
        groups_=np.arange(30),
        X_synset_=np.zeros((500, 2)),
        n_iter_=1,
        fidelity_=Bunch(
            rank_correlation=correlation,
            rank_correlation_interval=(-0.1, 0.9),
            slope=1.2,
            slope_interval=(np.nan, np.nan),
            groups=np.arange(6),
        ),
    )
    sizes, fidelity = fitted_summary(fake)
    rows = "2,000 training rows in 30 groups, synset of 500 rows (25%)"
    assert sizes == f"Fitted: {rows}, 1 step of distillation."
    assert words in fidelity
