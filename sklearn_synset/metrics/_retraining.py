"""The ground truth that attributions estimate: retraining without the rows in question."""

import hashlib
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import Bunch, check_random_state, check_scalar
from tqdm.auto import tqdm

from sklearn_synset._network.functional_model import loss_scale_of
from sklearn_synset._objective.objective import Objective, resolve_objective
from sklearn_synset._runtime.parallel import in_parallel
from sklearn_synset._runtime.torch_interop import draw_seed
from sklearn_synset._wrapping.skorch_net import initialized_clone
from sklearn_synset.metrics._job_cache import JobCache, open_cache
from sklearn_synset.metrics._retrained_objective import objective_values
from sklearn_synset.metrics._row_order import read_groups
from sklearn_synset.metrics._side_by_side import NotSideBySideError, stack_of_trainings
from sklearn_synset.metrics._training import (
    TrainingProblem,
    count_rows,
    reproducibly,
    take_rows,
    training_problem,
)

_PROTOCOL = 2  # part of what a cache is for: raise it when results change
_MAX_DRAWS = 1000
_SIDE_BY_SIDE, _ONE_BY_ONE = "side by side", "one by one"


def retraining(
    estimator,
    X,
    y,
    X_query,
    y_query,
    *,
    groups=None,
    sample_weight=None,
    leave_one_out=True,
    subsets=0,
    objective="auto",
    n_seeds=1,
    side_by_side="auto",
    cache_dir=None,
    n_jobs=None,
    random_state=None,
    verbose=0,
):
    r"""Retrain an estimator without groups of its rows, and measure what that does to queries.

    This is the truth that attributions estimate, at its full price: for each seed one training on
    all rows, one without each group, and one on each subset of the groups. The trainings of a
    skorch net run side by side, as one stack of networks, in a fraction of the time.

    Parameters
    ----------
    estimator : estimator or callable
        A scikit-learn estimator, a skorch net, or a pipeline that ends in one; cloned for every
        training. A callable maps `(X, y, seed)` to a fitted predictor. A bare
        :class:`torch.nn.Module` does not say how it was trained: wrap its class in a skorch net.
    X : array-like of shape (n_rows, n_features...)
        Training rows.
    y : array-like of shape (n_rows,) or (n_rows, n_targets)
        Labels, or values. A net is trained on the labels' codes.
    X_query : array-like of shape (n_queries, n_features...)
        Queries.
    y_query : array-like of shape (n_queries,)
        Labels or values that they are judged by; for the network's own predictions pass those.
    groups : array-like of shape (n_rows,), default=None
        Label of each row's group; every row is a group of its own if None.
    sample_weight : array-like of shape (n_rows,), default=None
        Weight of each row in the training; all equal if None. Those of a net act as in
        :meth:`~sklearn_synset.SynsetAttributor.fit`; another estimator's `fit` has to take them.
    leave_one_out : bool, default=True
        Whether to train without each group.
    subsets : int or array-like of shape (n_subsets, n_groups), default=0
        Number of random halves of the groups (rounded up) to train on, or masks, true for the
        groups that are kept.
    objective : str or callable, default="auto"
        The objective of the queries, as in :class:`~sklearn_synset.SynsetAttributor`: "margin",
        "probability", "logit", "loss" or "prediction"; "auto" is the margin for labels and the
        prediction for values. A callable maps outputs (n_queries, n_outputs) and labels to values
        (n_queries,), all of them tensors.
    n_seeds : int, default=1
        How often everything is trained, each time from another seed, which is given to every
        `random_state` of the estimator and to the global generators.
    side_by_side : {"auto", True, False}, default="auto"
        Whether the trainings of a seed run as one stack of networks, in parts of some hundred
        megabytes. "auto" does so for a skorch net, not in a pipeline, whose training can be
        repeated this way, and trains one by one otherwise. True refuses what cannot be trained
        side by side, and says why.
    cache_dir : path-like, default=None
        Directory that keeps what each finished training found, as npz files. An interrupted run
        goes on from there, and seeds and subsets can be added later. One that holds results of
        other data, groups, estimator or objective is refused. Needs an integer `random_state`.
    n_jobs : int, default=None
        Number of trainings, or of stacks, to run at once, each in one thread. The result is the
        same for any.
    random_state : int, RandomState instance or None, default=None
        Determines the seeds and the subsets.
    verbose : int, default=0
        Shows a progress bar if positive.

    Returns
    -------
    truth : Bunch
        - effects : ndarray of shape (n_seeds, n_queries, n_groups), objective of the estimator
          trained on all rows minus that of the one trained without the group; positive where the
          group helps. None without `leave_one_out`.
        - outputs : ndarray of shape (n_seeds, n_subsets, n_queries), objective of the estimators
          trained on subsets.
        - subsets : bool ndarray of shape (n_subsets, n_groups), true for the groups kept.
        - full_outputs : ndarray of shape (n_seeds, n_queries), objective of the estimator trained
          on all rows.
        - groups : ndarray of shape (n_groups,), labels in the order of the columns.
        - seeds : ndarray of shape (n_seeds,).
        - how : str, "side by side", or "one by one" and the reason for it.

    Raises
    ------
    TypeError
        If the estimator cannot be trained from scratch, or has no margin.
    ValueError
        If arrays do not fit each other, there are fewer than two groups, a parameter has no proper
        value, a class would be missing from a training set (but for nets, whose outputs do not
        depend on the rows), a training diverges, the cache is of something else, or the trainings
        cannot run side by side, but have to.

    See Also
    --------
    leave_one_out_correlation : Compares scores with `effects`.
    linear_datamodeling_score : Compares scores with `outputs`.

    Notes
    -----
    The margin is the log-odds of the query's label, :math:`\log p_y - \log \sum_{c \ne y} p_c`, in
    nats. A net's comes from its logits. Another classifier's comes from its decision function where
    the softmax of that is its `predict_proba`, and from the probabilities otherwise; those that are
    zero are raised to 2.2e-16. A decision function alone is taken for the logits.

    A net starts from the same weights in all trainings of a seed. Without some rows it sees the
    others in the order and in the minibatches in which it sees them among all rows, and holds back
    the same validation rows: only the left-out rows make the difference. Side by side or one by
    one, the results are the same within rounding, with these exceptions. Dropout masks, and other
    random numbers that a module draws, differ: networks of a stack share theirs. A minibatch with
    no remaining row is skipped one by one, and is a step with zero gradient in a stack. Where early
    stopping or a schedule watches the training loss, minibatches count by the rows that remain one
    by one, and by all of their rows in a stack. Adam and its relatives make full steps of gradients
    that are mere rounding errors, such as those of biases in front of a batch normalisation; then
    two runs agree only up to that noise.

    Only one objective for each query and training is kept, never a trained estimator; parallel
    processes share `X` through the disk.

    References
    ----------
    .. [1] Feldman, Zhang, "What Neural Networks Memorize and Why", NeurIPS 2020, section 2 (leaving
       out).
    .. [2] Ilyas, Park, Engstrom, Leclerc, Madry, "Datamodels", ICML 2022, section 2 (subsets).

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_synset.metrics import retraining
    >>> X, y = load_iris(return_X_y=True)
    >>> groups = [label * 10 + row % 3 for row, label in enumerate(y)]
    >>> classifier = LogisticRegression(max_iter=1000)
    >>> truth = retraining(
    ...     classifier, X, y, X[:5], y[:5], groups=groups, subsets=20, random_state=0
    ... )
    >>> truth.effects.shape, truth.outputs.shape
    ((1, 5, 9), (1, 20, 5))
    >>> truth.how
    'one by one: LogisticRegression is not a skorch net'
    """
    check_scalar(n_seeds, "n_seeds", Integral, min_val=1)
    if side_by_side not in ("auto", True, False):
        raise ValueError(f"side_by_side must be 'auto', True or False; got {side_by_side!r}.")
    problem = training_problem(estimator, X, y, several=n_seeds > 1, sample_weight=sample_weight)
    X_query = problem.query_rows(X_query)
    y_query = problem.query_target(X_query, y_query)
    labels, codes = read_groups(groups, problem.n_rows)
    scale = loss_scale_of(problem.loss, problem.n_outputs)
    function = resolve_objective(objective, problem.loss, loss_scale=scale)
    if cache_dir is not None and not isinstance(random_state, Integral):
        raise ValueError("cache_dir needs an integer random_state, to find its trainings again.")
    random_state = check_random_state(random_state)
    subset_random_state = np.random.RandomState(draw_seed(random_state))
    seeds = [draw_seed(random_state) for _ in range(n_seeds)]
    subsets = _read_subsets(subsets, problem, codes, len(labels), subset_random_state)
    kept = _training_sets(problem, codes, len(labels), leave_one_out, subsets)

    cache = None
    if cache_dir is not None:
        cache = open_cache(cache_dir, _ingredients(problem, X_query, y_query, codes, objective))
    how, n_at_once = _how(problem, codes, seeds[0], X_query, side_by_side)
    job = _Job(problem, X_query, y_query, codes, function, cache, how == _SIDE_BY_SIDE)
    parts = np.split(kept, range(n_at_once, len(kept), n_at_once))
    found = in_parallel(job.run, ((p, seed) for seed in seeds for p in parts), n_jobs=n_jobs)
    results = []
    with tqdm(
        total=len(seeds) * len(kept), desc="retrain", unit="fit", disable=not verbose
    ) as progress:
        for result in found:
            results.append(result)
            progress.update(len(result))
    values = np.concatenate(results)
    by_seed = values.reshape(len(seeds), len(kept), -1)
    n_removals = len(kept) - 1 - len(subsets)
    without = by_seed[:, 1 : 1 + n_removals]
    return Bunch(
        effects=(by_seed[:, :1] - without).swapaxes(1, 2) if leave_one_out else None,
        outputs=by_seed[:, 1 + n_removals :],
        subsets=subsets,
        full_outputs=by_seed[:, 0],
        groups=labels,
        seeds=np.array(seeds),
        how=how,
    )


