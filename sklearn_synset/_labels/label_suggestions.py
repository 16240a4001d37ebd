"""What the probabilities of true labels say about the given ones."""

import numpy as np
from sklearn.utils import Bunch


def label_suggestions(posterior: np.ndarray, y: np.ndarray, classes: np.ndarray) -> Bunch:
    """Return the most likely label of each row, and how likely its given label is wrong.

    Parameters
    ----------
    posterior : ndarray of shape (n, C)
        Probability of each true label.
    y : ndarray of shape (n,)
        Codes of the given labels.
    classes : ndarray of shape (C,)
        The labels.
    """
    row = np.arange(len(y))
    others = posterior.copy()
    others[row, y] = 0
    wrong = others.sum(1)
    return Bunch(
        label=np.asarray(classes)[posterior.argmax(1)],
        probability=posterior.max(1),
        wrong_probability=wrong,
        n_wrong=np.bincount(y, wrong, minlength=len(classes)),
    )
