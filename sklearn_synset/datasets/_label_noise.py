"""Wrong labels, put in on purpose."""

from numbers import Real
from typing import Any

import numpy as np
from sklearn.utils import check_array, check_random_state, check_scalar, column_or_1d
from sklearn.utils.multiclass import check_classification_targets


def flip_labels(y, *, rate=0.1, transition="uniform", random_state=None):
    r"""Give a share of the rows of every class a wrong label.

    Parameters
    ----------
    y : array-like of shape (n_rows,)
        Labels of two classes or more; numbers or strings.
    rate : float or array-like of shape (n_classes,), default=0.1
        Share of the rows that are given a wrong label, in [0, 1]: of all rows, or of those of each
        class in sorted order. It is met exactly, up to rounding to whole rows.
    transition : {"uniform", "next"} or array-like of shape (C, C), default="uniform"
        What wrong labels are drawn from. "uniform": all other classes alike; "next": the class that
        follows in sorted order (the first follows the last). An array for C classes holds in row
        c how likely a wrong row of class c is given each label, up to a factor; its diagonal is not
        looked at.
    random_state : int, RandomState instance or None, default=None
        Determines the rows and their new labels.

    Returns
    -------
    y_noisy : ndarray of shape (n_rows,)
        Labels in the dtype of `y`, which is left as it is.
    is_flipped : bool ndarray of shape (n_rows,)
        True where the label is wrong now.

    Raises
    ------
    ValueError
        If there are fewer than two classes, `rate` or `transition` has another shape or values
        outside of its range, or a class that is to be flipped has nowhere to go.

    See Also
    --------
    sklearn_synset.metrics.mislabel_roc_auc : How well the wrong labels are found again.

    Notes
    -----
    One rate for all is shared out to the classes by the method of largest remainders, so that
    :math:`\mathrm{round}(r n)` rows are flipped in all, and :math:`r n_c` of class c up to one row.
    Noise in which the wrong label depends on the class, but not on the row, is the noise of [1]_.

    References
    ----------
    .. [1] Natarajan, Dhillon, Ravikumar, Tewari, "Learning with Noisy Labels", NeurIPS 2013.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_synset.datasets import flip_labels
    >>> y = np.repeat(["cat", "dog", "owl"], 20)
    >>> y_noisy, is_flipped = flip_labels(y, rate=0.1, random_state=0)
    >>> {label: int(is_flipped[y == label].sum()) for label in ("cat", "dog", "owl")}
    {'cat': 2, 'dog': 2, 'owl': 2}
    >>> bool(np.all((y_noisy != y) == is_flipped))
    True
    """
    y = column_or_1d(check_array(y, dtype=None, ensure_2d=False, input_name="y"))
    check_classification_targets(y)
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"y must hold at least 2 classes, got {len(classes)}.")
    n_flipped = _rows_of_each_class(rate, np.bincount(codes))
    probability = _wrong_label_probability(transition, len(classes))
    stuck = (n_flipped > 0) & (probability.sum(1) == 0)
    if stuck.any():
        raise ValueError(
            f"transition gives the classes {classes[stuck].tolist()} no wrong label to change to."
        )
    random_state = check_random_state(random_state)
    noisy = codes.copy()
    for code in np.flatnonzero(n_flipped):
        rows = random_state.permutation(np.flatnonzero(codes == code))[: n_flipped[code]]
        weights = probability[code] / probability[code].sum()
        noisy[rows] = random_state.choice(len(classes), size=len(rows), p=weights)
    return classes[noisy], noisy != codes


def _rows_of_each_class(rate: Any, sizes: np.ndarray) -> np.ndarray:
    """Return how many rows of each class to flip (n_classes,)."""
    if np.ndim(rate) == 0:
        check_scalar(rate, "rate", Real, min_val=0, max_val=1)
        quota = rate * sizes
        n_rows = np.floor(quota).astype(int)
        n_missing = int(np.rint(rate * sizes.sum())) - n_rows.sum()
        n_rows[np.argsort(n_rows - quota, kind="stable")[:n_missing]] += 1
        return n_rows
    rates = check_array(rate, dtype=np.float64, ensure_2d=False, input_name="rate")
    if rates.shape != sizes.shape or rates.min() < 0 or rates.max() > 1:
        raise ValueError(
            f"rate must be a number in [0, 1], or one for each of the {len(sizes)} classes; "
            f"got {rate!r}."
        )
    return np.rint(rates * sizes).astype(int)


def _wrong_label_probability(transition: object, n_classes: int) -> np.ndarray:
    """Return how likely each wrong label is (n_classes, n_classes), up to a factor for each row."""
    if isinstance(transition, str):
        if transition not in ("uniform", "next"):
            raise ValueError(
                f"transition must be 'uniform', 'next' or an array, got {transition!r}."
            )
        if transition == "next":
            return np.roll(np.eye(n_classes), 1, axis=1)
        return 1 - np.eye(n_classes)
    probability = check_array(transition, dtype=np.float64, input_name="transition")
    if probability.shape != (n_classes, n_classes) or probability.min() < 0:
        raise ValueError(
            f"transition must have the shape (n_classes, n_classes) = {(n_classes, n_classes)} and "
            f"no negative value; got the shape {probability.shape}."
        )
    return probability * (1 - np.eye(n_classes))
