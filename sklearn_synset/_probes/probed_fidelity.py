"""How far a synset's attributions can be trusted, by the probes."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Bunch

from sklearn_synset._attribution.leave_out_networks import LeaveOutNetworks
from sklearn_synset._data.input_checks import finite
from sklearn_synset._network.training_loss import encoded_labels
from sklearn_synset._objective.objective import Objective
from sklearn_synset._probes.probes import Probes
from sklearn_synset._runtime.torch_interop import as_array
from sklearn_synset._statistics.jackknife import jackknife_interval
from sklearn_synset._statistics.rank_correlation import mean_rank_correlation
from sklearn_synset._statistics.slope import least_squares_slope

_LOW_CORRELATION = 0.35
_WRONG_SIZE = 2.0
_N_QUERIES = 300


def probed_effects(
    online: LeaveOutNetworks,
    probes: Probes,
    X: np.ndarray,
    target: np.ndarray,
    objective: Objective,
) -> tuple[np.ndarray, np.ndarray]:
    """Return what the synset says about the probes, and what was measured.

    Parameters
    ----------
    online : LeaveOutNetworks
        The synset, ready for queries.

    probes : Probes
        P sets of groups that were left out of the real rows.

    X : ndarray of shape (q, d...)
        Queries.

    target : ndarray of shape (q,) or (q, C)
        Their codes or values.

    objective : callable
        What is evaluated.

    Returns
    -------
    predicted, measured : ndarray of shape (q, P)
        Effects in the objective's unit; a set's predicted one is the sum of its groups'
        attributions.
    """
    removed = 1 - as_array(probes.kept)
    predicted = online.attributions(X, target, objective) @ removed.T
    return predicted, measured_effects(online, probes, X, target, objective)


def measured_effects(
    online: LeaveOutNetworks,
    probes: Probes,
    X: np.ndarray,
    target: np.ndarray,
    objective: Objective,
) -> np.ndarray:
    """Return the effect (q, P) of each probe on each query, mean over networks."""
    y, size = encoded_labels(online.models[0], target), online.leave_out.batch_size
    effects = probes.effects(online.models, online.rows_of(X), y, objective, size)
    return finite(effects, "measured effects")


def fidelity_on_some_rows(
    online: LeaveOutNetworks,
    probes: Probes,
    X: np.ndarray,
    target: np.ndarray,
    objective: Objective,
    groups: np.ndarray,
    seed: int,
) -> Bunch:
    """Return `measured_fidelity` on at most 300 of the rows X, drawn by a seed."""
    some = np.random.RandomState(seed).permutation(len(X))[:_N_QUERIES]
    predicted, measured = probed_effects(online, probes, X[some], target[some], objective)
    return measured_fidelity(predicted, measured, groups[probes.groups])


def measured_fidelity(predicted: np.ndarray, measured: np.ndarray, groups: np.ndarray) -> Bunch:
    """Summarise the agreement with the probes.

    Parameters
    ----------
    predicted, measured : ndarray of shape (q, P)
        As of `probed_effects`.

    groups : ndarray
        Labels of the groups that were probed.

    Returns
    -------
    fidelity : Bunch
        `rank_correlation`, `rank_correlation_interval`, `slope`, `slope_interval` and `groups`,
        as the estimator documents them.
    """
    low, high = jackknife_interval(mean_rank_correlation, predicted, measured)
    return Bunch(
        rank_correlation=mean_rank_correlation(predicted, measured),
        rank_correlation_interval=(max(low, -1.0), min(high, 1.0)),
        slope=_slope(predicted, measured),
        slope_interval=jackknife_interval(_slope, predicted, measured),
        groups=groups,
    )


def _slope(predicted: np.ndarray, measured: np.ndarray) -> float:
    """Return the slope of the measured on the predicted effects, NaN without any."""
    return least_squares_slope(predicted, measured)[0] if predicted.size else float("nan")


def warn_if_unfaithful(fidelity: Bunch) -> None:
    """Warn when attributions are in another order, or of another size, than the probes say.

    Parameters
    ----------
    fidelity : Bunch
        As of `measured_fidelity`.

    Warns
    -----
    ConvergenceWarning
        If the rank correlation is below 0.35, or the slope is below 1/2 or above 2 and its interval
        does not hold 1.
    """
    start = "Attributions agree badly with groups really left out of the training rows: "
    slope, (low, high) = fidelity.slope, fidelity.slope_interval
    if fidelity.rank_correlation < _LOW_CORRELATION:
        from_, to = fidelity.rank_correlation_interval
        message = (
            f"rank correlation {fidelity.rank_correlation:.2f}, between {from_:.2f} and {to:.2f} "
            "(1 is perfect). Raise synset_size or max_iter, or make fewer, larger groups with "
            "n_groups."
        )
    elif (slope < 1 / _WRONG_SIZE and high < 1) or (slope > _WRONG_SIZE and low > 1):
        message = (
            f"measured effects are {slope:.2f} times the predicted ones, between {low:.2f} and "
            f"{high:.2f} times (1 is perfect). Trust their order, not their size; a network that "
            "was trained for longer may have better sizes."
        )
    else:
        return
    warnings.warn(start + message, ConvergenceWarning, stacklevel=5)  # who calls fit
