"""The estimator: explain a trained network by its training data."""

from dataclasses import fields, replace
from functools import partial
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context, clone
from sklearn.utils import check_random_state, get_tags
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data
from skorch import NeuralNet

from sklearn_synset._attribution.choose_plan import choose_plan
from sklearn_synset._attribution.leave_out_networks import (
    encoded_labels,
    removals,
)
from sklearn_synset._attribution.row_attributions import attribution_to_rows, most_influential
from sklearn_synset._attribution.rows_left_out import representatives_of
from sklearn_synset._attribution.standard_error import standard_error
from sklearn_synset._data.dataset_rows import rows_of
from sklearn_synset._data.group_assignment import group_centres
from sklearn_synset._data.input_checks import (
    CHECK_TURN,
    check_groups,
    check_range,
    check_row_shape,
    exact_labels,
    refuse_masked,
    result_dtype,
)
from sklearn_synset._data.partition import auto_n_groups, class_wise_kmeans
from sklearn_synset._data.removed_rows import removed_rows
from sklearn_synset._data.row_source import RowSource, row_dtype
from sklearn_synset._data.target import (
    column_order,
    encode_target,
    label_codes,
    n_outputs,
    read_target,
    rows_of_known_labels,
)
from sklearn_synset._data.training_data import TrainingRows
from sklearn_synset._distillation.distil import Distilled
from sklearn_synset._distillation.distilled_synset import (
    Distillation,
    distil_synset,
    starting_synset,
    whole_synset,
)
from sklearn_synset._network.identifier_rows import as_integers, integers_of
from sklearn_synset._network.module_rows import module_rows
from sklearn_synset._network.new_weights import starts_anew
from sklearn_synset._network.operation_count import multiplications
from sklearn_synset._network.training_loss import one_hot_targets
from sklearn_synset._network.wrapped_model import restore, wrap, wrap_each
from sklearn_synset._objective.objective import resolve_objective
from sklearn_synset._persistence.persistence import load_attributor, save_attributor
from sklearn_synset._persistence.representation import Representation
from sklearn_synset._probes.fidelity import fidelity_score
from sklearn_synset._probes.leave_out_and_probe import leave_out_and_probe
from sklearn_synset._probes.probed_fidelity import (
    measured_fidelity,
    probed_effects,
    warn_if_unfaithful,
)
from sklearn_synset._retraining.leave_out import LeaveOut
from sklearn_synset._runtime.torch_interop import (
    as_array,
    as_tensor,
    draw_plan_seeds,
    draw_seed,
    keep_global_state,
    use_one_thread_if_small,
)
from sklearn_synset._runtime.transaction import all_or_nothing

__all__ = ["SynsetAttributor"]

_FLOATS = (np.float64, np.float32)
# Integers are kept as they came until the network has been tried on them.
_NUMBERS = (*_FLOATS, np.int64, np.int32, np.int16, np.int8, np.uint8, np.uint16, np.uint32)
_N_QUERIES = 300


