"""Whether a target holds class labels or values."""

import numpy as np
import torch
from sklearn.utils.multiclass import type_of_target
from skorch import NeuralNet, NeuralNetClassifier, NeuralNetRegressor

_MAX_CLASSES_OF_FLOATS = 20


def is_classification(y: np.ndarray, estimator: object) -> bool:
    """Tell from the target, and from what is wrapped, whether labels are to be predicted.

    Parameters
    ----------
    y : ndarray of shape (n,) or (n, t)
        Target.

    estimator : object
        What is wrapped, without a `FrozenEstimator` around it.

    Returns
    -------
    is_classification : bool
        True for strings, booleans and integers, and for floats that hold at most 20 different
        integers; except under a skorch regressor or another net with squared error.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_synset._target_type import is_classification
    >>> is_classification(np.array([0, 1, 2]), None), is_classification(np.array([0.5, 1.0]), None)
    (True, False)
    """
    if isinstance(estimator, NeuralNetClassifier):
        return True
    if isinstance(estimator, NeuralNetRegressor):
        return False
    if isinstance(estimator, NeuralNet):
        return not _is_squared_error(estimator.criterion)
    if y.dtype.kind != "f":
        return True
    is_discrete = type_of_target(y, input_name="y") in ("binary", "multiclass")
    return is_discrete and len(np.unique(y)) <= _MAX_CLASSES_OF_FLOATS


def _is_squared_error(criterion: object) -> bool:
    kind = criterion if isinstance(criterion, type) else type(criterion)
    return issubclass(kind, torch.nn.MSELoss)