def _how(
    problem: TrainingProblem, codes: np.ndarray, seed: int, X_query: Any, side_by_side: object
) -> tuple[str, int]:
    """Return whether trainings run side by side, and how many at once."""
    if side_by_side is False:
        return f"{_ONE_BY_ONE}: side_by_side=False", 1
    try:
        with reproducibly(problem, seed):
            n_at_once = stack_of_trainings(problem, codes, seed).n_at_once(X_query)
    except NotSideBySideError as reason:
        if side_by_side is True:
            raise ValueError(f"The trainings cannot run side by side: {reason}.") from reason
        return f"{_ONE_BY_ONE}: {reason}", 1
    return _SIDE_BY_SIDE, n_at_once


@dataclass(frozen=True, eq=False)
class _Job:
    """Trainings of one seed, and what they say of the queries."""

    problem: TrainingProblem
    X_query: Any
    y_query: np.ndarray
    codes: np.ndarray
    objective: Objective
    cache: JobCache | None
    is_side_by_side: bool

    def run(self, kept: np.ndarray, seed: int) -> np.ndarray:
        """Return objectives (n_sets, n_queries) after trainings on groups (n_sets, n_groups)."""
        names = [
            f"{seed:010d}-{hashlib.sha256(np.packbits(each).tobytes()).hexdigest()[:24]}"
            for each in kept
        ]
        n_queries = count_rows(self.X_query)
        values, is_missing = np.empty((len(kept), n_queries)), np.ones(len(kept), dtype=bool)
        if self.cache is not None:
            for index, name in enumerate(names):
                found = self.cache.load(name, (n_queries,))
                if found is not None:
                    values[index], is_missing[index] = found, False
        if is_missing.any():
            with reproducibly(self.problem, seed):
                values[is_missing] = self._trained(kept[is_missing], seed)
        if self.cache is not None:
            for name, result, is_new in zip(names, values, is_missing, strict=True):
                if is_new:
                    self.cache.save(name, result)
        return values

    def _trained(self, kept: np.ndarray, seed: int) -> np.ndarray:
        """Return the objectives (n_sets, n_queries) after trainings that were not done before."""
        if self.is_side_by_side:
            stack = stack_of_trainings(self.problem, self.codes, seed)
            return stack.objectives(kept, self.X_query, self.y_query, self.objective)
        (only,) = kept
        fitted = self.problem.train_without(only[self.codes], seed)
        # A copy: what other processes share is read-only, which torch warns of.
        rows = take_rows(self.X_query, np.arange(count_rows(self.X_query)))
        values = objective_values(
            fitted, rows, self.y_query.copy(), self.problem.classes, self.objective
        )
        return values[None]


