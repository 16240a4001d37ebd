"""How far a synset's attributions can be trusted, by the probes."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Bunch

from sklearn_synset._attribution.choose_plan import Plan
from sklearn_synset._attribution.leave_out_networks import LeaveOutNetworks
from sklearn_synset._data.input_checks import finite
from sklearn_synset._network.training_loss import encoded_labels
from sklearn_synset._objective.objective import Objective
from sklearn_synset._probes.probes import Probes
from sklearn_synset._runtime.torch_interop import as_array
from sklearn_synset._statistics.jackknife import jackknife_error, t_interval
from sklearn_synset._statistics.rank_correlation import mean_rank_correlation
from sklearn_synset._statistics.retraining_agreement import agreement_with_mean
from sklearn_synset._statistics.slope import least_squares_slope

_LOW_CORRELATION = 0.35
_WRONG_SIZE = 2.0
_N_QUERIES = 300
_SHARE_OF_OWN = 1 / 4  # of what rows' own groups change in the slope, for rows not trained on
_UNKNOWN = (float("nan"), float("nan"))


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
    predicted : ndarray of shape (q, P)
        Effects in the objective's unit; a set's is the sum of its groups' attributions.

    measured : ndarray of shape (S, q, P)
        From each of S seeds.
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
    """Return the effect (S, q, P) of each probe on each query, from each seed."""
    y, size = encoded_labels(online.models[0], target), online.leave_out.batch_size
    effects = probes.effects(online.models, online.rows_of(X), y, objective, size)
    finite(effects.swapaxes(0, 1), "measured effects")
    return effects


def fidelity_on_some_rows(
    online: LeaveOutNetworks,
    probes: Probes,
    X: np.ndarray,
    target: np.ndarray,
    objective: Objective,
    groups: np.ndarray,
    seed: int,
) -> Bunch:
    """Summarise how well predicted effects on training rows agree with those of the probes.

    Parameters
    ----------
    online, probes, objective
        As of `probed_effects`.

    X : ndarray of shape (n, d...)
        All training rows, of which at most 300 are evaluated.

    target : ndarray of shape (n,) or (n, C)
        Their codes or values.

    groups : ndarray of shape (K,)
        Labels of the groups.

    seed : int
        Of the choice of rows.

    Returns
    -------
    fidelity : Bunch
        As the estimator documents it.
    """
    some = np.random.RandomState(seed).permutation(len(X))[:_N_QUERIES]
    X, target = X[some], target[some]
    fidelity = Bunch(
        rank_correlation=np.nan,
        rank_correlation_interval=_UNKNOWN,
        slope=np.nan,
        slope_interval=_UNKNOWN,
        between_seeds=np.nan,
        groups=groups[:0],
        beats_constant=beats_a_constant(online.predictions(X), target),
        reason=probes.reason,
    )
    if not probes.reason:
        predicted, measured = probed_effects(online, probes, X, target, objective)
        own_group = as_array(online.rows.group)[some]  # type: ignore[union-attr]
        is_own = as_array(probes.kept == 0)[:, own_group].T
        fidelity.update(
            measured_fidelity(predicted, measured, is_own), groups=groups[probes.groups]
        )
    return fidelity


def measured_fidelity(predicted: np.ndarray, measured: np.ndarray, is_own: np.ndarray) -> dict:
    """Summarise the agreement with the probes.

    Parameters
    ----------
    predicted : ndarray of shape (q, P)
        As of `probed_effects`.

    measured : ndarray of shape (S, q, P)
        As of `probed_effects`.

    is_own : bool ndarray of shape (q, P)
        Whether the query is a row of what the probe leaves out.

    Returns
    -------
    fidelity : dict
        `rank_correlation`, `rank_correlation_interval`, `slope`, `slope_interval` and
        `between_seeds`, as the estimator documents them.
    """
    n_seeds, _, n_probes = measured.shape
    correlation = agreement_with_mean(predicted, measured)
    error = jackknife_error(agreement_with_mean, predicted, measured)
    low, high = t_interval(correlation, error, n_probes)
    mean = measured.mean(0)
    slope = _slope(predicted, mean)
    by_seed = [_slope(predicted, each) for each in measured]
    errors = (
        jackknife_error(_slope, predicted, mean),
        np.std(by_seed, ddof=1) / np.sqrt(n_seeds) if n_seeds > 1 else 0.0,
        _SHARE_OF_OWN * (_slope(predicted[~is_own], mean[~is_own]) - slope),
    )
    return {
        "rank_correlation": correlation,
        "rank_correlation_interval": (max(low, -1.0), min(high, 1.0)),
        "slope": slope,
        "slope_interval": t_interval(slope, float(np.linalg.norm(errors)), n_probes),
        "between_seeds": mean_rank_correlation(*measured[:2]) if n_seeds > 1 else np.nan,
    }


def _slope(predicted: np.ndarray, measured: np.ndarray) -> float:
    """Return the slope of the measured on the predicted effects, NaN without any."""
    return least_squares_slope(predicted, measured)[0] if predicted.size else float("nan")


def beats_a_constant(predicted: np.ndarray, target: np.ndarray) -> bool:
    """Tell whether a network predicts rows better than a constant does.

    Parameters
    ----------
    predicted : ndarray of shape (q,) or (q, C)
        Codes of labels, 0 and 1 of several labels, or values.

    target : ndarray of shape (q,) or (q, C)
        The true ones; class probabilities count as the likeliest label.
    """
    if predicted.dtype.kind in "iu":
        codes = target.argmax(1) if target.ndim == 2 else target
        return bool((predicted == codes).mean() > np.bincount(codes).max() / len(codes))
    target = target.reshape(predicted.shape)
    is_labels = np.isin(predicted, (0, 1)).all()
    mean = target.mean(0)
    constant = np.minimum(mean, 1 - mean) if is_labels else target.var(0)
    return bool(np.square(predicted - target).mean() < constant.mean())


def warn_if_unfaithful(fidelity: Bunch, plan: Plan) -> None:
    """Warn when attributions are in another order, or of another size, than the probes say.

    Parameters
    ----------
    fidelity : Bunch
        As of `fidelity_on_some_rows`.

    plan : Plan
        How groups were left out.

    Warns
    -----
    ConvergenceWarning
        If the rank correlation is below 0.35, or the slope is below 1/2 or above 2 and its interval
        does not hold 1; with the likeliest cause.
    """
    start = "Attributions agree badly with groups really left out of the training rows: "
    slope, (low, high) = fidelity.slope, fidelity.slope_interval
    if fidelity.rank_correlation < _LOW_CORRELATION:
        from_, to = fidelity.rank_correlation_interval
        message = (
            f"rank correlation {fidelity.rank_correlation:.2f}, between {from_:.2f} and {to:.2f} "
            "(1 is perfect)."
        )
    elif (slope < 1 / _WRONG_SIZE and high < 1) or (slope > _WRONG_SIZE and low > 1):
        message = (
            f"measured effects are {slope:.2f} times the predicted ones, between {low:.2f} and "
            f"{high:.2f} times (1 is perfect). Trust their order, not their size."
        )
    else:
        return
    warnings.warn(
        f"{start}{message} {_cause(fidelity, plan)}", ConvergenceWarning, stacklevel=5
    )  # who calls fit


def _cause(fidelity: Bunch, plan: Plan) -> str:
    """Return the likeliest cause, and what to do about it."""
    if not fidelity.beats_constant:
        return (
            "The network predicts its training rows no better than a constant, so it may not be "
            "trained: train it (for longer), or pass a skorch net, which fit trains."
        )
    if fidelity.between_seeds < _LOW_CORRELATION:
        return (
            "The groups are too small for the noise of the training: two retrainings from "
            f"different seeds agree with each other by {fidelity.between_seeds:.2f}. Make fewer, "
            "larger groups with n_groups."
        )
    if plan.solver != "replay":
        return (
            "The network's own training was not repeated (print(plan_) says why). Wrap a module in "
            "a skorch net with its training, or set solver='replay'."
        )
    if not plan.is_whole:
        return (
            "The synset represents the rows badly. Raise synset_size or max_iter, or make fewer, "
            "larger groups with n_groups."
        )
    return "Make fewer, larger groups with n_groups, or average networks with n_models."
