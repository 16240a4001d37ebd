"""Test score after training without the rows of lowest, highest, and random score."""

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.metrics import get_scorer
from sklearn.utils import Bunch, check_random_state, check_scalar

from sklearn_synset._runtime.torch_interop import draw_seed
from sklearn_synset.metrics._row_order import ascending, check_shares, scores_of_rows
from sklearn_synset.metrics._training import (
    TrainingProblem,
    reproducibly,
    run_jobs,
    take_rows,
    training_problem,
)


def removal_curve(
    estimator,
    X,
    y,
    X_test,
    y_test,
    scores,
    *,
    groups=None,
    shares=(0.0, 0.05, 0.1, 0.2, 0.4),
    scoring=None,
    n_seeds=5,
    n_jobs=None,
    random_state=None,
    verbose=0,
):
    """Train without the rows of lowest and of highest score, and without random ones.

    Where scores tell what rows are worth, removing the lowest first keeps or raises the test score
    (the rows were wrong or idle), and removing the highest first lowers it faster than chance does.

    Parameters
    ----------
    estimator : estimator or callable
        As for :func:`retraining`.
    X : array-like of shape (n_rows, n_features...)
        Training rows.
    y : array-like of shape (n_rows,)
        Their labels or values.
    X_test : array-like of shape (n_test, n_features...)
        Test rows.
    y_test : array-like of shape (n_test,)
        Their labels or values.
    scores : array-like of shape (n_rows,) or (n_groups,)
        What each row is worth, such as :meth:`SynsetAttributor.score_samples`, or each group, such
        as the mean of its attributions. An order of removal becomes scores by `np.argsort(order)`.
    groups : array-like of shape (n_rows,), default=None
        Label of each row's group; `scores` are those of the groups in sorted order then.
    shares : array-like of shape (n_shares,), default=(0.0, 0.05, 0.1, 0.2, 0.4)
        Shares of the rows to remove, ascending, in [0, 1). Rows of equal score, such as those of a
        group, go in random order.
    scoring : str or callable, default=None
        A name of scikit-learn's, or a callable that maps `(fitted, X_test, y_test)` to a number;
        the `score` of the fitted estimator if None.
    n_seeds : int, default=5
        Trainings of each point, every time from another seed; each has a random order of its own.
    n_jobs : int, default=None
        Number of trainings to run at once, each in one thread. The result is the same for any.
    random_state : int, RandomState instance or None, default=None
        Determines the seeds, the random orders, and the order of ties.
    verbose : int, default=0
        Shows a progress bar if positive.

    Returns
    -------
    curve : Bunch
        - shares : ndarray of shape (n_shares,), as given.
        - n_removed : int ndarray of shape (n_shares,), rows removed.
        - lowest_first : ndarray of shape (n_seeds, n_shares), test scores after removing the rows
          of lowest score.
        - highest_first : ndarray of shape (n_seeds, n_shares), the same for the highest.
        - random : ndarray of shape (n_seeds, n_shares), the same for random rows, the control.
        - seeds : ndarray of shape (n_seeds,).

    Raises
    ------
    TypeError
        If the estimator cannot be trained from scratch.
    ValueError
        If arrays do not fit each other, a value is not finite, a parameter has no proper value, or
        fewer than two classes would be left.

    See Also
    --------
    brittleness : The same for single predictions.

    References
    ----------
    .. [1] Ghorbani, Zou, "Data Shapley: Equitable Valuation of Data for Machine Learning", ICML
       2019, section 4.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from sklearn_synset.datasets import flip_labels
    >>> from sklearn_synset.metrics import removal_curve
    >>> X, y = load_iris(return_X_y=True)
    >>> y_noisy, is_flipped = flip_labels(y[::2], rate=0.4, transition="next", random_state=0)
    >>> curve = removal_curve(
    ...     GaussianNB(), X[::2], y_noisy, X[1::2], y[1::2], ~is_flipped, random_state=0)
    >>> bool(curve.lowest_first.mean(0)[-1] > curve.random.mean(0)[-1])
    True
    """
    check_scalar(n_seeds, "n_seeds", Integral, min_val=1)
    problem = training_problem(estimator, X, y)
    X_test = problem.query_rows(X_test)
    target = problem.query_target(X_test, y_test)
    shares, n_removed = check_shares(shares, problem.n_rows, least=0.0)
    random_state = check_random_state(random_state)
    lowest = ascending(scores_of_rows(scores, groups, problem.n_rows, ndim=1), random_state)
    seeds = [draw_seed(random_state) for _ in range(n_seeds)]
    controls = [random_state.permutation(problem.n_rows) for _ in seeds]
    orders = np.array([(lowest, lowest[::-1], control) for control in controls])
    # What remains of the largest removal holds the least.
    kept = np.ones(orders.shape, dtype=bool)
    np.put_along_axis(kept, orders[..., : n_removed[-1]], False, axis=-1)
    problem.check_classes_remain(kept.reshape(-1, problem.n_rows), 2, "Removal order")

    # A net knows codes; another estimator knows the labels as they came.
    y_test = target if problem.net is not None else np.asarray(y_test)
    job = _Job(problem, X_test, y_test, _scorer(scoring))
    # With nothing removed the orders do not differ.
    points = [(s, k if n else 0, n) for s in range(n_seeds) for k in range(3) for n in n_removed]
    unique = list(dict.fromkeys(points))
    jobs = [(orders[s, k, :n], seeds[s]) for s, k, n in unique]
    results = run_jobs(job.run, jobs, len(jobs), n_jobs=n_jobs, verbose=verbose)
    found = dict(zip(unique, results, strict=True))
    curves = np.array([found[point] for point in points]).reshape(n_seeds, 3, -1)
    return Bunch(
        shares=shares,
        n_removed=n_removed,
        lowest_first=curves[:, 0],
        highest_first=curves[:, 1],
        random=curves[:, 2],
        seeds=np.array(seeds),
    )


@dataclass(frozen=True, eq=False)
class _Job:
    """One training without some rows, and its test score."""

    problem: TrainingProblem
    X_test: Any
    y_test: np.ndarray
    scorer: Callable

    def run(self, removed: np.ndarray, seed: int) -> float:
        """Return the test score after a training without some rows."""
        rows = np.delete(np.arange(self.problem.n_rows), removed)
        with reproducibly(self.problem, seed):
            fitted = self.problem.train(rows, seed)
            X_test = take_rows(self.X_test, np.arange(len(self.y_test)))
            return float(self.scorer(fitted, X_test, self.y_test.copy()))


def _scorer(scoring: Any) -> Callable:
    if scoring is None:
        return _own_score
    return scoring if callable(scoring) else get_scorer(scoring)


def _own_score(fitted: Any, X: Any, y: np.ndarray) -> float:
    return fitted.score(X, y)
