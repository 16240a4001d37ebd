"""How much an attribution depends on the seed that the network was trained from."""

import numpy as np


def standard_error(effects: np.ndarray) -> np.ndarray:
    r"""Return the standard error of the mean over networks.

    Parameters
    ----------
    effects : ndarray of shape (M, ...)
        The same effects on each of M networks.

    Returns
    -------
    error : ndarray of shape (...)
        :math:`s / \sqrt{M}` with :math:`s^2 = \frac{1}{M - 1} \sum_m (e_m - \bar e)^2`, in the
        effects' unit.

    Raises
    ------
    ValueError
        If there is only one network.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_synset._attribution.standard_error import standard_error
    >>> standard_error(np.array([[1.0, 5.0], [3.0, 5.0]]))
    array([1., 0.])
    """
    check_several_networks(len(effects))
    return np.asarray(effects.std(0, ddof=1) / np.sqrt(len(effects)))


def check_several_networks(n_networks: int) -> None:
    """Raise a ValueError unless there are networks to differ."""
    if n_networks < 2:
        raise ValueError(
            "return_std=True needs at least two networks, trained from different seeds; fit with "
            f"n_models=2 or more, got n_models={n_networks}."
        )
