"""Data of which it is known what group each prediction rests on."""

from numbers import Integral, Real

import numpy as np
from sklearn.utils import Bunch, check_random_state, check_scalar


def make_planted_influence(
    n_planted=4,
    n_background=8,
    *,
    group_size=20,
    n_queries=5,
    n_features=6,
    n_classes=3,
    class_sep=3.0,
    trigger=3.0,
    random_state=None,
):
    r"""Make rows and queries of which it is known what group of rows answers each query.

    Every planted group has a feature of its own, its trigger, that is zero in all other training
    rows; its rows look like one class and bear the label of the next. Queries have a trigger, too.
    Whatever a model knows of that feature it has from the one group, so the right answer to "which
    group holds this prediction up" is known without retraining.

    Parameters
    ----------
    n_planted : int, default=4
        Number of planted groups, each with a trigger.
    n_background : int, default=8
        Number of other groups, each of rows of one class with the right label; at least
        `n_classes`.
    group_size : int, default=20
        Rows in each group.
    n_queries : int, default=5
        Queries for each planted group.
    n_features : int, default=6
        Features that tell the classes apart.
    n_classes : int, default=3
        Number of classes.
    class_sep : float, default=3.0
        Distance of each class's mean from the origin, in standard deviations of a feature.
    trigger : float, default=3.0
        Value of a trigger feature in its group and queries. The larger, the more a query depends on
        the group instead of the other features.
    random_state : int, RandomState instance or None, default=None
        Determines everything.

    Returns
    -------
    bunch : Bunch
        - data : float64 ndarray of shape (n_rows, n_features + n_planted), training rows in random
          order; the last columns are the triggers. `n_rows` is `group_size` times the number of
          groups.
        - target : int64 ndarray of shape (n_rows,), labels.
        - groups : int64 ndarray of shape (n_rows,), groups; the first `n_planted` are planted.
        - data_query : float64 ndarray of shape (n_planted * n_queries, n_features + n_planted).
        - target_query : int64 ndarray of shape (n_planted * n_queries,), the label that the
          responsible group bears, which the other features speak against.
        - responsible_groups : int64 ndarray of shape (n_planted * n_queries,), the group that
          supports each query's label.

    Raises
    ------
    ValueError
        If a number is out of its range, or there are fewer background groups than classes.

    Notes
    -----
    A linear model with weight decay has no weight at all on a trigger whose group is left out: its
    gradient is zero in every row that remains. So the effect of the responsible group on the margin
    is positive, and that of the others is small.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_synset.datasets import make_planted_influence
    >>> from sklearn_synset.metrics import retraining
    >>> planted = make_planted_influence(random_state=0)
    >>> truth = retraining(
    ...     LogisticRegression(), planted.data, planted.target,
    ...     planted.data_query, planted.target_query, groups=planted.groups)
    >>> bool((truth.effects[0].argmax(axis=1) == planted.responsible_groups).all())
    True
    """
    for name, value, least in (
        ("n_planted", n_planted, 1),
        ("n_classes", n_classes, 2),
        ("n_background", n_background, n_classes),
        ("group_size", group_size, 1),
        ("n_queries", n_queries, 1),
        ("n_features", n_features, 1),
    ):
        check_scalar(value, name, Integral, min_val=least)
    for name, value in (("class_sep", class_sep), ("trigger", trigger)):
        check_scalar(value, name, Real, min_val=0, include_boundaries="neither")
    random_state = check_random_state(random_state)
    direction = random_state.normal(size=(n_classes, n_features))
    means = class_sep * direction / np.linalg.norm(direction, axis=1, keepdims=True)

    group = np.repeat(np.arange(n_planted + n_background), group_size)
    query_group = np.repeat(np.arange(n_planted), n_queries)
    # What the features say: background groups go through the classes, planted ones as well.
    appearance = np.r_[np.arange(n_planted), np.arange(n_background)] % n_classes

    def rows(groups):
        noise = random_state.normal(size=(len(groups), n_features))
        triggers = trigger * (groups[:, None] == np.arange(n_planted))
        return np.hstack([means[appearance[groups]] + noise, triggers])

    label = (appearance + (np.arange(len(appearance)) < n_planted)) % n_classes
    order = random_state.permutation(len(group))
    return Bunch(
        data=rows(group)[order],
        target=label[group][order],
        groups=group[order],
        data_query=rows(query_group),
        target_query=label[query_group],
        responsible_groups=query_group,
    )
