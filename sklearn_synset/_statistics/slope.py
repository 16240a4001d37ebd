"""The slope of a least-squares line."""

import numpy as np


def least_squares_slope(
    x: np.ndarray, y: np.ndarray, *, fit_intercept: bool = True
) -> tuple[float, np.ndarray, np.ndarray]:
    """Regress one array on another.

    Parameters
    ----------
    x, y : ndarray of shape (n_queries, n_groups)
        Finite.
    fit_intercept : bool, default=True
        Whether the line need not pass through the origin.

    Returns
    -------
    slope : float
        NaN where `x` is constant (without an intercept: zero).
    x, residual : ndarray of shape (n_queries, n_groups)
        `x`, less its mean with an intercept, and what the line leaves of `y`.
    """
    x, y = x.astype(float), y.astype(float)
    if fit_intercept:
        # A constant's mean may differ from it by rounding, which must not become a slope.
        x = x - x.mean() if np.ptp(x) > 0 else np.zeros_like(x)
        y = y - y.mean()
    square = float((x * x).sum())
    slope = float((x * y).sum()) / square if square > 0 else float("nan")
    return slope, x, y - slope * x
