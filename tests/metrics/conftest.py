"""Rows that the metrics are tried on."""

import numpy as np
import pytest
from sklearn.datasets import load_iris


@pytest.fixture(scope="module")
def iris():
    """Return rows, labels, groups of ten rows of one class, and every twentieth row as queries."""
    X, y = load_iris(return_X_y=True)
    X = ((X - X.mean(0)) / X.std(0)).astype(np.float32)
    return X, y, np.arange(150) // 10, X[::20], y[::20]
