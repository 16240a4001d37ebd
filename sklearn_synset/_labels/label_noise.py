"""Which labels are wrong: class probabilities, given labels, and a model of the noise."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp

_RIGHT, _PRIOR_ROWS = 0.9, 10.0
_LOG_SHARPNESS, _SPREAD = np.log(2.0), 0.3
_MOST_STEPS, _TOL, _TOL_SHARPNESS = 100, 1e-4, 0.01


@dataclass(frozen=True, eq=False)
class LabelNoise:
    r"""How given labels depend on true ones, and true ones on a network's probabilities.

    Parameters
    ----------
    transition : ndarray of shape (C, C)
        T: probability of each given label (column) for each true one (row).
    sharpness : float
        a, and
    shift : ndarray of shape (C,)
        b: true labels have the probabilities :math:`\mathrm{softmax}(a \log p + b)`, where p are
        those of networks that were trained on given labels.
    """

    transition: np.ndarray
    sharpness: float
    shift: np.ndarray

    def log_posterior(self, log_p: np.ndarray, y: np.ndarray) -> np.ndarray:
        r"""Return the log-probability of each true label.

        Parameters
        ----------
        log_p : ndarray of shape (n, C)
            Log-probabilities of classes by networks that have not seen the row.
        y : ndarray of shape (n,)
            Codes of the given labels.

        Returns
        -------
        log_posterior : ndarray of shape (n, C)
            :math:`\log r_{ik}` with :math:`r_{ik} \propto e^{b_k} p_{ik}^a T_{k y_i}`.
        """
        joint = self.log_joint(log_p, y)
        return joint - logsumexp(joint, axis=1, keepdims=True)

    def log_joint(self, log_p: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the log-probability (n, C) of each true label together with the given one."""
        return self.log_prior(log_p) + np.log(self.transition[:, y].T)

    def log_prior(self, log_p: np.ndarray) -> np.ndarray:
        """Return the log-probability (n, C) of each true label if no label is given."""
        return log_softmax(self.sharpness * log_p + self.shift, axis=1)


def fit_label_noise(log_p: np.ndarray, y: np.ndarray) -> LabelNoise:
    r"""Estimate label noise from out-of-fold probabilities.

    Parameters
    ----------
    log_p : ndarray of shape (n, C)
        Log-probabilities of classes by networks that have not seen the row.
    y : ndarray of shape (n,)
        Codes of the given labels.

    Notes
    -----
    The likelihood is :math:`\prod_i \sum_k \mathrm{softmax}(a \log p_i + b)_k T_{k y_i}`, with ten
    more rows of each class, of which nine are labelled right and one at random, and a normal
    prior of :math:`\log a` around :math:`\log 2`, as means along a training are unsure. It is
    maximised by expectation maximisation: T is a ratio of counts of the posterior, b makes the
    classes as frequent as they are in it, and a is found by a line search. In the counts, a row has
    the weight :math:`(1 - H_i / \log C)^2` with the entropy :math:`H_i` of the softmax: where
    classes overlap, rows do not say whether it is the labels that are wrong. Noise that depends on
    the class and not otherwise on the row is that of [1]_.

    References
    ----------
    .. [1] Northcutt, Jiang, Chuang, "Confident learning: estimating uncertainty in dataset
       labels", JAIR 2021, section 2.
    """
    n_classes = log_p.shape[1]
    prior = _PRIOR_ROWS * (_RIGHT * np.eye(n_classes) + (1 - _RIGHT) / n_classes)
    noise = LabelNoise(prior / _PRIOR_ROWS, float(np.exp(_LOG_SHARPNESS)), np.zeros(n_classes))
    given = np.eye(n_classes)[y]
    for _ in range(_MOST_STEPS):
        posterior = np.exp(noise.log_posterior(log_p, y))
        before = noise.log_prior(log_p)
        expected = np.exp(before)
        certainty = 1 + (expected * before).sum(1) / np.log(max(2, n_classes))
        counts = (certainty[:, None] ** 2 * posterior).T @ given + prior
        transition = counts / counts.sum(1, keepdims=True)
        shift = noise.shift + np.log((posterior.sum(0) + 1) / (expected.sum(0) + 1))
        change = np.abs(transition - noise.transition).max()
        noise = LabelNoise(transition, noise.sharpness, shift - shift.mean())
        noise = _sharpened(noise, log_p, y)
        if change < _TOL:
            break
    return noise


def _sharpened(noise: LabelNoise, log_p: np.ndarray, y: np.ndarray) -> LabelNoise:
    """Return the noise with its most probable sharpness."""

    def minus_log_probability(log_sharpness: float) -> float:
        tried = replace(noise, sharpness=float(np.exp(log_sharpness)))
        surprise = ((log_sharpness - _LOG_SHARPNESS) / _SPREAD) ** 2 / 2
        return surprise - float(logsumexp(tried.log_joint(log_p, y), axis=1).sum())

    bounds = np.log(noise.sharpness) + np.array([-1.0, 1.0])
    options = {"xatol": _TOL_SHARPNESS}
    found = minimize_scalar(minus_log_probability, bounds=bounds, method="bounded", options=options)
    return replace(noise, sharpness=float(np.exp(found.x)))
