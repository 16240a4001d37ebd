import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

from sklearn_synset.datasets import flip_labels
from sklearn_synset.metrics import removal_curve
from tests.metrics.nets import net


def count_rows(X, y, seed):
    """Train something whose score is the number of its rows."""
    return DummyClassifier().fit(X, y).set_params(random_state=len(y))


def n_rows_of(fitted, X, y):
    return fitted.random_state


@pytest.fixture
def rows():
    rng = np.random.RandomState(0)
    y = np.arange(120) % 3
    return rng.normal(size=(120, 4)) + 2 * np.eye(3, 4)[y], y


def test_each_point_is_a_training_without_these_rows(rows):
    X, y = rows
    scores = np.random.RandomState(1).permutation(80)
    curve = removal_curve(
        GaussianNB(), X[:80], y[:80], X[80:], y[80:], scores, shares=(0, 0.1, 0.5), n_seeds=2
    )
    assert_array_equal(curve.n_removed, [0, 8, 40])
    order = np.argsort(scores)
    for name, removal in (("lowest_first", order), ("highest_first", order[::-1])):
        expected = []
        for n in (0, 8, 40):
            kept = removal[n:]
            expected.append(GaussianNB().fit(X[kept], y[kept]).score(X[80:], y[80:]))
        assert_allclose(curve[name], [expected, expected])
    assert_allclose(curve.random[:, 0], curve.lowest_first[:, 0])
    assert curve.random.shape == (2, 3)


def test_the_exact_share_is_removed_even_if_it_cuts_a_group(rows):
    X, y = rows
    options = {"scoring": n_rows_of, "shares": (0.0, 0.05, 0.1, 0.33), "random_state": 0}
    for groups, scores in ((None, np.arange(120)), (np.arange(120) // 30, np.arange(4))):
        curve = removal_curve(count_rows, X, y, X[:5], y[:5], scores, groups=groups, **options)
        for name in ("lowest_first", "highest_first", "random"):
            assert_array_equal(curve[name], np.tile([120, 114, 108, 80], (5, 1)))


def test_scores_of_groups_remove_whole_groups_in_their_order(rows):
    X, y = rows
    groups = np.array(["d", "b", "c", "a"])[np.arange(120) // 30]
    seen = {}

    def remaining(X, y, seed):
        fitted = DummyClassifier().fit(X, y)
        fitted.rows = frozenset(np.flatnonzero((rows[0][:, None] == X).all(2).any(1)))
        return fitted

    def record(fitted, X, y):
        seen[fitted.rows] = True
        return 0.0

    # "b" has the lowest score, then "d".
    options = {"scoring": record, "n_seeds": 1, "random_state": 0}
    removal_curve(remaining, X, y, X, y, [3, 1, 4, 2], groups=groups, shares=(0.25, 0.5), **options)
    for removed in ({"b"}, {"b", "d"}, {"c"}, {"c", "a"}):
        assert frozenset(np.flatnonzero(~np.isin(groups, list(removed)))) in seen


def test_wrong_labels_removed_first_help_and_last_hurt(rows):
    rng = np.random.RandomState(0)
    y = np.arange(600) % 3
    X = rng.normal(size=(600, 4)) + 3 * np.eye(3, 4)[y]
    noisy, flipped = flip_labels(y[:300], rate=0.3, transition="next", random_state=0)
    curve = removal_curve(
        KNeighborsClassifier(1),
        X[:300],
        noisy,
        X[300:],
        y[300:],
        ~flipped,
        random_state=0,
        shares=(0, 0.15, 0.3),
        n_seeds=10,
    )
    assert curve.lowest_first.mean(0)[-1] > curve.lowest_first.mean(0)[0] + 0.2
    assert (
        curve.highest_first.mean(0)[-1] < curve.random.mean(0)[-1] < curve.lowest_first.mean(0)[-1]
    )


def test_with_equal_scores_the_orders_are_random_but_repeatable(rows):
    X, y = rows

    def run(seed):
        return removal_curve(
            GaussianNB(),
            X[:80],
            y[:80],
            X[80:],
            y[80:],
            np.ones(80),
            shares=(0.7,),
            random_state=seed,
        )

    assert_array_equal(run(0).lowest_first, run(0).lowest_first)
    assert_array_equal(run(0).random, run(0).random)
    assert len(np.unique(run(0).random)) > 1
    assert len({run(seed).lowest_first[0, 0] for seed in range(5)}) > 1


def test_parallel_trainings_give_the_same_bits(rows):
    X, y = rows
    forest, scores = RandomForestClassifier(3, max_depth=2), np.random.RandomState(0).rand(80)
    arguments = (forest, X[:80], y[:80], X[80:], y[80:], scores)
    serial, parallel = (
        removal_curve(*arguments, scoring="neg_log_loss", random_state=0, n_seeds=2, n_jobs=n_jobs)
        for n_jobs in (None, 2)
    )
    for name in ("lowest_first", "highest_first", "random"):
        assert_array_equal(serial[name], parallel[name])
    assert (serial.lowest_first[0] != serial.lowest_first[1]).any()
    assert not hasattr(forest, "estimators_")


def test_a_net_a_name_of_a_score_and_a_regression(rows):
    X, y = rows
    names, X32 = np.array(["a", "b", "c"])[y], X.astype(np.float32)
    options = {"shares": (0.0, 0.5), "n_seeds": 1, "random_state": 0}
    curve = removal_curve(net(), X32, names, X32, names, np.arange(120), **options)
    assert 0 < curve.lowest_first.min() and curve.lowest_first.max() <= 1
    curve = removal_curve(
        LogisticRegression(), X, names, X, names, np.arange(120), scoring="neg_log_loss", **options
    )
    kept = clone(LogisticRegression()).fit(X[60:], names[60:]).predict_proba(X)
    assert curve.lowest_first[0, 1] == pytest.approx(np.log(kept[np.arange(120), y]).mean())
    curve = removal_curve(LinearRegression(), X, X.sum(1), X, X.sum(1), np.arange(120), **options)
    assert_allclose(curve.random, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": np.ones(119)}, r"scores must have the shape \(n_rows,\) with 120 rows"),
        ({"scores": np.ones((120, 2))}, r"scores must have the shape \(n_rows,\)"),
        ({"groups": np.arange(120) // 30}, r"\(n_groups,\) with 4 groups; got \(120,\)"),
        ({"scores": np.full(120, np.nan)}, "scores contains NaN"),
        ({"shares": (0.2, 0.1)}, "shares must ascend"),
        ({"shares": (-0.1, 0.1)}, "shares must ascend"),
        ({"shares": (0.1, 1.0)}, "shares must ascend"),
        ({"shares": (0.999,)}, "leaves none of the 120 rows"),
        ({"shares": (0.1, 0.99), "scores": np.arange(120) % 3}, "of 1 of 3 classes, but 2 are"),
        ({"y_test": np.full(120, 5)}, "not seen in fit"),
        ({"X_test": np.ones((120, 3))}, "training rows' shape"),
        ({"n_seeds": 0}, "n_seeds"),
        ({"scoring": "beauty"}, "beauty"),
    ],
)
def test_wrong_input_is_refused(rows, change, message):
    X, y = rows
    arguments = {"X": X, "y": y, "X_test": X, "y_test": y, "scores": np.arange(120)} | change
    with pytest.raises(ValueError, match=message):
        removal_curve(GaussianNB(), random_state=0, **arguments)


def test_a_bare_module_is_refused(rows):
    X, y = rows
    with pytest.raises(TypeError, match="skorch"):
        removal_curve(nn.Linear(4, 3), X, y, X, y, y)
