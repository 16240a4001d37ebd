"""How few rows have to go for a prediction to flip."""

from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import Bunch, check_random_state, check_scalar

from sklearn_synset._runtime.torch_interop import draw_seed
from sklearn_synset.metrics._retrained_objective import predictor_outputs
from sklearn_synset.metrics._row_order import ascending, check_shares, scores_of_rows
from sklearn_synset.metrics._training import (
    TrainingProblem,
    count_rows,
    final_net,
    reproducibly,
    run_jobs,
    take_rows,
    training_problem,
)


def brittleness(
    estimator,
    X,
    y,
    X_query,
    scores,
    *,
    groups=None,
    shares=(0.01, 0.02, 0.05, 0.1, 0.2, 0.4),
    n_seeds=1,
    n_jobs=None,
    random_state=None,
    verbose=0,
):
    """Find the smallest share of the training rows whose removal flips each prediction.

    For every query the rows of highest attribution are removed, more and more of them, and the
    estimator is retrained without them, until it predicts another class. The better the
    attributions, the fewer rows it takes; compare with random scores.

    Parameters
    ----------
    estimator : estimator or callable
        A classifier, as for :func:`retraining`.
    X : array-like of shape (n_rows, n_features...)
        Training rows.
    y : array-like of shape (n_rows,)
        Their labels.
    X_query : array-like of shape (n_queries, n_features...)
        Queries.
    scores : array-like of shape (n_queries, n_rows) or (n_queries, n_groups)
        Attributions of the predicted label, positive where the row or group helps.
    groups : array-like of shape (n_rows,), default=None
        Label of each row's group; `scores` are those of the groups in sorted order then.
    shares : array-like of shape (n_shares,), default=(0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
        Shares of the rows to try, ascending, above 0 and below 1; at least one row is removed. Rows
        of equal score, such as those of a group, go in random order.
    n_seeds : int, default=1
        Trainings of each set of rows, every time from another seed.
    n_jobs : int, default=None
        Number of trainings to run at once, each in one thread. The result is the same for any.
    random_state : int, RandomState instance or None, default=None
        Determines the seeds and the order of ties.
    verbose : int, default=0
        Shows a progress bar for each share if positive.

    Returns
    -------
    result : Bunch
        - share : ndarray of shape (n_queries,), the smallest of `shares` that flips the prediction;
          infinity if none does. Low: the prediction rests on few rows, and the attributions found
          them.
        - predictions : ndarray of shape (n_queries,), labels predicted with all rows.
        - flipped_to : ndarray of shape (n_queries,), labels predicted after the flip; the same as
          before where there is none.

    Raises
    ------
    TypeError
        If the estimator cannot be trained from scratch.
    ValueError
        If `y` holds no class labels, arrays do not fit each other, a value is not finite, a
        parameter has no proper value, or fewer than two classes would be left.

    See Also
    --------
    removal_curve : The same for the test score of all queries.

    Notes
    -----
    Predictions are the most frequent over seeds, and flipped when more than half of the seeds
    predict another class than that with all rows. Every share is tried in turn, up to the flip, as
    removing more rows need not keep a prediction flipped; so for q queries up to `n_seeds * q *
    n_shares` estimators are trained. Take few queries.

    References
    ----------
    .. [1] Ilyas, Park, Engstrom, Leclerc, Madry, "Datamodels", ICML 2022, section 4.1 (data
       support and brittleness).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from sklearn_synset.metrics import brittleness
    >>> X, y = np.arange(20.0)[:, None], np.arange(20) // 10
    >>> query = [[7.2]]
    >>> nearness = -np.abs(query - X.T)  # rows 5 to 9 are nearer than row 10, of the other class
    >>> brittleness(KNeighborsClassifier(1), X, y, query, nearness, shares=(0.2, 0.25, 0.3)).share
    array([0.25])
    """
    check_scalar(n_seeds, "n_seeds", Integral, min_val=1)
    problem = training_problem(estimator, X, y)
    if problem.classes is None:
        raise ValueError("Only predictions of class labels can flip; y holds continuous values.")
    X_query = problem.query_rows(X_query)
    shares, n_removed = check_shares(shares, problem.n_rows, least=np.finfo(float).tiny)
    scores = scores_of_rows(scores, groups, problem.n_rows, ndim=2)
    if len(scores) != count_rows(X_query):
        raise ValueError(
            f"scores must have a row for each of the {count_rows(X_query)} queries; got "
            f"{len(scores)}."
        )
    random_state = check_random_state(random_state)
    seeds = [draw_seed(random_state) for _ in range(n_seeds)]
    orders = np.array([ascending(-values, random_state) for values in scores])
    kept = np.ones(orders.shape, dtype=bool)
    np.put_along_axis(kept, orders[:, : n_removed[-1]], False, axis=1)
    problem.check_classes_remain(kept, 2, "The largest removal of query")

    search = _Search(_Job(problem, X_query), seeds, n_jobs, verbose)
    every = np.arange(len(orders))
    before = _most_frequent(search.predictions(orders[:, :0], every))
    share, after = np.full(len(orders), np.inf), before.copy()
    for value, n in zip(shares, n_removed, strict=True):
        left = np.flatnonzero(np.isinf(share))
        if not len(left):
            break
        votes = search.predictions(orders[:, :n], left)
        flipped = (votes != before[left]).mean(0) > 0.5
        share[left[flipped]] = value
        after[left[flipped]] = _most_frequent(votes, other_than=before[left])[flipped]
    return Bunch(
        share=share, predictions=problem.classes[before], flipped_to=problem.classes[after]
    )


