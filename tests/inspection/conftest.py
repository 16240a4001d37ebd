"""Small fitted attributors: pictures, a table with words for labels and groups, a regression."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_diabetes, load_digits, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import Bunch

from sklearn_synset import SynsetAttributor

OPTIONS = {"max_iter": 8, "n_steps": 10, "n_probes": 3, "random_state": 0}


def fitted(estimator, X, y, X_query, y_query, **fit_params):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator.fit(X, y, **fit_params)
    attributor = estimator[-1] if hasattr(estimator, "steps") else estimator
    return Bunch(
        estimator=estimator, attributor=attributor, X=X, y=y, X_query=X_query, y_query=y_query
    )


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
