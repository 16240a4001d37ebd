"""Attributors that are fitted quickly, with what they were fitted to."""

import warnings

from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Bunch

OPTIONS = {"max_iter": 8, "n_steps": 10, "n_probes": 3, "random_state": 0}


def fitted(estimator, X, y, X_query, y_query, **fit_params):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator.fit(X, y, **fit_params)
    attributor = estimator[-1] if hasattr(estimator, "steps") else estimator
    return Bunch(
        estimator=estimator, attributor=attributor, X=X, y=y, X_query=X_query, y_query=y_query
    )
