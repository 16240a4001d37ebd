"""Every wrong input is refused as the table in doc/bad_input.rst says, before work is spent."""

import re

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

import sklearn_synset._synset_attributor as module_of_the_estimator
from sklearn_synset import SynsetAttributor
from tests.bad_inputs import PAGE, X, Y, cases, fit, fitted, page, spoilt

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore:Attributions agree badly:sklearn.exceptions.ConvergenceWarning"
    ),
    pytest.mark.filterwarnings("ignore:.*functorch transforms.*:UserWarning"),
    pytest.mark.filterwarnings("ignore:Full backward hook is firing:UserWarning"),
]
CASES = cases()
FORMS = ["labels", "values", "two values", "words", "images", "float32"]


@pytest.fixture(scope="module")
def prepared():
    """Fit what is queried before work is forbidden."""
    for kind in FORMS:
        fitted(kind)


@pytest.mark.parametrize(
    "case", [case for _, case in CASES], ids=[f"{section}: {case.what}" for section, case in CASES]
)
def test_a_wrong_input_is_refused_as_the_table_says(case, prepared, monkeypatch):
    def no_work(*args, **kwargs):
        raise AssertionError("work was spent before the input was checked")

    if not case.needs_work:
        monkeypatch.setattr(module_of_the_estimator, "run_offline_stage", no_work)
    with pytest.raises(case.error, match=re.escape(case.says)):
        case.run()


def test_the_guard_against_work_works(monkeypatch):
    with pytest.raises(AssertionError, match="work was spent"):
        fit()


def test_the_page_tells_what_is_tried_here():
    assert PAGE.read_text() == page(), "write it anew: python -m tests.bad_inputs"


QUERIES = ["transform", "attribute", "score_samples", "score"]
WRONG_ROWS = {
    "NaN": (spoilt(X, np.nan), "Input X contains NaN"),
    "infinity": (spoilt(X, np.inf), "Input X contains infinity"),
    "another width": (X[:, :3], "X has 3 features, but SynsetAttributor is expecting 4 features"),
}
WRONG_LABELS = {
    "NaN": (spoilt(Y, np.nan), "Input y contains NaN"),
    "infinity": (spoilt(Y, np.inf), "Input y contains infinity"),
    "another length": (Y[1:], "inconsistent numbers of samples"),
}


@pytest.mark.parametrize("method", QUERIES)
@pytest.mark.parametrize("what", WRONG_ROWS)
def test_every_query_refuses_wrong_rows(method, what):
    wrong, message = WRONG_ROWS[what]
    with pytest.raises(ValueError, match=message):
        getattr(fitted(), method)(wrong)


@pytest.mark.parametrize("method", QUERIES[1:])
@pytest.mark.parametrize("what", WRONG_LABELS)
def test_every_query_refuses_wrong_labels(method, what):
    wrong, message = WRONG_LABELS[what]
    with pytest.raises(ValueError, match=message):
        getattr(fitted(), method)(X, wrong)


@pytest.mark.parametrize("method", [*QUERIES, "leave_out"])
def test_nothing_works_before_fit(method):
    with pytest.raises(NotFittedError, match="not fitted yet"):
        getattr(SynsetAttributor(), method)(X)
    with pytest.raises(NotFittedError, match="not fitted yet"):
        SynsetAttributor().get_feature_names_out()
