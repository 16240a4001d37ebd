"""Every wrong input is refused as the table in doc/bad_input.rst says, before work is spent."""

import re

import pytest

import sklearn_synset._synset_attributor as module_of_the_estimator
from tests.bad_inputs import PAGE, cases, fit, fitted, page

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
