"""How much effects differ between trainings from two seeds."""

import numpy as np

from sklearn_synset._attribution.leave_out_networks import LeaveOutNetworks
from sklearn_synset._attribution.standard_error import standard_error
from sklearn_synset._data.input_checks import result_dtype
from sklearn_synset._objective.objective import Objective
from sklearn_synset._probes.probed_fidelity import measured_effects
from sklearn_synset._probes.probes import Probes
from sklearn_synset._replay.leave_out import ReplayPlan


def attribution_to_groups(
    online: LeaveOutNetworks,
    probes: Probes,
    X: np.ndarray,
    target: np.ndarray,
    objective: Objective,
    *,
    return_std: bool,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return attributions (q, K) of the dtype of X, and their standard error if asked for.

    Parameters
    ----------
    online, probes, X, target, objective
        As of `attribution_error`.

    return_std : bool
        Whether to return the standard error (q, K), else None.
    """
    effects, dtype = online.attributions_by_network(X, target, objective), result_dtype(X)
    error = None
    if return_std:
        error = attribution_error(online, probes, effects, X, target, objective).astype(dtype)
    return effects.mean(0).astype(dtype), error


def attribution_error(
    online: LeaveOutNetworks,
    probes: Probes,
    effects: np.ndarray,
    X: np.ndarray,
    target: np.ndarray,
    objective: Objective,
) -> np.ndarray:
    r"""Return the standard errors of attributions, by the seed of the training.

    Parameters
    ----------
    online : LeaveOutNetworks
        Networks without each group.

    probes : Probes
        P groups that were left out of the real rows from S seeds.

    effects : ndarray of shape (M, q, K)
        Effects on each of M networks.

    X : ndarray of shape (q, d...)
        Queries.

    target : ndarray of shape (q,) or (q, C)
        Their codes or values.

    objective : callable
        What is evaluated.

    Returns
    -------
    error : ndarray of shape (q, K)
        With several networks that of their mean. With one, :math:`s_q / \sqrt{n}`, where
        :math:`s_q^2` is the variance of a measured effect over the seeds, mean over the P probed
        groups, and n is the number of repeated trainings that an effect is the mean of. It is the
        same for all groups of a query.

    Raises
    ------
    ValueError
        If there is one network, and probes from less than two seeds.
    """
    if len(effects) > 1:
        return standard_error(effects)
    if not probes.measure_noise:
        raise ValueError(
            "return_std=True needs several networks (n_models of at least 2), or probes from two "
            "seeds of the training, which fit makes where it can afford them; print(plan_) says "
            "what was done. n_probes=8 asks for them."
        )
    measured = measured_effects(online, probes, X, target, objective)
    plan = online.plans[0]
    n_trainings = len(plan.seeds) if isinstance(plan, ReplayPlan) else 1
    variance = measured.var(0, ddof=1).mean(1) / n_trainings
    return np.broadcast_to(np.sqrt(variance)[:, None], effects.shape[1:])
