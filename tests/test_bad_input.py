"""Every wrong input is refused as the table in doc/bad_input.rst says, before work is spent."""

import re

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator

import sklearn_synset._synset_attributor as module_of_the_estimator
from sklearn_synset import SynsetAttributor
from tests.bad_inputs import PAGE, N, X, Y, cases, fit, fitted, linear, net, page, spoilt

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
        monkeypatch.setattr(module_of_the_estimator, "leave_out_and_probe", no_work)
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
    "another length": (Y[1:], r"inconsistent numbers of samples: \[30, 29\]"),
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


ZEROS = np.zeros(N)
# What came is named, too: (call, error, pattern).
DETAILS = {
    "rows and groups": (
        lambda: fit(n_groups=N + 1),
        ValueError,
        "fewer rows than groups: 30 rows, n_groups=31",
    ),
    "groups and classes": (
        lambda: fit(n_groups=2),
        ValueError,
        "fewer groups than classes: n_groups=2, 3 classes",
    ),
    "lengths of groups": (
        lambda: fit(groups=np.arange(N - 1) % 5),
        ValueError,
        r"inconsistent numbers of samples: \[30, 29\]",
    ),
    "lengths of labels": (
        lambda: fit(y=Y[1:]),
        ValueError,
        r"inconsistent numbers of samples: \[30, 29\]",
    ),
    "shape of groups": (
        lambda: fit(groups=np.zeros((N, 2))),
        ValueError,
        r"should be a 1d array.*\(30, 2\)",
    ),
    "NaN in groups": (
        lambda: fit(groups=spoilt(Y, np.nan)),
        ValueError,
        "groups holds NaN or infinity",
    ),
    "one group asked for": (
        lambda: fit(y=ZEROS.astype(int), n_groups=1),
        ValueError,
        "At least 2 groups are needed",
    ),
    "one group given": (
        lambda: fit(y=ZEROS.astype(int), groups=ZEROS),
        ValueError,
        "At least 2 groups are needed",
    ),
    "width of rows": (
        lambda: fit(estimator=net(linear(n_features=5))),
        ValueError,
        r"cannot take rows of shape \(2, 4\)",
    ),
    "input_shape": (
        lambda: fit(input_shape=(1, 3, 3)),
        ValueError,
        r"input_shape=\(1, 3, 3\) holds 9.*has 4 features",
    ),
    "frozen": (
        lambda: fit(estimator=FrozenEstimator(net())),
        NotFittedError,
        "frozen NeuralNetClassifier is not fitted",
    ),
    "several modules": (
        lambda: fit(estimator=linear(), n_models=2),
        ValueError,
        "n_models=2 needs a network that is trained.*Linear",
    ),
    "several frozen nets": (
        lambda: fit(estimator=FrozenEstimator(net()), n_models=2),
        ValueError,
        "n_models=2 needs a network that is trained.*FrozenEstimator",
    ),
    "a number for a network": (
        lambda: fit(estimator=3),
        TypeError,
        "estimator must be None, a torch.nn.Module, a skorch net",
    ),
    "objective in fit": (
        lambda: fit(objective="prediction"),
        ValueError,
        "'prediction' is not defined for class labels",
    ),
    "objective of a query": (
        lambda: fitted().attribute(X, Y, objective="prediction"),
        ValueError,
        "'prediction' is not defined for class labels",
    ),
    "labels of a query": (
        lambda: fitted().score_samples(X, np.where(Y == 1, 7, Y)),
        ValueError,
        "labels that were not seen in fit.*7",
    ),
    "groups that are not known": (
        lambda: fitted().leave_out([0, 9]),
        ValueError,
        "groups holds .*9.*not in groups_",
    ),
    "all groups": (
        lambda: fitted().leave_out(fitted().groups_),
        ValueError,
        "all groups: nothing would be left",
    ),
}


@pytest.mark.parametrize("what", DETAILS)
def test_an_error_says_what_came(what):
    run, error, pattern = DETAILS[what]
    with pytest.raises(error, match=pattern):
        run()


@pytest.mark.parametrize("n_outputs", [1, 2, 4])
def test_an_output_width_is_refused_with_what_it_is(n_outputs):
    message = f"output width must be 3 for 3 classes, got {n_outputs}"
    for estimator in (net(linear(n_outputs)), linear(n_outputs)):
        with pytest.raises(ValueError, match=message):
            fit(estimator=estimator)
