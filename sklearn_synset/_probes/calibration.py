"""The size of effects, by groups that were really left out."""

import math

import numpy as np

from sklearn_synset._statistics.slope import least_squares_slope

_USUAL_ERROR = 0.3  # of the logarithm of a size that nothing was measured for
_ERROR_OF_PROBES = 0.15  # that no number of them takes away, as they are trained in another way
_FEWEST = 4
_LARGEST = 3.0


def size_factor(predicted: np.ndarray, measured: np.ndarray) -> float:
    r"""Return by what to multiply predicted effects, to have the size of the measured ones.

    Parameters
    ----------
    predicted, measured : ndarray of shape (q, P)
        Effects of P removals on q queries.

    Returns
    -------
    factor : float
        :math:`b^w` with b the least-squares slope of the measured on the predicted effects, and
        :math:`w = \tau^2 / (\tau^2 + \sigma^2 + s^2)`: :math:`\tau = 0.3` is the usual error of
        :math:`\log b` without probes, :math:`\sigma = 0.15` that of the probes, s the jackknife's
        standard error over the removals. Between 1/3 and 3; 1 with fewer than four removals, and
        where the slope, with or without any one removal, is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_synset._probes.calibration import size_factor
    >>> effects = np.arange(40.0).reshape(4, 10)
    >>> round(size_factor(effects, 2 * effects) / 2**0.8, 6)
    1.0
    """
    slopes = _slopes_without_each(predicted, measured)
    slope = least_squares_slope(predicted, measured)[0] if predicted.size else float("nan")
    if len(slopes) < _FEWEST or not (slope > 0 and (slopes > 0).all()):
        return 1.0
    n, logarithms = len(slopes), np.log(slopes)
    variance = (n - 1) / n * float(np.square(logarithms - logarithms.mean()).sum())
    trust = _USUAL_ERROR**2 / (_USUAL_ERROR**2 + _ERROR_OF_PROBES**2 + variance)
    return min(max(math.exp(trust * math.log(slope)), 1 / _LARGEST), _LARGEST)


def factors_without_each(predicted: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Return the factors (P,) that the other removals give for each one."""
    n = predicted.shape[1]
    return np.array(
        [
            size_factor(np.delete(predicted, j, axis=1), np.delete(measured, j, axis=1))
            for j in range(n)
        ]
    )


def _slopes_without_each(predicted: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Return the slopes (P,) of all removals but one."""
    slopes = [
        least_squares_slope(np.delete(predicted, j, axis=1), np.delete(measured, j, axis=1))[0]
        for j in range(predicted.shape[1] if predicted.shape[1] > 1 and len(predicted) else 0)
    ]
    return np.array(slopes)
