"""The estimator: explain a trained network by its training data."""

from dataclasses import replace
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.utils import check_random_state, get_tags
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from skorch import NeuralNet

from sklearn_synset._attribution.choose_plan import choose_plan, choose_rewinding
from sklearn_synset._attribution.row_attributions import attribution_to_rows, most_influential
from sklearn_synset._data.dataset_rows import rows_of
from sklearn_synset._data.group_assignment import group_centres
from sklearn_synset._data.input_checks import (
    check_groups,
    check_option,
    check_sample_weight,
    numbered_groups,
)
from sklearn_synset._data.partition import class_wise_kmeans
from sklearn_synset._data.removed_rows import removed_rows
from sklearn_synset._data.target import (
    label_codes,
    loss_of_target,
    query_target,
    read_target,
    rows_of_known_labels,
)
from sklearn_synset._data.validated_rows import query_rows, training_data
from sklearn_synset._distillation.distilled_synset import Distillation, make_synset
from sklearn_synset._labels.label_suggestions import label_suggestions
from sklearn_synset._network.operation_count import use_one_thread_if_small
from sklearn_synset._network.training_loss import training_rows
from sklearn_synset._objective.objective import check_objective, resolve_objective
from sklearn_synset._persistence.persistence import load_attributor, save_attributor
from sklearn_synset._persistence.representation import Representation
from sklearn_synset._probes.fidelity import fidelity_score
from sklearn_synset._probes.leave_out_and_probe import leave_out_and_probe
from sklearn_synset._probes.probed_fidelity import (
    fidelity_on_some_rows,
    probed_effects,
    warn_if_unfaithful,
)
from sklearn_synset._probes.seed_noise import attribution_to_groups
from sklearn_synset._retraining.leave_out import LeaveOut
from sklearn_synset._retraining.rows_left_out import representatives_of
from sklearn_synset._runtime.torch_interop import as_array, draw_plan_seeds, keep_global_state
from sklearn_synset._runtime.transaction import all_or_nothing
from sklearn_synset._wrapping.identifier_rows import as_numbers
from sklearn_synset._wrapping.module_rows import module_rows
from sklearn_synset._wrapping.networks_from_seeds import networks_from_seeds
from sklearn_synset._wrapping.wrapped_model import restore

__all__ = ["SynsetAttributor"]

_FROM_0, _FROM_1 = (Interval(Integral, least, None, closed="left") for least in (0, 1))
_AUTO = StrOptions({"auto"})
_OBJECTIVES = StrOptions({"auto", "margin", "probability", "logit", "loss", "prediction"})


