import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier

from sklearn_synset.datasets import make_planted_influence
from sklearn_synset.metrics import brittleness
from tests.metrics.nets import net

SHARES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4)


@pytest.fixture
def line():
    """Return rows on a line, ten of either class; the next neighbour decides."""
    X, y = np.arange(20.0)[:, None], np.array(["left", "right"])[np.arange(20) // 10]
    queries = np.array([[7.2], [11.2], [0.2], [9.4]])
    return X, y, queries, -np.abs(queries - X.T)


def test_the_nearest_neighbours_have_to_go(line):
    result = brittleness(KNeighborsClassifier(1), *line, shares=SHARES, random_state=0)
    # 7.2 flips without 5 to 9; 11.2 without 10 to 13; 0.2 never by 8 rows; 9.4 without 9.
    assert_array_equal(result.share, [0.25, 0.2, np.inf, 0.05])
    assert_array_equal(result.predictions, ["left", "right", "left", "left"])
    assert_array_equal(result.flipped_to, ["right", "left", "left", "right"])


def test_it_is_the_first_flip_of_a_search_by_hand():
    rng = np.random.RandomState(0)
    y = np.arange(60) % 3
    X = rng.normal(size=(60, 3)) + np.eye(3)[y]
    scores = rng.normal(size=(9, 60)) + 2 * (y == y[:9, None])
    result = brittleness(GaussianNB(), X, y, X[:9] + 0.1, scores, shares=SHARES)
    for query in range(9):
        order = np.argsort(-scores[query])
        full = GaussianNB().fit(X, y).predict(X[[query]] + 0.1)[0]
        expected = np.inf
        for share in SHARES:
            kept = order[round(share * 60) :]
            after = GaussianNB().fit(X[kept], y[kept]).predict(X[[query]] + 0.1)[0]
            if after != full:
                expected = share
                break
        assert result.share[query] == expected
        assert result.predictions[query] == full
        assert result.flipped_to[query] == (full if np.isinf(expected) else after)
    assert np.isfinite(result.share).any()


def test_planted_groups_are_what_predictions_rest_on():
    planted = make_planted_influence(
        n_planted=3, n_background=6, class_sep=6.0, trigger=6.0, random_state=0
    )
    n_queries = len(planted.responsible_groups)
    right = np.eye(9)[planted.responsible_groups]
    problem = (LogisticRegression(max_iter=1000), planted.data, planted.target, planted.data_query)
    options = {"groups": planted.groups, "shares": (1 / 9, 2 / 9), "random_state": 0}
    found = brittleness(*problem, right, **options)
    predicted = found.predictions == planted.target_query
    assert predicted.mean() > 0.8
    assert (found.share[predicted] == 1 / 9).mean() > 0.9
    background = np.tile(np.arange(9) == 8, (n_queries, 1))
    assert brittleness(*problem, background, **options).share[predicted].min() > 1 / 9


class Vote:
    def __init__(self, stays):
        self.stays = stays

    def predict(self, X):
        return np.full(len(X), "a" if self.stays else "b")


@pytest.mark.parametrize(("n_stubborn", "expected"), [(0, 1 / 4), (1, 1 / 4), (2, np.inf)])
def test_more_than_half_of_the_seeds_have_to_flip(n_stubborn, expected):
    X, y = np.arange(8.0)[:, None], np.array(["a", "b"] * 4)
    seeds = []

    def train(X, y, seed):
        if seed not in seeds:
            seeds.append(seed)
        return Vote(0.0 in X[:, 0] or seed in seeds[:n_stubborn])

    scores = -np.arange(8.0)[None]
    result = brittleness(train, X, y, X[:1], scores, shares=(1 / 4, 1 / 2), n_seeds=3)
    assert len(seeds) == 3
    assert_array_equal(result.share, expected)
    assert_array_equal(result.predictions, "a")


@pytest.mark.slow
def test_parallel_trainings_of_a_net_give_the_same():
    rng = np.random.RandomState(0)
    y = np.arange(60) % 3
    X = (rng.normal(size=(60, 4)) + 2 * np.eye(3, 4)[y]).astype(np.float32)
    names, scores = np.array(["a", "b", "c"])[y], 1.0 * (y == y[:4, None])
    options = {"shares": (0.1, 0.3), "n_seeds": 2, "random_state": 0}
    estimator = net().set_params(max_epochs=15)
    serial = brittleness(estimator, X, names, X[:4], scores, **options)
    parallel = brittleness(estimator, X, names, X[:4], scores, n_jobs=2, **options)
    for name in ("share", "predictions", "flipped_to"):
        assert_array_equal(serial[name], parallel[name])
    assert set(serial.predictions) <= set(names)
    assert np.isfinite(serial.share).any()


def test_queries_that_lose_the_same_rows_share_a_training(line):
    X, y, queries, scores = line
    fits = []

    def train(X, y, seed):
        fits.append(len(y))
        return KNeighborsClassifier(1).fit(X, y)

    brittleness(train, X, y, queries[[0, 0, 0]], scores[[0, 0, 0]], shares=(0.1, 0.2, 0.25, 0.3))
    assert fits == [20, 18, 16, 15]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": np.linspace(0, 1, 20)}, "Unknown label type"),
        ({"scores": np.ones((4, 19))}, r"\(n_queries, n_rows\) with 20 rows; got \(4, 19\)"),
        ({"scores": np.ones(20)}, r"\(n_queries, n_rows\)"),
        ({"scores": np.ones((3, 20))}, "a row for each of the 4 queries; got 3"),
        ({"scores": np.full((4, 20), np.nan)}, "scores contains NaN"),
        ({"shares": (0.0, 0.1)}, "shares must ascend"),
        ({"shares": (0.2, 0.1)}, "shares must ascend"),
        ({"shares": (0.5,)}, "query number 0 leaves training rows of 1 of 2 classes"),
        ({"X_query": np.ones((4, 2))}, "training rows' shape"),
        ({"n_seeds": 0}, "n_seeds"),
    ],
)
def test_wrong_input_is_refused(line, change, message):
    X, y, queries, _ = line
    scores = np.tile(y == "left", (4, 1))
    arguments = {"X": X, "y": y, "X_query": queries, "scores": scores} | change
    with pytest.raises(ValueError, match=message):
        brittleness(KNeighborsClassifier(1), **arguments)


def test_values_cannot_flip(line):
    X, _, queries, scores = line
    with pytest.raises(ValueError, match="class labels"):
        brittleness(lambda X, y, seed: None, X, np.linspace(0, 1, 20), queries, scores)