@dataclass(frozen=True, eq=False)
class _Job:
    """One training without some rows, and what it predicts."""

    problem: TrainingProblem
    X_query: Any

    def run(self, removed: np.ndarray, queries: np.ndarray, seed: int) -> np.ndarray:
        """Return the codes (n_queries,) that are predicted after a training without some rows."""
        rows = np.delete(np.arange(self.problem.n_rows), removed)
        classes = self.problem.classes
        with reproducibly(self.problem, seed):
            fitted = self.problem.train(rows, seed)
            X = take_rows(self.X_query, queries)
            if final_net(fitted) is not None:
                return predictor_outputs(fitted, X, classes).argmax(1)
            return np.searchsorted(np.asarray(classes), np.asarray(fitted.predict(X)))


@dataclass(frozen=True, eq=False)
class _Search:
    """Trains once for all queries that lose the same rows."""

    job: _Job
    seeds: list[int]
    n_jobs: int | None
    verbose: int

    def predictions(self, removed: np.ndarray, queries: np.ndarray) -> np.ndarray:
        """Return codes (n_seeds, n_queries) predicted without the rows (n_all, m) of each query."""
        sets: dict[bytes, list[int]] = {}
        for place, query in enumerate(queries):
            sets.setdefault(np.sort(removed[query]).tobytes(), []).append(place)
        places = [np.array(each) for each in sets.values()]
        # The first query of a set represents it, with its rows in ascending order.
        jobs = [
            (np.sort(removed[queries[each[0]]]), queries[each], seed)
            for seed in self.seeds
            for each in places
        ]
        found = run_jobs(self.job.run, jobs, len(jobs), n_jobs=self.n_jobs, verbose=self.verbose)
        codes = np.empty((len(self.seeds), len(queries)), dtype=int)
        for index, values in enumerate(found):
            codes[index // len(places), places[index % len(places)]] = values
        return codes


def _most_frequent(votes: np.ndarray, other_than: np.ndarray | None = None) -> np.ndarray:
    """Return the most frequent code (n_queries,) of votes (n_seeds, n_queries)."""
    counts = np.stack([(votes == code).sum(0) for code in range(votes.max() + 1)])
    if other_than is not None:
        inside = other_than < len(counts)
        counts[other_than[inside], np.flatnonzero(inside)] = -1
    return counts.argmax(0)