class SynsetAttributor(Representation, TransformerMixin, BaseEstimator):
    r"""Explain a trained network by groups of its training data.

    `fit` is the slow, *offline* stage: it splits the training rows into groups and leaves each
    group out of the network's training, repeated on a synset (a distilled set [1]_) of the rows.
    All other methods are the fast, *online* stage: they compare the network with those without
    each group, which replaces retraining it without them.

    Parameters
    ----------
    estimator : None, Module, NeuralNet or FrozenEstimator, default=None
        The network to explain. A trained :class:`torch.nn.Module` and a
        :class:`~sklearn.frozen.FrozenEstimator` of a fitted skorch net are explained as they are.
        A skorch net is cloned and trained in `fit`, None trains a small network. Of several outputs
        in a tuple, the first is explained.
    n_groups : int or "auto", default="auto"
        Groups to make by k-means within each class, if `fit` is given none; "auto" makes one for
        every 20 rows, at most 100 and at least two a class.
    synset_size : int or "auto", default="auto"
        Synset rows per group; a smaller group gives all of its rows. "auto": all training rows
        (up to 10,000) where the training is repeated; otherwise a quarter, at least 1 and at most
        50 a group, or up to 250 as long as all groups together have at most 5,000.
    initialization : {"centroid", "random"} or callable, default="centroid"
        What the synset starts from. "centroid": the rows that the network fits worst, and means of
        clusters of the others; for identifiers, as of embeddings, random rows. "random": random
        rows. A callable maps `(X, targets, residual_norm, size, generator)`, a group's rows, to
        averages (size, n_k) and weights (size,).
    distance : {"prediction", "squared_error", "cosine"} or callable, default="prediction"
        What is made small between the synset's and the training rows' group gradients. "prediction"
        measures errors by the changes of the network's outputs that they cause. A callable maps
        two tensors (n_groups, n_weights) to a scalar.
    max_iter : int or "auto", default="auto"
        Steps of the distillation. 0 keeps the starting rows. "auto" is 100 for at most 500 synset
        rows of networks that are only rewound, and 0 otherwise.
    learning_rate : float, default=0.05
        First step of the distillation: nats that a row's outputs and log-weight may move by.
    tol : float, default=0.0001
        The distillation stops when the mean distance of a round is below.
    solver : {"auto", "replay", "rewind"}, default="auto"
        How groups are left out. "replay": the training of a skorch net is repeated with and
        without each group, side by side. "rewind": the outputs of the trained network are shrunk,
        and it is trained on by full-batch descent on the synset. "auto": replay where the training
        is known and cheap enough; a module is rewound, and mixed with replay of a usual training.
    rewind : float or "auto", default="auto"
        Share of the network's outputs that is taken away when it is rewound, in [0, 1); "auto" is
        0.9 for a single layer, 0.8 for a network with normalisation layers and 0.5 otherwise.
    n_steps : int, default=200
        The most steps of descent from rewound weights; it ends when the loss is back.
    weight_decay : float, default=None
        Weight decay of the network's training, :math:`\lambda` in
        :math:`\frac{1}{n} \sum_i \ell_i + \frac{\lambda}{2} \lVert \theta \rVert^2`. None reads a
        skorch net's optimizer, and is 0 for a module. Replay uses that of the net's optimizer.
    removal : {"leave_one_out", "subsets"}, default="leave_one_out"
        Leaves out each group alone, or random halves of the groups for a regression (datamodel).
    n_removals : int, default=200
        Number of random halves when `removal="subsets"`.
    objective : str or callable, default="auto"
        What is attributed: "margin" (log-odds of the label, in nats), "probability", "logit",
        "loss" or "prediction" (regression, in the target's unit). "auto" is the margin for labels
        and the prediction for values. A callable maps outputs (..., n, C) and labels (n,) to
        values (..., n), larger for a better model. Of several labels a row, y is (n, C), and the
        named ones are means over the labels.
    task : {"auto", "classification", "multilabel", "regression"}, default="auto"
        What `y` holds. "auto" takes strings, booleans and integers (and floats that are at most 20
        different integers) for labels and other floats for values, unless the criterion of a
        skorch net says otherwise; what may be both is refused. Class probabilities (n_rows,
        n_classes) are labels, too. "multilabel": 0 and 1, (n_rows, n_labels), with one logit a
        label, as a net under :class:`torch.nn.BCEWithLogitsLoss` has.
    classes : array-like of shape (n_classes,), default=None
        All labels, for those without training rows; in the order of the outputs of a network that
        is trained already. None: those in `y`, sorted.
    n_models : int, default=1
        Networks to train from different seeds and to average, if `fit` trains them.
    n_probes : int or "auto", default="auto"
        Groups that `fit` leaves out of the real rows to measure the fidelity. "auto" is 8, or what
        a quarter of the cost of leaving groups out allows (where networks are only rewound, a
        twelfth of retraining without each group). 0 measures nothing.
    input_shape : tuple of int, default=None
        Shape that flat rows are given for the network.
    batch_size : int, default=4096
        Rows to evaluate at once; bounds the memory, not the result.
    device : str or torch.device, default=None
        Where to compute; where the module is if None.
    n_jobs : int, default=None
        Jobs to run at once, through joblib; None means 1 unless in a
        :func:`joblib.parallel_config`. The result is the same to the bit for any number.
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
        Inputs of the synset, as the network's module receives them.
    y_synset_ : ndarray of shape (n_synset, n_outputs)
        Its targets: class probabilities, or values.
    sample_weight_synset_ : ndarray of shape (n_synset,)
        Training rows that each synset row represents: the sum of their weights.
    synset_groups_ : ndarray of shape (n_synset,)
        Group of each synset row.
    matching_loss_curve_ : ndarray of shape (n_iter,)
        Distance between the groups' gradients before each step of the distillation.
    n_iter_ : int
        Steps that the distillation took.
    plan_ : Plan
        How groups were left out; printing it shows a line with the reason for each choice.
    fidelity_ : Bunch
        How predicted effects agree with those measured by repeating the training without a few
        `groups` from two further seeds, on up to 300 training rows. `rank_correlation`: estimate of
        the Spearman correlation over all groups with the mean of four retrainings, where
        `between_seeds` is that of two single ones with each other. `slope` of the measured on the
        predicted effects (above 1: predicted too small). Both have 90% intervals
        (`rank_correlation_interval`, `slope_interval`). Of a bare module the training is a usual
        one. All is NaN where trainings cannot be afforded, and `reason` says so; it is empty
        otherwise. `beats_constant`: whether the network predicts these rows better than a constant.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if they were all strings.

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
        "n_groups": [_AUTO, _FROM_1],
        "synset_size": [_AUTO, _FROM_1],
        "initialization": [StrOptions({"centroid", "random"}), callable],
        "distance": [StrOptions({"prediction", "squared_error", "cosine"}), callable],
        "max_iter": [_AUTO, _FROM_0],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "solver": [StrOptions({"auto", "replay", "rewind"})],
        "rewind": [_AUTO, Interval(Real, 0, 1, closed="left")],
        "n_steps": [_FROM_1],
        "weight_decay": [None, Interval(Real, 0, None, closed="left")],
        "removal": [StrOptions({"leave_one_out", "subsets"})],
        "n_removals": [Interval(Integral, 2, None, closed="left")],
        "objective": [_OBJECTIVES, callable],
        "task": [StrOptions({"auto", "classification", "multilabel", "regression"})],
        "classes": [None, "array-like"],
        "n_models": [_FROM_1],
        "n_probes": [_AUTO, _FROM_0],
        "input_shape": [None, tuple, list],
        "batch_size": [_FROM_1],
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
    def fit(self, X, y=None, groups=None, sample_weight=None):
        """Train the network if it is not, and leave each group out of its training.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features...), or torch Dataset
            Training rows. Those of dtype float32 or float64, memory-mapped ones among them, are
            read a few at a time and not copied; the attributor refers to arrays of more than 64
            MiB, which are not to be changed (see `drop_training_rows`). The items of a dataset are
            rows, or pairs of a row and its label, and are written to a temporary file once.
        y : array-like of shape (n_rows,) or (n_rows, n_targets), default=None
            Labels, class probabilities, or values, see `task`. None takes those in a dataset.
        groups : array-like of shape (n_rows,), default=None
            Label of each row's group; k-means within each class if None.
        sample_weight : array-like of shape (n_rows,), default=None
            Weight of each row's loss in the training, as the user guide defines it; all equal if
            None. Of a network that is trained already, the weights that it was trained with.

        Returns
        -------
        self : SynsetAttributor
            The fitted attributor.

        Raises
        ------
        ValueError
            If rows, labels, groups, parameters and network do not fit each other.

        Warns
        -----
        ConvergenceWarning
            If the predicted effects agree badly with those measured on real rows.
        UserWarning
            If a net's training cannot be repeated, or a repeated one gives another network.
        """
        X, y = training_data(self, X, y)
        with keep_global_state():
            random_state = check_random_state(self.random_state)
            classes, y = read_target(y, self.estimator, self.task, self.classes)
            target, is_labels = label_codes(y, classes), classes is not None
            loss = loss_of_target(classes, y, self.estimator, self.task)
            check_objective(self.objective, loss, classes, target)
            sample_weight = check_sample_weight(sample_weight, X)
            groups = None if groups is None else check_groups(groups, X)
            X, self._takes_integers = as_numbers(self.estimator, X, self.input_shape)
            self._row_shape = X.shape[1:]
            if groups is None:
                groups = class_wise_kmeans(
                    X, target, self.n_groups, classification=is_labels, random_state=random_state
                )
            self.groups_, codes = numbered_groups(groups)
            training = {"classes": classes, "loss": loss, "sample_weight": sample_weight}
            self.estimators_, models = self._train(X, y, random_state, training)
            self.estimator_ = self.estimators_[0]
            X = module_rows(self.estimator_, X, self.input_shape)
            rows = training_rows(models[0], X, y, codes, self.batch_size, sample_weight)
            use_one_thread_if_small(models[0], rows.X, len(self.groups_))
            plan = self._choose_plan(models, rows)
            seeds = draw_plan_seeds(random_state)
            distilled = self._distil(models, rows, plan, seeds.synset)
            plan = choose_rewinding(plan, models[0], distilled.synset, seeds.starts)
            self._online, self._probes = leave_out_and_probe(
                models, rows, distilled.synset, plan, self._leave_out(plan, seeds.starts), seeds
            )
            probed = (self._online, self._probes, X, target, self._objective(models[0]))
            self.fidelity_ = fidelity_on_some_rows(*probed, self.groups_, seeds.queries)
        self._representatives = representatives_of(rows, distilled.synset, is_whole=plan.is_whole)
        self._row_weight = as_array(rows.positive_weight)
        self._centres = group_centres(X, target, codes, None if classes is None else len(classes))
        self.classes_, self.group_labels_, self.plan_ = classes, groups, plan
        self._describe(distilled)
        warn_if_unfaithful(self.fidelity_, plan)
        return self

    def transform(self, X):
        """Attribute the network's own predictions to the groups.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features...), or torch Dataset
            Queries. Labels in a dataset are not used.

        Returns
        -------
        attributions : ndarray of shape (n_queries, n_groups)
            As of `attribute`, for the predicted labels.
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
            What the columns are. "samples": the training rows, in the order of `fit`. A group's
            attribution is shared out among its rows by their first-order effects along the
            retraining; at a minimum of the training loss (of a convex model), rows keep these
            effects, and only the remainder is shared out.
        return_std : bool, default=False
            Whether to return standard errors too.

        Returns
        -------
        attributions : ndarray of shape (n_queries, n_groups) or (n_queries, n_rows)
            Objective with all training data minus objective without the group (the row), in the
            objective's unit; positive when it helps. For `objective="loss"` the sign is turned.
        std : ndarray of the same shape
            Standard error of each attribution by the seed of the training: the standard deviation
            over the networks, divided by the root of their number. For one network it comes from
            the two seeds of `fidelity_`, and is the same for all groups of a query. Only if
            `return_std`.

        Raises
        ------
        ValueError
            If `return_std` with one network and `level="samples"`, or with one network for which
            no effects were measured from two seeds; no such level, or if the rows were dropped.
        """
        check_option("level", level, ("groups", "samples"))
        X, target = self._check_queries(X, y)
        function = self._objective(self._online.models[0], objective)
        asked = (X, target, function)
        if level == "samples":
            answer = attribution_to_rows(self._online, *asked, return_std=return_std)
        else:
            answer = attribution_to_groups(
                self._online, self._probes, *asked, return_std=return_std
            )
        return answer if return_std else answer[0]

    def most_influential_rows(self, X, y=None, *, n_rows=5, direction="both", objective=None):
        """Return the training rows that matter most to each query, without the whole matrix.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features...), or torch Dataset
            Queries.
        y, objective : default=None
            As of `attribute`.
        n_rows : int, default=5
            Rows to return for each query.
        direction : {"both", "helpful", "harmful"}, default="both"
            Look for the attributions of largest absolute value, the largest, or the smallest.

        Returns
        -------
        indices : ndarray of shape (n_queries, n_rows)
            Positions of the rows in the data of `fit`, the most influential first.
        values : ndarray of shape (n_queries, n_rows)
            Their attributions, as of `attribute` with `level="samples"`.

        Raises
        ------
        ValueError
            If there are not so many rows, no such direction, or the rows were dropped.
        """
        X, target = self._check_queries(X, y)
        function = self._objective(self._online.models[0], objective)
        settings = {"n_rows": n_rows, "direction": direction}
        return most_influential(self._online, X, target, function, **settings)

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
        r"""Score rows by how well networks do on them that have not seen them.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features...), or torch Dataset
            Rows. One that was no training row is treated like the nearest synset row of the group
            that it falls in.
        y : array-like of shape (n_queries,), default=None
            Their labels or values; those in a dataset, or the network's own predictions, if None.

        Returns
        -------
        scores : ndarray of shape (n_queries,)
            Low is suspicious. For labels, the log-odds that the label is right,
            :math:`\log \frac{r_{i y_i}}{1 - r_{i y_i}}`, with the probability :math:`r_{ik}` that
            the true label of row i is k (see `suggest_labels`); another `objective` is evaluated
            on :math:`\log r_i`. For values, the objective by networks that were trained without
            the row; minus the loss where the objective is the prediction.

        See Also
        --------
        suggest_labels : Probability that each label is wrong, and the likelier label.

        Notes
        -----
        Where networks are only rewound (see `solver`), the score is the objective, mean of the
        trained network (two thirds) and eight networks that are trained without an eighth of every
        group's synset rows, from weights that 0.95 of the outputs are taken away from, evaluated
        along the first half of that training. Margins are averaged as probabilities.
        """
        X, target = self._check_queries(X, y)
        model = self._online.models[0]
        is_prediction = self.objective in ("auto", "prediction") and model.loss == "squared_error"
        function = self._objective(model, "loss" if is_prediction else None)
        own_group = self._centres.assign(X, target)
        return self._online.out_of_fold_objectives(X, target, own_group, function)

    def suggest_labels(self, X, y=None):
        r"""Suggest the likeliest label of each row, and say how likely the given one is wrong.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features...), or torch Dataset
            Rows, such as those that `fit` was given.
        y : array-like of shape (n_queries,), default=None
            Their labels; those in a dataset, or the network's own predictions, if None.

        Returns
        -------
        suggestions : Bunch
            `label` (n_queries,): the likeliest label, out of `classes_`. `probability`
            (n_queries,): that it is the true one. `wrong_probability` (n_queries,): that the given
            label is not the true one; calibrated, so that about half of the rows with 0.5 are
            wrong. `n_wrong` (n_classes,): expected number of wrong labels among the rows that are
            given each label, the sum of their probabilities.

        Raises
        ------
        ValueError
            If the targets are values or class probabilities.

        See Also
        --------
        score_samples : The log-odds that the given labels are right.

        Notes
        -----
        The true label of row i is k with the probability

        .. math:: r_{ik} \propto e^{b_k} \, \bar p_{ik}^{\,a} \, T_{k y_i},

        where :math:`\bar p_{ik}` is the probability of class k, mean over the epochs of trainings
        that are repeated without the row's fold (one of five), and :math:`T_{k c}` how often rows
        of class k are labelled c. T, a and b are estimated from all training rows. Where it is
        cheap, this is done twice, and the first round gives the rows weights for the second: the
        probability that their labels are right.

        Where networks are only rewound (see `solver`), :math:`\bar p` is as for `score_samples`, so
        that wrong labels that the network has memorised seem too likely right, and T, a and b are
        estimated from the rows that are given.
        """
        X, target = self._check_queries(X, y)
        if self.classes_ is None or target.ndim > 1:
            raise ValueError("suggest_labels needs labels; got values or class probabilities.")
        posterior = self._online.label_posterior(X, target, self._centres.assign(X, target))
        return label_suggestions(posterior, target, self.classes_)

    def score(self, X, y=None):
        """Return the synset's fidelity on some rows, measured against the probes of `fidelity_`.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features...), or torch Dataset
            Queries, best not seen in `fit`.
        y : array-like of shape (n_queries,), default=None
            As of `attribute`. Rows with labels that `fit` has not seen are left out with a
            warning, as a fold of a search may lack a class.

        Returns
        -------
        score : float
            Agreement of the attributions with the effects of leaving the probed groups out of the
            real rows, 1 is perfect: the mean of two correlations of ranks, over the groups, and
            over all pairs of query and group, less the mean rank of each. NaN with fewer than two
            probes. For an integer `random_state` the probes do not depend on the synset's settings.
            Where `fidelity_` is NaN for their cost, networks that are rewound on the real rows.
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
            Of a synset that is smaller than the training rows, the nearest synset row of the row's
            group loses the weight.

        Returns
        -------
        network : Module or NeuralNet
            Of the type that was wrapped, with other weights; a list of them if `n_models > 1`. For
            one group, the network that `attribute` evaluates. A skorch net is fitted, with the
            history and classes of the original.

        Raises
        ------
        TypeError
            If neither is given, or `rows` holds neither booleans nor integers.
        ValueError
            If a group or row is unknown, or nothing would be left.
        """
        check_is_fitted(self)
        removed = removed_rows(self.group_labels_, groups, rows)
        codes = np.searchsorted(self.groups_, self.group_labels_)
        moves = self._online.without_rows(self._representatives, codes, removed, self._row_weight)
        models = zip(self.estimators_, self._online.models, moves, strict=True)
        networks = [
            restore(network, model, model.theta + move[0]) for network, model, move in models
        ]
        return networks[0] if self.n_models == 1 else networks

    def save(self, path):
        """Write the fitted attributor to a file that holds data and no code.

        Parameters
        ----------
        path : str or path-like
            A `safetensors <https://github.com/huggingface/safetensors>`_ file; one that is there
            is replaced, in one step. It holds no code, nor a net's history and optimizer state.

        Raises
        ------
        TypeError
            If a parameter or fitted attribute is of a type that cannot be saved.
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
            What was the parameter of the same name, with any weights.
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
            If the file is damaged or does not fit the network, or a callable is missing.
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
            `"group_"` and the group's label.
        """
        check_is_fitted(self)
        return np.array([f"group_{label}" for label in self.groups_], dtype=object)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = tags.target_tags.multi_output = True
        tags.input_tags.three_d_array = True
        inner = getattr(self.estimator, "estimator", self.estimator)
        if isinstance(inner, NeuralNet):
            # A search over a wrapped classifier draws folds with all classes, as over the net.
            tags.estimator_type = get_tags(inner).estimator_type
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _given(self, *names):
        """Return some parameters by name."""
        return {name: getattr(self, name) for name in names}

    def _train(self, X, y, random_state, training):
        """Return the networks, as estimators and as functions; trained if they are not."""
        settings = self._given("n_models", "input_shape", "weight_decay", "task", "device")
        settings |= self._given("n_jobs", "verbose") | {"class_order": self.classes}
        return networks_from_seeds(
            self.estimator, X, y, random_state=random_state, **training, **settings
        )

    def _choose_plan(self, models, rows):
        """Return how groups are left out."""
        n_halves = self.n_removals if self.removal == "subsets" else None
        settings = self._given("solver", "synset_size", "max_iter", "n_probes", "rewind")
        return choose_plan(models, rows, n_halves=n_halves, **settings)

    def _leave_out(self, plan, seed):
        """Return how networks are rewound."""
        settings = self._given("n_steps", "batch_size", "n_jobs", "verbose")
        return LeaveOut(
            plan.rewind,
            seed=seed,
            linearised=plan.linearised,
            is_preconditioned=plan.is_preconditioned,
            **settings,
        )

    def _distil(self, models, rows, plan, seed):
        """Return the synset and its loss curve."""
        names = ("synset_size", "initialization", "distance", "learning_rate", "tol", "verbose")
        settings = Distillation(max_iter=plan.max_iter, **self._given(*names))
        leave_out = self._leave_out(plan, seed)
        return make_synset(models, rows, leave_out, settings, is_whole=plan.is_whole)

    def _objective(self, model, objective=None):
        """Return the function behind an objective; behind the parameter if None."""
        name = self.objective if objective is None else objective
        scale = {"loss_scale": model.loss_scale, "n_outputs": model.n_outputs}
        return resolve_objective(name, model.loss, **scale)

    def _check_queries(self, X, y, *, drop_unseen=False):
        """Return the validated queries, and the codes of their labels or their values."""
        check_is_fitted(self)
        X, y = rows_of(X, y)
        X = query_rows(self, X, self._row_shape, takes_integers=self._takes_integers)
        if y is not None and drop_unseen:
            X, y = rows_of_known_labels(X, y, self.classes_)
        if y is not None:
            model = self._online.models[0]
            is_multilabel = model.loss == "binary_cross_entropy"
            classes = self.classes_, self.classes
            y = query_target(y, X, *classes, model.n_outputs, is_multilabel=is_multilabel)
        X = module_rows(self.estimator_, X, self.input_shape)
        return X, self._online.predictions(X) if y is None else y

    def _probed_effects(self, X, y=None):
        """Return what `score` compares: effects (n_queries, n_probes), predicted and measured."""
        X, target = self._check_queries(X, y, drop_unseen=True)
        function = self._objective(self._online.models[0])
        predicted, measured = probed_effects(self._online, self._probes, X, target, function)
        return predicted, measured.mean(0)

    def _describe(self, distilled):
        """Set the fitted attributes that describe the synset."""
        synset = distilled.synset
        self.X_synset_, self.y_synset_ = as_array(synset.X), as_array(synset.y)
        self.sample_weight_synset_ = as_array(synset.weight)
        self.synset_groups_ = self.groups_[as_array(synset.group)]
        self.matching_loss_curve_ = np.array(distilled.loss_curve)
        self.n_iter_ = len(distilled.loss_curve)