class SynsetAttributor(Representation, TransformerMixin, BaseEstimator):
    r"""Explain a trained network by groups of its training data.

    `fit` is the slow, *offline* stage: it splits the training rows into groups and leaves each
    group out of the network's training, repeated on a synset that represents the rows. All other
    methods are the fast, *online* stage: they compare the network with those without each group,
    which replaces retraining it without them.

    Parameters
    ----------
    estimator : None, Module, NeuralNet or FrozenEstimator, default=None
        The network to explain. A trained :class:`torch.nn.Module` and a
        :class:`~sklearn.frozen.FrozenEstimator` of a fitted skorch net are explained as they are.
        A skorch net is cloned and trained in `fit`. None trains a small network in `fit`. The
        object itself is never changed.

    n_groups : int or "auto", default="auto"
        Number of groups, made by k-means within each class; "auto" makes one for every 20 rows,
        at most 100 and at least two a class. Ignored when `fit` is given `groups`.

    synset_size : int or "auto", default="auto"
        Synset rows per group. "auto" takes all training rows where the training is repeated, up to
        10,000, as their number does not enter the cost of that; otherwise a quarter of them, at
        least 1 and at most 50 a group, or up to 250 as long as all groups together have at most
        5,000. A group of fewer rows gives all of them.

    initialization : {"centroid", "random"} or callable, default="centroid"
        What the synset starts from. "centroid": the rows that the network fits worst, and means of
        clusters of the others, but random rows where the network reads whole numbers as
        identifiers, as embeddings do; "random": random rows. A callable maps `(X, targets,
        residual_norm, size, generator)`, a group's rows, to averages (size, n_k) and weights
        (size,).

    distance : {"prediction", "squared_error", "cosine"} or callable, default="prediction"
        What is made small between the synset's and the training rows' group gradients. "prediction"
        measures errors by the changes of the network's outputs that they cause. A callable maps
        two tensors (n_groups, n_weights) to a scalar.

    max_iter : int or "auto", default="auto"
        Steps of the distillation. 0 keeps the starting rows. "auto" is 100 for networks that are
        only rewound, with at most 500 synset rows, and 0 otherwise, as it gains little accuracy
        there. All training rows as synset are not distilled.

    learning_rate : float, default=0.05
        First step of the distillation: nats that a row's outputs, its log-weight and its
        log-probabilities may move by.

    tol : float, default=0.0001
        The distillation stops when the mean distance of a round is below.

    solver : {"auto", "replay", "rewind"}, default="auto"
        How groups are left out. "replay": the training of a skorch net is repeated with and
        without each group, side by side, from the same initial weights and in the same order of
        rows, by its own optimizer, schedule, early stopping and dropout. "rewind": the outputs of
        the trained network are shrunk, and it is trained on by full-batch descent on the synset.
        "auto": replay where the training is known and cheap enough; a module of unknown training
        is rewound, and the result is mixed with that of a usual training. `plan_` says what was
        chosen and why.

    rewind : float or "auto", default="auto"
        Share of the network's outputs that is taken away when it is rewound, in [0, 1). 0 starts
        from the trained weights; "auto" is 0.9 for a single layer, 0.8 for a network with
        normalisation layers and 0.5 otherwise.

    n_steps : int, default=200
        The most steps of descent from rewound weights; fewer when the loss on all groups is back
        to that of the trained weights before.

    weight_decay : float, default=None
        Weight decay of the network's training, :math:`\lambda` in
        :math:`\frac{1}{n} \sum_i \ell_i + \frac{\lambda}{2} \lVert \theta \rVert^2`. None reads a
        skorch net's optimizer, and is 0 for a module. Replay uses that of the net's optimizer.

    removal : {"leave_one_out", "subsets"}, default="leave_one_out"
        Whether each group is left out alone, or the effect of a group is regressed from random
        halves of the groups (a datamodel).

    n_removals : int, default=200
        Number of random halves when `removal="subsets"`.

    objective : str or callable, default="auto"
        What is attributed: "margin" (log-odds of the label, in nats), "probability", "logit",
        "loss" or "prediction" (regression, in the target's unit). "auto" is the margin for labels
        and the prediction for values. A callable maps outputs (..., n, C) and labels (n,) to
        values (..., n), larger for a better model.

    task : {"auto", "classification", "multilabel", "regression"}, default="auto"
        What `y` holds. "auto" takes strings, booleans and integers (and floats that are at most 20
        different integers) for labels and other floats for values, unless the criterion of a
        skorch net says otherwise; what may be both is refused. "classification": labels, or class
        probabilities (n_rows, n_classes). "regression": values, such as counts, or 0 and 1.
        "multilabel" is not offered yet.

    classes : array-like of shape (n_classes,), default=None
        All labels, for those without training rows; in the order of the outputs of a network that
        is trained already. None: those in `y`, sorted.

    n_models : int, default=1
        Networks that are trained from different seeds and averaged; above 1 only for a skorch net
        or None.

    n_probes : int or "auto", default="auto"
        Groups that `fit` leaves out of the real rows to measure the fidelity; "auto" is 8 where a
        training is repeated, and 12 otherwise. 0 measures nothing.

    input_shape : tuple of int, default=None
        Shape that flat rows are given for the network.

    batch_size : int, default=4096
        Rows to evaluate at once; bounds the memory, not the result.

    device : str or torch.device, default=None
        Where to compute; where the module is if None.

    n_jobs : int, default=None
        Jobs to run at once, through joblib: networks of `n_models`, and stacks of the networks that
        groups are left out of where these take longer than starting a process. None means 1 unless
        in a :func:`joblib.parallel_config`. The result is the same to the bit for any number and
        any backend, also that of dask, on machines alike: each job has as many of torch's threads
        as the process that calls `fit`, so let their product be the number of cores.

    random_state : int, RandomState instance or None, default=None
        Determines the groups, the training in `fit`, and the distillation.

    verbose : int, default=0
        Shows progress bars of all stages of `fit`, with the time left, if positive.

    Attributes
    ----------
    estimator_ : Module or NeuralNet
        The network that is explained; the first of them if there are several.

    estimators_ : list
        All of them.

    classes_ : ndarray of shape (n_classes,)
        The labels; None for regression.

    group_labels_ : ndarray of shape (n_rows,)
        Group of each training row.

    groups_ : ndarray of shape (n_groups,)
        The groups, in the order of the columns.

    X_synset_ : ndarray of shape (n_synset, n_features...)
        Inputs of the synset, as the module receives them: of a skorch net with a `dataset`,
        `collate_fn` or `infer` of its own, what these make of rows.

    y_synset_ : ndarray of shape (n_synset, n_outputs)
        Its targets: class probabilities, or values.

    sample_weight_synset_ : ndarray of shape (n_synset,)
        Training rows that each synset row represents.

    synset_groups_ : ndarray of shape (n_synset,)
        Group of each synset row.

    matching_loss_curve_ : ndarray of shape (n_iter,)
        Distance between the groups' gradients before each step of the distillation.

    n_iter_ : int
        Steps that the distillation took.

    plan_ : Plan
        How groups were left out; `print(attributor.plan_)` shows a line with the reason for each
        choice.

    fidelity_ : Bunch
        `rank_correlation` between predicted effects and those measured on real rows (over the
        probed groups, mean over up to 300 training rows), `slope` of the measured on the predicted
        effects (1: the same size; above 1: predicted too small), for both an interval
        (`rank_correlation_interval`, `slope_interval`) that holds in about 90% of choices of the
        probed groups what all groups would give, and `groups` that were probed. The measured
        effects are those of one repeated training from a seed that no prediction is from: its
        noise lowers the correlation, so that it is rather too low than too high. Where networks
        are only rewound, it measures how well the synset represents the rows, not how well
        training on from rewound weights represents training from scratch.

    n_features_in_ : int
        Number of features seen in `fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if they were all strings.

    See Also
    --------
    sklearn.frozen.FrozenEstimator : Keeps a fitted skorch net from being trained again.

    Notes
    -----
    With replay, :math:`K + 1` networks are one stack of weights that the net's own optimizer
    steps: one with all groups, and one without each. Rows that were left out keep their place in
    the minibatches with weight 0, and dropout masks are shared, so that noise which all networks
    have in common cancels. With the mean change :math:`\Delta f_k` of the outputs over the seeds,
    the network without group k is :math:`\theta_T + \delta_k`, where

    .. math:: \delta_k \leftarrow \delta_k + J^T (J J^T + \mu)^{-1}
        (\Delta f_k - f_{\theta_T + \delta_k} + f_{\theta_T})

    starts at the displacement of the training from the network's own seed, over the number of
    seeds, and J is the Jacobian of the outputs. `attribute` and `leave_out` speak of this network.

    Otherwise this is reversed gradient matching [1]_ with two differences: gradients are matched
    along paths from *rewound* weights, whose residuals are as large as earlier in the training;
    and a path without a group is compared with a path with all groups, so that nothing left out
    changes nothing. The documentation's page on design decisions describes these paths.

    References
    ----------
    .. [1] Ye, Yu, Liu, Wang, "Distilled Datamodel with Reverse Gradient Matching", CVPR 2024,
       section 3, `arXiv:2404.14006 <https://arxiv.org/abs/2404.14006>`_.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_synset import SynsetAttributor
    >>> X, y = load_iris(return_X_y=True)
    >>> attributor = SynsetAttributor(n_groups=6, random_state=0).fit(X, y)
    >>> attributor.transform(X[:5]).shape
    (5, 6)
    """

    _parameter_constraints: dict = {
        "estimator": "no_validation",
        "n_groups": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "synset_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "initialization": [StrOptions({"centroid", "random"}), callable],
        "distance": [StrOptions({"prediction", "squared_error", "cosine"}), callable],
        "max_iter": [StrOptions({"auto"}), Interval(Integral, 0, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "solver": [StrOptions({"auto", "replay", "rewind"})],
        "rewind": [StrOptions({"auto"}), Interval(Real, 0, 1, closed="left")],
        "n_steps": [Interval(Integral, 1, None, closed="left")],
        "weight_decay": [None, Interval(Real, 0, None, closed="left")],
        "removal": [StrOptions({"leave_one_out", "subsets"})],
        "n_removals": [Interval(Integral, 2, None, closed="left")],
        "objective": [
            StrOptions({"auto", "margin", "probability", "logit", "loss", "prediction"}),
            callable,
        ],
        "task": [StrOptions({"auto", "classification", "multilabel", "regression"})],
        "classes": [None, "array-like"],
        "n_models": [Interval(Integral, 1, None, closed="left")],
        "n_probes": [StrOptions({"auto"}), Interval(Integral, 0, None, closed="left")],
        "input_shape": [None, tuple, list],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "device": [None, str, torch.device],
        "n_jobs": [None, Integral],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        estimator=None,
        *,
        n_groups="auto",
        synset_size="auto",
        initialization="centroid",
        distance="prediction",
        max_iter="auto",
        learning_rate=0.05,
        tol=1e-4,
        solver="auto",
        rewind="auto",
        n_steps=200,
        weight_decay=None,
        removal="leave_one_out",
        n_removals=200,
        objective="auto",
        task="auto",
        classes=None,
        n_models=1,
        n_probes="auto",
        input_shape=None,
        batch_size=4096,
        device=None,
        n_jobs=None,
        random_state=None,
        verbose=0,
    ):
        self.estimator = estimator
        self.n_groups = n_groups
        self.synset_size = synset_size
        self.initialization = initialization
        self.distance = distance
        self.max_iter = max_iter
        self.learning_rate = learning_rate
        self.tol = tol
        self.solver = solver
        self.rewind = rewind
        self.n_steps = n_steps
        self.weight_decay = weight_decay
        self.removal = removal
        self.n_removals = n_removals
        self.objective = objective
        self.task = task
        self.classes = classes
        self.n_models = n_models
        self.n_probes = n_probes
        self.input_shape = input_shape
        self.batch_size = batch_size
        self.device = device
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=False)
    @all_or_nothing
    def fit(self, X, y=None, groups=None):
        """Train the network if it is not, and distil the synset.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features...), or torch Dataset
            Training rows. Those of dtype float32 or float64, memory-mapped ones among them, are
            read a few at a time and not copied; of more than 64 MiB the attributor then refers to
            the array, which is not to be changed (see `drop_training_rows`). The items of a
            dataset (or skorch's `SliceDataset`) are rows, or pairs of a row and its label; they
            are written to a temporary file once, which lasts as long as the rows are kept.

        y : array-like of shape (n_rows,) or (n_rows, n_targets), default=None
            Labels, class probabilities, or values, see `task`. None takes those in a dataset.

        groups : array-like of shape (n_rows,), default=None
            Label of each row's group; k-means within each class if None.

        Returns
        -------
        self : SynsetAttributor
            The fitted attributor.

        Raises
        ------
        ValueError
            If the rows, labels, groups, parameters or the network do not fit each other, or the
            steps of a net's training are not known.

        Warns
        -----
        ConvergenceWarning
            If the predicted effects agree badly with those measured on real rows.

        UserWarning
            If a net's training cannot be repeated, or does not give its network when it is.
        """
        X, y = rows_of(X, y)
        refuse_masked(X, "X")
        refuse_masked(y, "y")
        y = exact_labels(y)
        X, y = validate_data(self, X, y, dtype=_NUMBERS, allow_nd=True, multi_output=True)
        check_range(X)
        with keep_global_state():
            random_state = check_random_state(self.random_state)
            classes, encoded = read_target(y, self.estimator, self.task, self.classes)
            target = label_codes(encoded, classes)
            self._check_objective(classes, target)
            groups = None if groups is None else check_groups(groups, X)
            X, takes_integers = self._as_numbers(X)
            group_labels = self._partition(X, target, classes, groups, random_state)
            groups, codes = np.unique(group_labels, return_inverse=True)
            _check_several_groups(groups, X)
            networks = self._wrap(X, encoded, classes, random_state)
            models = [model for _, model in networks]
            X_given, X = X, module_rows(networks[0][0], X, self._input_shape())
            rows = self._training_rows(models[0], X, encoded, codes)
            use_one_thread_if_small(
                len(groups) * multiplications(models[0], rows.X) * min(len(X), 500)
            )
            plan = self._choose_plan(models, rows, len(groups))
            seeds = draw_plan_seeds(random_state)
            distilled = self._distil(models, rows, plan, seeds)
            left_out, probes = self._leave_groups_out(models, rows, plan, seeds, distilled.synset)
            queries = check_random_state(seeds.queries).permutation(len(X))[:_N_QUERIES]
            predicted, measured = probed_effects(
                left_out, probes, X[queries], target[queries], self._objective(models[0])
            )
            self.fidelity_ = measured_fidelity(predicted, measured, groups[probes.groups])
        self._online, self._probes, self.plan_ = left_out, probes, plan
        self._representatives = representatives_of(rows, distilled.synset, is_whole=plan.is_whole)
        self._centres = group_centres(X, target, codes, None if classes is None else len(classes))
        self.estimators_ = [estimator for estimator, _ in networks]
        self.estimator_ = self.estimators_[0]
        self.classes_, self.group_labels_, self.groups_ = classes, group_labels, groups
        self._row_shape, self._takes_integers = X_given.shape[1:], takes_integers
        self._expose(distilled)
        warn_if_unfaithful(self.fidelity_)
        return self

    def transform(self, X):
        """Attribute the network's own predictions to the groups.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features...), or torch Dataset
            Queries. Labels in a dataset are not looked at.

        Returns
        -------
        attributions : ndarray of shape (n_queries, n_groups)
            Objective with all training data minus objective without the group, judged on the
            predicted label; positive when the group helps.
        """
        check_is_fitted(self)
        return self.attribute(rows_of(X, None)[0])

    def attribute(self, X, y=None, *, objective=None, level="groups", return_std=False):
        """Attribute predictions to the groups or to single training rows, for given labels.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features...), or torch Dataset
            Queries.

        y : array-like of shape (n_queries,), default=None
            Their labels or values; those in a dataset, or the network's own predictions, if None.

        objective : str or callable, default=None
            As the parameter of the same name, which is used if None.

        level : {"groups", "samples"}, default="groups"
            What the columns are. "samples": the training rows, in the order of `fit`. Each group's
            attribution is shared out among its rows by their own first-order effects along the
            retraining, and the rows' add up to the group's. Where the trained weights are a minimum
            of the training loss, as those of a convex model are, rows keep their effects, and only
            what these lack of the group's is shared out. Costs a pass over the training rows,
            which the attributor keeps; `most_influential_rows` bounds the memory of the answer.

        return_std : bool, default=False
            Whether to return standard errors too; needs `n_models` of at least 2.

        Returns
        -------
        attributions : ndarray of shape (n_queries, n_groups) or (n_queries, n_rows)
            Objective with all training data minus objective without the group (the row), in the
            objective's unit; positive when it helps. For `objective="loss"` the sign is turned.

        std : ndarray of the same shape
            Standard error of each attribution, in the same unit: the standard deviation over the
            networks, divided by the root of their number. It tells how much the attribution
            depends on the seed of the training, not how well the synset represents the rows (see
            `fidelity_`), nor how much random halves differ. Only if `return_std`.

        Raises
        ------
        ValueError
            If `return_std` and there is only one network, if there is no such level, or if the
            training rows were dropped.
        """
        if level not in ("groups", "samples"):
            raise ValueError(f"level={level!r} is not known; expected 'groups' or 'samples'.")
        X, target = self._check_queries(X, y)
        function = self._objective(self._online.models[0], objective)
        if level == "samples":
            answer = attribution_to_rows(self._online, X, target, function, return_std=return_std)
            return answer if return_std else answer[0]
        effects = self._online.attributions_by_network(X, target, function)
        attributions = effects.mean(0).astype(result_dtype(X))
        if not return_std:
            return attributions
        return attributions, standard_error(effects).astype(result_dtype(X))

    def most_influential_rows(self, X, y=None, *, n_rows=5, direction="both", objective=None):
        """Return the training rows that matter most to each query, without the whole matrix.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features...), or torch Dataset
            Queries.

        y : array-like of shape (n_queries,), default=None
            Their labels or values; those in a dataset, or the network's own predictions, if None.

        n_rows : int, default=5
            Rows to return for each query.

        direction : {"both", "helpful", "harmful"}, default="both"
            Whether to look for the attributions that are largest in absolute value, the largest,
            or the smallest.

        objective : str or callable, default=None
            As the parameter of the same name, which is used if None.

        Returns
        -------
        indices : ndarray of shape (n_queries, n_rows)
            Positions of the rows in the data of `fit`, the most influential first.

        values : ndarray of shape (n_queries, n_rows)
            Their attributions, as of `attribute` with `level="samples"`.

        Raises
        ------
        ValueError
            If `n_rows` is not between 1 and the number of training rows, if there is no such
            direction, or if the training rows were dropped.
        """
        check_is_fitted(self)
        if not isinstance(n_rows, (int, np.integer)) or not 1 <= n_rows <= len(self.group_labels_):
            raise ValueError(
                f"n_rows={n_rows!r} has to be an int between 1 and the number of training rows, "
                f"{len(self.group_labels_)}."
            )
        if direction not in ("both", "helpful", "harmful"):
            raise ValueError(
                f"direction={direction!r} is not known; expected 'both', 'helpful' or 'harmful'."
            )
        X, target = self._check_queries(X, y)
        function = self._objective(self._online.models[0], objective)
        return most_influential(
            self._online, X, target, function, n_rows=int(n_rows), direction=direction
        )

    def drop_training_rows(self):
        """Forget the training rows, which only attributions to single rows need.

        Returns
        -------
        self : SynsetAttributor
            Smaller in memory and in files; all but `attribute` with `level="samples"` and
            `most_influential_rows` works as before.
        """
        check_is_fitted(self)
        self._online = replace(self._online, rows=None)
        return self

    def score_samples(self, X, y=None):
        """Score rows by how well networks do on them that have not seen them.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features...), or torch Dataset
            Rows.

        y : array-like of shape (n_queries,), default=None
            Their labels or values; those in a dataset, or the network's own predictions, if None.

        Returns
        -------
        scores : ndarray of shape (n_queries,)
            With replay, the out-of-fold objective: that of networks that were trained without the
            row's fold, mean over the seeds. Otherwise the mean of the trained network's (two
            thirds) and of rewound networks that are trained without the row's fold. Margins are
            averaged as probabilities: the log-odds of their mean. Low is suspicious. Where the
            objective is the prediction, minus the loss takes its place.

        Notes
        -----
        A row that was no training row is in the fold of the nearest synset row of its own group
        (the group of the fitted partition with the nearest centre, among those with its class).
        Replay leaves five folds of rows out side by side, when this method is called first.
        Otherwise eight networks are trained, each without an eighth of every group's synset rows,
        from weights that 0.95 of the outputs are taken away from, and evaluated along the first
        half of that training: a row with a wrong label is learnt late, and from itself and its
        like alone, while the trained network may have memorised it.
        """
        X, target = self._check_queries(X, y)
        model = self._online.models[0]
        is_prediction = self.objective in ("auto", "prediction") and model.loss == "squared_error"
        function = self._objective(model, "loss" if is_prediction else None)
        own_group = self._centres.assign(X, target)
        objectives = self._online.out_of_fold_objectives(X, target, own_group, function)
        return objectives.astype(result_dtype(X))

    def score(self, X, y=None):
        """Return the synset's fidelity on some rows, measured against the probes.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features...), or torch Dataset
            Queries, best not seen in `fit`.

        y : array-like of shape (n_queries,), default=None
            Their labels or values; those in a dataset, or the network's own predictions, if None.
            Rows with labels that `fit` has not seen are left out with a warning, as a fold of a
            search may lack a class.

        Returns
        -------
        score : float
            Agreement of the attributions with the effects of leaving the probed groups out of the
            real rows; higher is better, 1 is perfect. The mean of two correlations of ranks: over
            the groups, mean over queries; and over all pairs of query and group, less the mean
            rank of each. NaN with fewer than two probes.

        Notes
        -----
        The probes are those of `fidelity_`. For an integer `random_state` they are the same
        whatever the settings of the synset, as a search over these needs. After a search, the
        `fidelity_` of the best settings is that of a winner: fit them again with another
        `random_state` for one that nothing was chosen by.
        """
        return fidelity_score(*self._probed_effects(X, y))

    def leave_out(self, groups=None, *, rows=None):
        """Return the network as if it had never seen some groups or rows.

        Parameters
        ----------
        groups : array-like of shape (n,), default=None
            Labels of groups, out of `groups_`.

        rows : array-like, default=None
            Training rows to leave out, in the order of `fit`: a boolean mask (n_rows,), or indices.

        Returns
        -------
        network : Module or NeuralNet
            Of the type that was wrapped, with other weights; a list of them if `n_models > 1`. A
            skorch net is fitted, with the history and the classes of the one that was wrapped; as
            that one does, it predicts positions in `classes_` if it was trained in `fit`.

        Raises
        ------
        TypeError
            If neither is given, or `rows` holds neither booleans nor integers.

        ValueError
            If a group or row is unknown, or nothing would be left.

        Notes
        -----
        Weights of the trained network plus the displacement that leaving the groups out of the
        synset gives: of one group, the displacement that `attribute` uses. Where the synset is all
        training rows, single rows are left out of the repeated training; of a smaller synset, the
        nearest synset row of the row's group loses the weight.
        """
        check_is_fitted(self)
        removed = removed_rows(self.group_labels_, groups, rows)
        codes = np.searchsorted(self.groups_, self.group_labels_)
        displacements = self._online.without_rows(self._representatives, codes, removed)
        networks = [
            restore(estimator, model, model.theta + displacement[0])
            for estimator, model, displacement in zip(
                self.estimators_, self._online.models, displacements, strict=True
            )
        ]
        return networks[0] if self.n_models == 1 else networks

    def save(self, path):
        """Write the fitted attributor to a file that holds data and no code.

        Parameters
        ----------
        path : str or path-like
            The file; one that is there is replaced, in one step.

        Raises
        ------
        TypeError
            If a parameter or fitted attribute is of a type that cannot be saved.

        See Also
        --------
        load : Reads the file.

        Notes
        -----
        A `safetensors <https://github.com/huggingface/safetensors>`_ file with checksums: weights
        and fitted state, but not the code of the network or of callable parameters, nor the
        training history of a skorch net, the state of its optimizer, and metadata requests.
        """
        check_is_fitted(self)
        save_attributor(self, path)

    @classmethod
    def load(cls, path, estimator=None, **params):
        """Read a fitted attributor from a file; nothing in the file is executed.

        Parameters
        ----------
        path : str or path-like
            A file that `save` wrote.

        estimator : None, Module, NeuralNet or FrozenEstimator, default=None
            What was the parameter of the same name, with any weights: only the architecture is
            taken from it. Left as it is.

        **params : dict
            Parameters to replace, such as `device`. Those that were callables have to be given.

        Returns
        -------
        attributor : SynsetAttributor
            Fitted; its results are the same to the bit on the same machine.

        Raises
        ------
        OSError
            If there is no such file, or it cannot be read.

        TypeError
            If a parameter is not known, or `estimator` is no network.

        ValueError
            If the file is damaged, of a newer version, or of another kind; if the network is not
            the one that was saved; or if a callable is missing.
        """
        return load_attributor(cls, path, estimator, params)

    def get_feature_names_out(self, input_features=None):
        """Return the names of the columns of `transform`.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Ignored.

        Returns
        -------
        names : ndarray of shape (n_groups,), dtype object
            `"group_"` and the label of each group.
        """
        check_is_fitted(self)
        return np.array([f"group_{label}" for label in self.groups_], dtype=object)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        tags.input_tags.three_d_array = True
        inner = getattr(self.estimator, "estimator", self.estimator)
        if isinstance(inner, NeuralNet):
            # A search over a wrapped classifier draws folds with all classes, as over the net.
            tags.estimator_type = get_tags(inner).estimator_type
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _check_objective(self, classes, target):
        """Raise unless the objective goes with the target."""
        loss = "squared_error" if classes is None else "cross_entropy"
        resolve_objective(self.objective, loss, n_outputs=n_outputs(classes, target))

    def _partition(self, X, target, classes, groups, random_state):
        """Return the label of each row's group."""
        if groups is not None:
            return groups
        n_classes = 1 if classes is None else len(np.unique(target))
        n_groups = self.n_groups
        if n_groups == "auto":
            n_groups = auto_n_groups(len(X), n_classes)
        return class_wise_kmeans(
            X, target, n_groups, classification=classes is not None, random_state=random_state
        )

    def _as_numbers(self, X):
        """Return rows as floats, or as integers if the network needs such, and whether it does."""
        inner = getattr(self.estimator, "estimator", self.estimator)
        found = integers_of(inner, X, self._input_shape())
        if found is not None:
            return found, True
        return (X if X.dtype.kind == "f" else X.astype(np.float64)), False

    def _input_shape(self):
        return None if self.input_shape is None else tuple(self.input_shape)

    def _wrap(self, X, target, classes, random_state):
        """Return the network of each seed, as an estimator and as a function."""
        trains = self.estimator is None or isinstance(self.estimator, NeuralNet)
        if self.n_models > 1 and not trains:
            raise ValueError(
                f"n_models={self.n_models} needs a network that is trained in fit, a skorch net or "
                f"None; got {type(self.estimator).__name__}."
            )
        is_net = isinstance(self.estimator, NeuralNet)
        train = partial(
            wrap,
            # Without what a former fit left: other processes are sent no weights to train from.
            clone(self.estimator) if is_net else self.estimator,
            X,
            target,
            classes=classes,
            input_shape=self._input_shape(),
            weight_decay=self.weight_decay,
            device=self.device,
            output_order=None if classes is None else column_order(self.classes),
            is_task_given=self.task != "auto",
            anew=is_net and starts_anew(self.estimator, several=self.n_models > 1),
        )
        seeds = [draw_seed(random_state) for _ in range(self.n_models)]
        return wrap_each(train, seeds, stage="Training", n_jobs=self.n_jobs, verbose=self.verbose)

    def _choose_plan(self, models, rows, n_groups):
        """Return how groups are to be left out."""
        return choose_plan(
            models,
            rows,
            solver=self.solver,
            synset_size=self.synset_size,
            max_iter=self.max_iter,
            n_probes=self.n_probes,
            n_removals=self.n_removals if self.removal == "subsets" else n_groups,
        )

    def _distil(self, models, rows, plan, seeds):
        """Return the synset and its loss curve."""
        if plan.is_whole:
            return Distilled(whole_synset(rows))
        generator = torch.Generator().manual_seed(seeds.synset)
        names = [field.name for field in fields(Distillation)]
        settings = Distillation(**{name: getattr(self, name) for name in names})
        is_fixed = not rows.X[:1].is_floating_point()  # integers cannot be moved
        settings = replace(settings, max_iter=0 if is_fixed else plan.max_iter)
        start = starting_synset(models[0], rows, settings, generator)
        leave_out = self._leave_out(seeds.synset)
        return distil_synset(models, rows, start, leave_out, settings, generator)

    def _leave_groups_out(self, models, rows, plan, seeds, synset):
        """Return the networks without groups, and probes that no setting of the synset changes."""
        n_halves = self.n_removals if self.removal == "subsets" else None
        usual = SynsetAttributor(
            batch_size=self.batch_size, n_jobs=self.n_jobs, verbose=self.verbose
        )
        return leave_out_and_probe(
            models,
            rows,
            synset,
            plan,
            self._leave_out(seeds.starts),
            usual._leave_out(seeds.probes),
            removals(synset, n_halves, seeds.removals),
            seeds,
            is_datamodel=n_halves is not None,
        )

    def _training_rows(self, model, X, target, codes):
        """Return the training rows as tensors, on the network's device."""
        rows = RowSource.to_keep(X, row_dtype(X, model.dtype), model.device)
        order = torch.from_numpy(np.argsort(codes, kind="stable")).to(model.device)
        rows_by_group = list(order.split(np.bincount(codes).tolist()))
        is_soft = model.loss == "cross_entropy" and target.ndim == 2
        targets = as_tensor(target, dtype=model.dtype, device=model.device) if is_soft else None
        if targets is None:
            targets = one_hot_targets(model, encoded_labels(model, target))
        return TrainingRows(rows, targets, rows_by_group, self.batch_size)

    def _leave_out(self, seed):
        return LeaveOut(
            rewind=self.rewind,
            n_steps=self.n_steps,
            batch_size=self.batch_size,
            seed=seed,
            n_jobs=self.n_jobs,
            verbose=self.verbose,
        )

    def _objective(self, model, objective=None):
        name = self.objective if objective is None else objective
        return resolve_objective(
            name, model.loss, loss_scale=model.loss_scale, n_outputs=model.n_outputs
        )

    def _check_queries(self, X, y, *, drop_unseen=False):
        """Return the validated queries, and the codes of their labels or their values."""
        check_is_fitted(self)
        X, y = rows_of(X, y)
        refuse_masked(X, "X")
        with CHECK_TURN:
            kinds = _NUMBERS if self._takes_integers else _FLOATS
            X = validate_data(self, X, dtype=kinds, allow_nd=True, reset=False)
            X = as_integers(X) if self._takes_integers else X
            check_row_shape(X, self._row_shape)
            if y is not None and drop_unseen:
                X, y = rows_of_known_labels(X, y, self.classes_)
            if y is not None:
                order = None if self.classes_ is None else column_order(self.classes)
                n_targets = self._online.models[0].n_outputs
                y = encode_target(exact_labels(y), self.classes_, X, n_targets, order)
        X = module_rows(self.estimator_, X, self._input_shape())
        return X, self._online.predictions(X) if y is None else y

    def _probed_effects(self, X, y=None):
        """Return what `score` compares: effects (n_queries, n_probes), predicted and measured."""
        X, target = self._check_queries(X, y, drop_unseen=True)
        function = self._objective(self._online.models[0])
        return probed_effects(self._online, self._probes, X, target, function)

    def _expose(self, distilled):
        """Set the fitted attributes that describe the synset."""
        synset = distilled.synset
        self.X_synset_, self.y_synset_ = as_array(synset.X), as_array(synset.y)
        self.sample_weight_synset_ = as_array(synset.weight)
        self.synset_groups_ = self.groups_[as_array(synset.group)]
        self.matching_loss_curve_ = np.array(distilled.loss_curve)
        self.n_iter_ = len(distilled.loss_curve)


def _check_several_groups(groups, X):
    """Raise unless there is more than one group."""
    if len(groups) < 2:
        n_rows = f"{len(X)} sample" + "s" * (len(X) > 1)
        raise ValueError(
            f"At least 2 groups are needed to leave one out, got {len(groups)} of {n_rows}."
        )
