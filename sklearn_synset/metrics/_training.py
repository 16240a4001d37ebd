"""Train any estimator on part of its rows, the same way wherever it runs."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import assert_all_finite, check_array, column_or_1d, indexable
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import has_fit_parameter
from skorch import NeuralNet
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from sklearn_synset._data.input_checks import check_sample_weight
from sklearn_synset._data.target import (
    encode_target,
    label_codes,
    loss_of_target,
    n_outputs,
    read_target,
)
from sklearn_synset._network.new_weights import reset_parameters, starts_anew
from sklearn_synset._runtime.parallel import in_parallel
from sklearn_synset._runtime.torch_interop import keep_global_state
from sklearn_synset._wrapping.kept_rows import clone_without
from sklearn_synset._wrapping.skorch_net import criterion_target, initialized_clone, read_criterion
from sklearn_synset._wrapping.weighted_loss import WeightedLoss, weighted_loss


@dataclass(frozen=True, eq=False)
class TrainingProblem:
    """An estimator, and the rows that it can be trained on parts of.

    Parameters
    ----------
    estimator : estimator or callable
        Never changed. A callable maps `(X, y, seed)` to a fitted predictor.
    X : array-like of shape (n_rows, n_features...)
        Training rows.
    y : ndarray of shape (n_rows,) or (n_rows, n_targets)
        Their target, as the estimator takes it: a net gets labels as codes.
    classes : ndarray of shape (n_classes,) or None
        Sorted labels; None for regression.
    label_codes : ndarray of shape (n_rows,) or None
        Code of each row's label.
    anew : bool, default=False
        Whether the module instance of a net is given new weights before each training.
    sample_weight : ndarray of shape (n_rows,), default=None
        Weight of each row, of a net with mean 1; all equal if None.
    loss : {"cross_entropy", "binary_cross_entropy", "squared_error"}, default="cross_entropy"
        Loss that goes with the target.
    """

    estimator: Any
    X: Any
    y: np.ndarray
    classes: np.ndarray | None
    label_codes: np.ndarray | None
    anew: bool = False
    sample_weight: np.ndarray | None = None
    loss: str = "cross_entropy"

    @property
    def n_rows(self) -> int:
        """Number of training rows."""
        return len(self.y)

    @property
    def n_outputs(self) -> int:
        """Number of classes, or of targets."""
        return n_outputs(self.classes, self.y)

    @property
    def net(self) -> NeuralNet | None:
        """The skorch net that is, or ends, the estimator."""
        return final_net(self.estimator)

    def train(self, rows: np.ndarray, seed: int) -> Any:
        """Return a predictor fitted on some rows; to be called within `reproducibly`.

        Parameters
        ----------
        rows : ndarray of shape (n_kept,)
            Their indices, ascending.
        seed : int
            Given to every `random_state` of the estimator, or to the callable.

        Returns
        -------
        fitted : object
            A fitted clone, or what the callable returned.
        """
        X, y = take_rows(self.X, rows), self.y[rows]
        if not hasattr(self.estimator, "fit"):
            return self.estimator(X, y, seed)
        return self._fitted(self.seeded(seed), X, y, rows)

    def _fitted(self, model: Any, X: Any, y: np.ndarray, rows: np.ndarray) -> Any:
        """Fit a model on some rows, with their weights."""
        if self.sample_weight is None:
            return model.fit(X, y)
        weight, net = self.sample_weight[rows], final_net(model)
        if net is not None:
            with self._weighted(model, y, weight).applied_to(net):
                return model.fit(X, y)
        is_pipeline = isinstance(model, Pipeline)
        name = f"{model.steps[-1][0]}__sample_weight" if is_pipeline else "sample_weight"
        return model.fit(X, y, **{name: weight})

    def _weighted(self, model: Any, y: np.ndarray, weight: np.ndarray) -> WeightedLoss:
        """Return how the weights of rows enter the loss of a net, also at the end of a pipeline."""
        net = initialized_clone(final_net(model), None, 0)
        is_soft = self.classes is not None and y.ndim == 2 and y.shape[1] > 1
        return weighted_loss(
            net,
            weight,
            link="identity" if self.loss == "binary_cross_entropy" else read_criterion(net).link,
            n_outputs=self.n_outputs,
            is_soft=is_soft,
        )

    def train_without(self, kept: np.ndarray, seed: int) -> Any:
        """Return a predictor as `train` does, of a net with the minibatches of all rows.

        Parameters
        ----------
        kept : ndarray of shape (n_rows,), dtype bool
            Rows to train on. A net that is not in a pipeline sees them in the order and in the
            minibatches that all rows would have from this seed, less those that are left out.
        seed : int
            As of `train`.
        """
        if self.net is not self.estimator:
            return self.train(np.flatnonzero(kept), seed)
        net = initialized_clone(self.seeded(seed), None, seed)
        # A copy: what other processes share is read-only, which torch warns of.
        X = take_rows(self.X, np.arange(self.n_rows))
        y, weight = self.y.copy(), self.sample_weight
        loss = None if weight is None else self._weighted(net, y, weight)
        net, X, y = clone_without(net, X, y, kept)
        if loss is None:
            return net.fit(X, y)
        assert weight is not None
        if len(y) < len(weight):
            loss = replace(loss, weight=weight[kept])
        with loss.applied_to(net):
            return net.fit(X, y)

    def seeded(self, seed: int) -> Any:
        """Return a clone with every `random_state` set to a seed, and new weights if it needs."""
        model = clone(self.estimator)
        names = model.get_params(deep=True)
        seeded = [each for each in names if each.rpartition("__")[2] == "random_state"]
        model.set_params(**dict.fromkeys(sorted(seeded), seed))
        if self.anew:
            reset_parameters(final_net(model).module)  # type: ignore[union-attr]
        return model

    def query_rows(self, X: Any) -> Any:
        """Return queries in the dtype of the training rows.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features...)
            Queries.

        Returns
        -------
        X : array-like of shape (n_queries, n_features...)
            Indexable.

        Raises
        ------
        ValueError
            If they are of another shape than the training rows.
        """
        (X,) = indexable(_as_array(X))
        if self.net is not None and isinstance(self.X, np.ndarray) and isinstance(X, np.ndarray):
            X = X.astype(self.X.dtype, copy=False)
            if self.estimator is self.net:
                assert_all_finite(X, input_name="X_query")
        shapes = [rows.shape[1:] for rows in (self.X, X)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"Queries must have the training rows' shape {shapes[0]}, got {shapes[1]}."
            )
        return X

    def query_target(self, X: Any, y: object) -> np.ndarray:
        """Return the labels of queries as codes, or their values.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features...)
            Queries.
        y : array-like of shape (n_queries,)
            Labels or values.

        Returns
        -------
        target : ndarray of shape (n_queries,)
            Codes, or float64.
        """
        return encode_target(np.asarray(y), self.classes, np.empty((count_rows(X), 0)))

    def check_classes_remain(self, kept: np.ndarray, n_classes: int, what: str) -> None:
        """Raise unless every training set holds enough classes.

        Parameters
        ----------
        kept : ndarray of shape (n_sets, n_rows)
            True for the rows that are trained on.
        n_classes : int
            How many classes must be there.
        what : str
            What a set is, for the message.

        Raises
        ------
        ValueError
            If a set holds fewer.
        """
        if self.label_codes is None:
            return
        total = int(self.label_codes.max()) + 1
        found = np.array([len(np.unique(self.label_codes[rows])) for rows in kept])
        if (found < n_classes).any():
            worst = int(found.argmin())
            raise ValueError(
                f"{what} number {worst} leaves training rows of {found[worst]} of "
                f"{total} classes, but {n_classes} are needed."
            )


def training_problem(
    estimator: object,
    X: Any,
    y: object,
    *,
    several: bool = False,
    sample_weight: object = None,
) -> TrainingProblem:
    """Check an estimator and its training rows before any of it is trained.

    Parameters
    ----------
    estimator : estimator or callable
        As the user gave it.
    X : array-like of shape (n_rows, n_features...)
        Training rows.
    y : array-like of shape (n_rows,) or (n_rows, n_targets)
        Labels or values.
    several : bool, default=False
        Whether it is trained from several seeds.
    sample_weight : array-like of shape (n_rows,), default=None
        Weight of each row; all equal if None.

    Raises
    ------
    TypeError
        If `estimator` cannot be trained, or not with weights.
    ValueError
        If `X` and `y` are of different lengths, or `y` holds no proper labels or values.
    """
    check_trainable(estimator)
    X, y = indexable(_as_array(X), y)
    net = final_net(estimator)
    weight = None
    if sample_weight is not None:
        _check_takes_weights(estimator)
        weight = check_sample_weight(sample_weight, np.empty((count_rows(X), 0)))
    is_plain = net is None and hasattr(estimator, "fit")
    if is_plain and is_regressor(estimator):
        classes, target = None, check_array(y, dtype=np.float64, ensure_2d=False, input_name="y")
    elif is_plain and is_classifier(estimator):
        check_classification_targets(y)
        classes, target = np.unique(column_or_1d(y), return_inverse=True)
    else:
        classes, target = read_target(np.asarray(y), net)
    codes = None if classes is None else label_codes(target, classes)
    if net is not None:
        loss = loss_of_target(classes, np.asarray(y), net)
        X, fitted_on = _inputs_of_net(estimator, net, X, target, loss)
    else:
        fitted_on, loss = np.asarray(y), loss_of_target(classes, target, None, "regression")
    anew = net is not None and starts_anew(net, several=several)
    if anew:
        initialized_clone(net, None, seed=0, anew=True)  # refuses before any training
    # Without what a former fit left, which other processes may not be able to read.
    unfitted = estimator if net is None else clone(estimator)
    return TrainingProblem(unfitted, X, fitted_on, classes, codes, anew, weight, loss)


def _check_takes_weights(estimator: Any) -> None:
    """Raise a TypeError unless an estimator is fitted with weights of rows."""
    final = estimator[-1] if isinstance(estimator, Pipeline) else estimator
    if not isinstance(final, NeuralNet) and not (
        hasattr(final, "fit") and has_fit_parameter(final, "sample_weight")
    ):
        raise TypeError(f"{estimator!r} does not take sample_weight.")


def check_trainable(estimator: object) -> None:
    """Raise a TypeError unless something can be trained from scratch."""
    final = estimator[-1] if isinstance(estimator, Pipeline) else estimator
    if isinstance(final, torch.nn.Module):
        raise TypeError(
            f"A {type(final).__name__} is a torch.nn.Module, which does not say how it was "
            "trained (optimizer, epochs, batch size). Wrap its class in a skorch net, such as "
            "skorch.NeuralNetClassifier, or pass a callable that maps (X, y, seed) to a fitted "
            "predictor."
        )
    if isinstance(final, FrozenEstimator):
        raise TypeError("A FrozenEstimator cannot be trained again; pass the estimator inside it.")
    is_estimator = hasattr(estimator, "fit") and hasattr(estimator, "get_params")
    if isinstance(estimator, type) or not (is_estimator or callable(estimator)):
        raise TypeError(
            "estimator must be a scikit-learn estimator, a skorch net, or a callable that maps "
            f"(X, y, seed) to a fitted predictor; got {estimator!r}."
        )


def final_net(estimator: object) -> NeuralNet | None:
    """Return the skorch net that an estimator is, or that ends a pipeline."""
    final = estimator[-1] if isinstance(estimator, Pipeline) else estimator
    return final if isinstance(final, NeuralNet) else None


def take_rows(X: Any, rows: np.ndarray) -> Any:
    """Copy some rows of an array, a sparse matrix or a data frame.

    Parameters
    ----------
    X : array-like of shape (n_rows, n_features...)
        All rows.
    rows : ndarray of shape (n_taken,)
        Indices.

    Returns
    -------
    taken : array-like of shape (n_taken, n_features...)
        Of the type of `X`.
    """
    return X.iloc[rows] if hasattr(X, "iloc") else X[rows]


@contextmanager
def reproducibly(problem: TrainingProblem, seed: int) -> Iterator[None]:
    """Make what is computed inside depend on the seed alone, and leave no trace outside.

    Notes
    -----
    One thread is used: sums over several threads are added up in another order, and a process of
    `n_jobs` has other threads than a single one.
    """
    if problem.net is not None and str(problem.net.device).startswith("cuda"):
        # keep_global_state looks after the generators of a CUDA that is in use.
        torch.cuda.init()
    n_threads = torch.get_num_threads()
    with keep_global_state(seed), threadpool_limits(1), torch.enable_grad():
        torch.set_num_threads(1)
        try:
            yield
        finally:
            # Here: threadpool_limits puts only those of torch's pools back that it can see.
            torch.set_num_threads(n_threads)


def run_jobs(
    function: Callable, jobs: Iterable[tuple], n_total: int, *, n_jobs: int | None, verbose: int
) -> Iterator[Any]:
    """Call a function with the arguments of each job, and yield what it returns in their order.

    Parameters
    ----------
    function : callable
        Picklable.
    jobs : iterable of tuple
        Arguments of each call.
    n_total : int
        Their number.
    n_jobs : int or None
        How many to run at once.
    verbose : int
        Shows a progress bar if positive.
    """
    results = in_parallel(function, jobs, n_jobs=n_jobs)
    yield from tqdm(results, total=n_total, desc="retrain", unit="fit", disable=not verbose)


def _inputs_of_net(
    estimator: Any, net: NeuralNet, X: Any, target: np.ndarray, loss: str
) -> tuple[Any, np.ndarray]:
    """Return rows and target as a net, alone or at the end of a pipeline, is fitted on them."""
    initialized = initialized_clone(net, None, seed=0)
    dtype = next(initialized.module_.parameters()).dtype
    rows = np.arange(min(2, count_rows(X)))
    if estimator is net:
        if isinstance(X, np.ndarray) and X.dtype.kind == "f":
            assert_all_finite(X, input_name="X")
            X = X.astype(torch.empty(0, dtype=dtype).numpy().dtype, copy=False)
        first = take_rows(X, rows)
    else:
        with keep_global_state(seed=0):
            first = take_rows(clone(estimator[:-1]).fit_transform(X, target), rows)
    try:
        read_criterion(initialized)
    except ValueError:
        known = (torch.nn.CrossEntropyLoss, torch.nn.BCEWithLogitsLoss)
        if loss == "cross_entropy" and not isinstance(initialized.criterion_, known):
            raise  # what its outputs are is not known
        return X, target
    with keep_global_state():
        ndim = initialized.forward(first).ndim
    is_multilabel = loss == "binary_cross_entropy"
    return X, criterion_target(
        initialized, target, dtype=dtype, ndim=ndim, is_multilabel=is_multilabel
    )


def _as_array(X: Any) -> Any:
    return X if hasattr(X, "shape") else np.asarray(X)


def count_rows(X: Any) -> int:
    """Return the number of rows of an array, a sparse matrix or a data frame.

    Parameters
    ----------
    X : array-like of shape (n_rows, n_features...)
        The rows.
    """
    return X.shape[0]
