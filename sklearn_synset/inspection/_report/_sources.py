"""What a report is made of: a fitted attributor, queries, and its training rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sklearn_synset.inspection._fitted_attributor import check_is_training_set, unwrapped
from sklearn_synset.inspection._plotting import shortened
from sklearn_synset.inspection._shown_rows import names_of_features, picture_shape

_LONGEST_NAME = 60


@dataclass(frozen=True, eq=False)
class Sources:
    """Checked arguments of a report.

    Parameters
    ----------
    attributor : SynsetAttributor
        Fitted.
    X, X_train : array-like
        Queries and training rows as they were given, to show; `X_train` may be None.
    inputs, inputs_train : array-like
        The same as the attributor takes them, after the steps of a pipeline.
    y, y_train : ndarray or None
        Labels or values.
    class_names : list of str or None
        Names of the classes; None for a regression.
    query_names : list of str or None
        Names of the queries.
    feature_names : list of str or None
        Names of the features; None for pictures.
    image_shape : tuple of int or None
        Shape in which rows are pictures.
    unit : str or None
        Unit of the target of a regression.
    """

    attributor: Any
    X: Any
    inputs: Any
    y: np.ndarray | None
    X_train: Any
    inputs_train: Any
    y_train: np.ndarray | None
    class_names: list[str] | None
    query_names: list[str] | None
    feature_names: list[str] | None
    image_shape: tuple[int, ...] | None
    unit: str | None

    @property
    def is_classification(self) -> bool:
        """Whether the attributor explains labels."""
        return self.class_names is not None

    @property
    def codes(self) -> np.ndarray:
        """Group of each training row, as a position in `groups_`."""
        place = {group: k for k, group in enumerate(self.attributor.groups_.tolist())}
        return np.array([place[group] for group in self.attributor.group_labels_.tolist()])

    def class_codes(self, labels) -> np.ndarray:
        """Return labels as positions in `classes_`.

        Parameters
        ----------
        labels : array-like of shape (n,)
            Labels that `fit` has seen.

        Returns
        -------
        codes : ndarray of shape (n,), dtype int
            Positions.
        """
        place = {label: c for c, label in enumerate(np.asarray(self.attributor.classes_).tolist())}
        return np.array([place[label] for label in np.asarray(labels).tolist()], dtype=int)


def read_sources(
    estimator,
    X,
    y=None,
    *,
    X_train=None,
    y_train=None,
    feature_names=None,
    class_names=None,
    query_names=None,
    image_shape=None,
    unit=None,
) -> Sources:
    """Check the arguments of a report and bring them into one form.

    Parameters
    ----------
    estimator, X, y, X_train, y_train, feature_names, class_names, query_names, image_shape, unit
        As of `AttributionReport`.

    Raises
    ------
    TypeError
        If `estimator` is neither an attributor nor a pipeline that ends in one, or rows are not in
        an array or a DataFrame.
    ValueError
        If arrays do not fit each other, there is no query, or labels were not seen in `fit`.
    """
    attributor, to_inputs = unwrapped(estimator)
    for rows, name in ((X, "X"), (X_train, "X_train")):
        _check_is_array_like(rows, name)
    n_queries = _length(X)
    if n_queries == 0:
        raise ValueError("X holds no queries; a report needs at least one.")
    y, y_train = (None if each is None else np.asarray(each) for each in (y, y_train))
    _check_length(y, n_queries, "y", "a label or value for each query")
    _check_length(query_names, n_queries, "query_names", "a name for each query")
    for rows, name in ((X_train, "X_train"), (y_train, "y_train")):
        if rows is not None:
            check_is_training_set(attributor, rows, name)
    if attributor.classes_ is not None:
        for labels, name in ((y, "y"), (y_train, "y_train")):
            _check_labels(labels, attributor.classes_, name)
    shape = picture_shape(X, attributor.input_shape, image_shape)
    names = None
    if shape is None:
        n_features = int(np.prod(np.shape(X)[1:]))
        names = [
            shortened(each, _LONGEST_NAME)
            for each in names_of_features(X, n_features, feature_names)
        ]
        _check_length(names, n_features, "feature_names", "a name for each feature")
    if query_names is None:
        query_names = getattr(X, "index", None)
        if query_names is not None and np.array_equal(query_names, np.arange(n_queries)):
            query_names = None
    return Sources(
        attributor,
        X,
        to_inputs(X),
        y,
        X_train,
        None if X_train is None else to_inputs(X_train),
        y_train,
        _names_of_classes(attributor.classes_, class_names),
        None if query_names is None else [shortened(each, _LONGEST_NAME) for each in query_names],
        names,
        shape,
        unit,
    )


def take_inputs(inputs, rows: np.ndarray):
    """Return some rows as the attributor takes them.

    Parameters
    ----------
    inputs : array-like of shape (n, d...)
        Rows; a DataFrame keeps its names.
    rows : ndarray of shape (m,)
        Positions.

    Returns
    -------
    taken : array-like of shape (m, d...)
        Of the same type.
    """
    return inputs.iloc[rows] if hasattr(inputs, "iloc") else np.asarray(inputs)[rows]


def _length(X) -> int:
    shape = getattr(X, "shape", None)
    return len(X) if shape is None else int(shape[0])


def _check_is_array_like(rows, name: str) -> None:
    if rows is None or hasattr(rows, "shape") or isinstance(rows, (list, tuple)):
        return
    raise TypeError(
        f"{name} must be an array or a DataFrame, as the report shows its rows; got "
        f"{type(rows).__name__}."
    )


def _check_length(values, n: int, name: str, what: str) -> None:
    if values is not None and len(values) != n:
        raise ValueError(f"{name} must hold {what}, {n} in all; got {len(values)}.")


def _check_labels(labels: np.ndarray | None, classes, name: str) -> None:
    if labels is None:
        return
    if labels.ndim != 1:
        raise ValueError(f"{name} must have shape (n,), a label for each row; got {labels.shape}.")
    known = set(np.asarray(classes).tolist())
    unknown = sorted({str(each) for each in labels.tolist() if each not in known})
    if unknown:
        shown = ", ".join(unknown[:5])
        raise ValueError(f"{name} holds labels that fit has not seen: {shown}.")


def _names_of_classes(classes, given) -> list[str] | None:
    if classes is None:
        if given is not None:
            raise ValueError("class_names are for labels, but the attributor explains values.")
        return None
    if given is not None and len(given) != len(classes):
        raise ValueError(
            f"class_names must hold a name for each of the {len(classes)} classes; got "
            f"{len(given)}."
        )
    return [shortened(name, _LONGEST_NAME) for name in (classes if given is None else given)]
