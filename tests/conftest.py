"""Data sets, and attributors fitted to them, that several folders of tests share."""

import tempfile
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_diabetes, load_digits, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from sklearn_synset import SynsetAttributor
from tests.fitted import OPTIONS, fitted
from tests.problems import FAST, mlp, train


@pytest.fixture(scope="session")
def digits():
    X, y = load_digits(return_X_y=True)
    attributor = SynsetAttributor(n_groups=20, synset_size=2, **OPTIONS)
    return fitted(attributor, X[:200], y[:200], X[200:210], y[200:210])


@pytest.fixture(scope="session")
def wine():
    """Return a pipeline on a DataFrame; labels, groups and the index are words."""
    X, y = load_wine(return_X_y=True, as_frame=True)
    X.index = [f"bottle {i}" for i in X.index]
    y = pd.Series(np.array(["barolo", "grignolino", "barbera"])[y], index=X.index)
    places = np.array(["north slope", "south slope", "cellar of the old monastery"])
    groups = places[np.arange(len(X)) % 3]
    pipeline = make_pipeline(StandardScaler(), SynsetAttributor(**OPTIONS))
    return fitted(
        *(pipeline, X[::2], y[::2], X[1:21:2], y[1:21:2]),
        synsetattributor__groups=groups[::2],
    )


@pytest.fixture(scope="session")
def diabetes():
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    attributor = SynsetAttributor(n_groups=8, synset_size=2, **OPTIONS)
    return fitted(attributor, X[:150], y[:150], X[150:160], y[150:160])


@pytest.fixture(scope="session")
def iris():
    """Return standardised rows, labels, and a network that is trained on them."""
    X, y = load_iris(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    return X, y, train(mlp(), X, y, nn.CrossEntropyLoss(), n_steps=60)


@pytest.fixture(scope="session")
def explained(iris):
    """Return an attributor of six groups; its plan mixes rewinding and a usual training."""
    X, y, module = iris
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return SynsetAttributor(module, n_groups=6, **FAST).fit(X, y)


@pytest.fixture
def temporary_folder(monkeypatch, tmp_path):
    """Let Python write its temporary files to a folder of the test's own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path