def _read_subsets(
    subsets: object,
    problem: TrainingProblem,
    codes: np.ndarray,
    n_groups: int,
    random_state: np.random.RandomState,
) -> np.ndarray:
    """Return the masks (n_subsets, n_groups), drawn at random if only their number is given."""
    if isinstance(subsets, Integral):
        check_scalar(subsets, "subsets", Integral, min_val=0)
        drawn = [_random_half(problem, codes, n_groups, random_state) for _ in range(subsets)]
        return np.array(drawn, dtype=bool).reshape(-1, n_groups)
    masks = np.asarray(subsets)
    if masks.ndim != 2 or masks.shape[1] != n_groups or not np.isin(masks, (0, 1)).all():
        raise ValueError(
            "subsets must be a number, or masks of booleans of the shape (n_subsets, n_groups) = "
            f"(..., {n_groups}); got the shape {masks.shape}."
        )
    masks = masks.astype(bool)
    if not masks.any(1).all():
        raise ValueError("subsets holds one without a group: nothing would be left to train on.")
    return masks


def _random_half(
    problem: TrainingProblem,
    codes: np.ndarray,
    n_groups: int,
    random_state: np.random.RandomState,
) -> np.ndarray:
    """Draw half of the groups (n_groups,), with rows of every class if the estimator needs them."""
    for _ in range(_MAX_DRAWS):
        kept = np.zeros(n_groups, dtype=bool)
        kept[random_state.permutation(n_groups)[: (n_groups + 1) // 2]] = True
        labels = problem.label_codes
        if problem.net is not None or labels is None or _has_all(problem, labels[kept[codes]]):
            return kept
    raise ValueError(
        "Hardly a random half of the groups has rows of every class, without which "
        f"{type(problem.estimator).__name__} cannot be asked for it; make smaller groups, or "
        "pass masks as subsets."
    )


def _has_all(problem: TrainingProblem, labels: np.ndarray) -> bool:
    return len(np.unique(labels)) == len(problem.classes)  # type: ignore[arg-type]


def _training_sets(
    problem: TrainingProblem,
    codes: np.ndarray,
    n_groups: int,
    leave_one_out: bool,
    subsets: np.ndarray,
) -> np.ndarray:
    """Return the groups of each training (n_sets, n_groups): all, all but one, and subsets."""
    removals = ~np.eye(n_groups, dtype=bool)[: n_groups if leave_one_out else 0]
    if problem.net is None:
        n_classes = 0 if problem.classes is None else len(problem.classes)
        problem.check_classes_remain(removals[:, codes], n_classes, "Leaving out group")
        problem.check_classes_remain(subsets[:, codes], n_classes, "Subset")
    return np.concatenate([np.ones((1, n_groups), dtype=bool), removals, subsets])


def _ingredients(
    problem: TrainingProblem,
    X_query: object,
    y_query: np.ndarray,
    codes: np.ndarray,
    objective: object,
) -> dict[str, object]:
    """Return everything that a result depends on."""
    ingredients = {
        "protocol": _PROTOCOL,
        "estimator": problem.estimator,
        "X": problem.X,
        "y": problem.y,
        "X_query": X_query,
        "y_query": y_query,
        "groups": codes,
        "objective": objective,
    }
    if problem.loss == "squared_error" and problem.n_outputs > 1:
        ingredients["n_outputs"] = problem.n_outputs  # the loss is a mean over them
    if problem.sample_weight is not None:
        ingredients["sample_weight"] = problem.sample_weight
    if problem.net is not None:
        # The class of a module is hashed by its name, and may have changed behind it.
        module = initialized_clone(problem.net, None, seed=0).module_
        shapes = [(name, tuple(p.shape)) for name, p in module.named_parameters()]
        ingredients["module"] = (repr(module), shapes)
    return ingredients
