"""Evaluation objectives: numbers of a query, each of which falls when a useful group goes.

Every objective maps outputs (..., n, C) and labels (n,) to values (..., n), larger is better, so
that "objective with all data minus objective without the group" is positive when the group helps.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch.func import vmap

from sklearn_synset._data.target import n_outputs

Objective = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def logit(outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the logit of each row's label.

    Parameters
    ----------
    outputs : Tensor of shape (..., n, C)
        Logits.
    y : Tensor of shape (n,)
        Labels, integers in [0, C).

    Returns
    -------
    logit : Tensor of shape (..., n)
        In nats, up to a shift shared by the row's logits.
    """
    return torch.where(_is_label(outputs, y), outputs, 0).sum(-1)


def margin(outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    r"""Return the logit of each row's label over the logsumexp of the others.

    Parameters
    ----------
    outputs : Tensor of shape (..., n, C)
        Logits.
    y : Tensor of shape (n,)
        Labels, integers in [0, C).

    Returns
    -------
    margin : Tensor of shape (..., n)
        The log-odds of the label in nats; positive when it is more likely than all others
        together. With a single class, which has no odds, the logit itself.

    Notes
    -----
    :math:`f_y - \log \sum_{c \ne y} e^{f_c} = \log \frac{p_y}{1 - p_y}`, without the cancellation
    that the right-hand side suffers when :math:`p_y` is close to 1.

    Examples
    --------
    >>> import torch
    >>> from sklearn_synset._objective.objective import margin
    >>> margin(torch.tensor([[3.0, 1.0], [3.0, 1.0]]), torch.tensor([0, 1]))
    tensor([ 2., -2.])
    """
    if outputs.shape[-1] == 1:
        return logit(outputs, y)
    others = outputs.masked_fill(_is_label(outputs, y), -torch.inf)
    return logit(outputs, y) - others.logsumexp(-1)


def probability(outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the softmax probability of each row's label.

    Parameters
    ----------
    outputs : Tensor of shape (..., n, C)
        Logits.
    y : Tensor of shape (n,)
        Labels, integers in [0, C).

    Returns
    -------
    probability : Tensor of shape (..., n)
        Between 0 and 1.
    """
    return logit(outputs.softmax(-1), y)


def negative_cross_entropy(outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return minus the cross-entropy of each row, its log-probability.

    Parameters
    ----------
    outputs : Tensor of shape (..., n, C)
        Logits.
    y : Tensor of shape (n,)
        Labels, integers in [0, C).

    Returns
    -------
    negative_loss : Tensor of shape (..., n)
        In nats, at most 0.
    """
    return logit(outputs.log_softmax(-1), y)


def negative_squared_error(
    outputs: torch.Tensor, y: torch.Tensor, *, loss_scale: float = 1.0
) -> torch.Tensor:
    """Return minus half the scaled squared error of each row.

    Parameters
    ----------
    outputs : Tensor of shape (..., n, C)
        Predictions.
    y : Tensor of shape (n,) or (n, C)
        Targets.
    loss_scale : float, default=1.0
        2 / C makes it minus the mean squared error over the C outputs.

    Returns
    -------
    negative_loss : Tensor of shape (..., n)
        In squared units of the target, at most 0.
    """
    target = y.unsqueeze(-1) if y.ndim == 1 else y
    return -0.5 * loss_scale * (outputs - target).square().sum(-1)


def prediction(outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the predicted value of each row; the target is not looked at.

    Parameters
    ----------
    outputs : Tensor of shape (..., n, 1)
        Predictions.
    y : Tensor of shape (n,) or (n, 1)
        Ignored.

    Returns
    -------
    prediction : Tensor of shape (..., n)
        In the unit of the target. Positive attributions push the prediction up.

    Raises
    ------
    ValueError
        If there are several outputs, as then no single number is *the* prediction.
    """
    if outputs.shape[-1] != 1:
        raise ValueError(
            f"objective='prediction' needs a model with one output, got {outputs.shape[-1]}; use "
            "objective='loss', or a callable that makes one number of the outputs."
        )
    return outputs[..., 0]


def mean_margin(outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the mean log-odds of each row's labels, one margin a label.

    Parameters
    ----------
    outputs : Tensor of shape (..., n, L)
        Logits of L labels.
    y : Tensor of shape (n, L)
        1 for the labels that a row has, 0 for the others.

    Returns
    -------
    margin : Tensor of shape (..., n)
        In nats; the logit counts for a label that is there, minus the logit for one that is not.
    """
    return ((2 * y - 1) * outputs).mean(-1)


def mean_probability(outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the mean probability (..., n) of each row's labels; parameters as `mean_margin`."""
    return torch.sigmoid((2 * y - 1) * outputs).mean(-1)


def negative_binary_cross_entropy(outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return minus the mean cross-entropy (..., n) of the labels; parameters as `mean_margin`."""
    return torch.nn.functional.logsigmoid((2 * y - 1) * outputs).mean(-1)


_OF_LOSS: dict[str, dict[str, Objective]] = {
    "cross_entropy": {
        "auto": margin,
        "margin": margin,
        "probability": probability,
        "logit": logit,
        "loss": negative_cross_entropy,
    },
    "binary_cross_entropy": {
        "auto": mean_margin,
        "margin": mean_margin,
        "probability": mean_probability,
        "loss": negative_binary_cross_entropy,
    },
    "squared_error": {
        "auto": prediction,
        "prediction": prediction,
        "loss": negative_squared_error,
    },
}


def resolve_objective(
    objective: str | Objective, loss: str, *, loss_scale: float = 1.0, n_outputs: int | None = None
) -> Objective:
    """Return the function behind an objective's name.

    Parameters
    ----------
    objective : {"auto", "margin", "probability", "logit", "loss", "prediction"} or callable
        A callable takes outputs (..., n, C) and y (n,), and returns values (..., n) that are
        larger when the model does better. ``"auto"`` is the margin for labels and the prediction
        for continuous targets.
    loss : {"cross_entropy", "binary_cross_entropy", "squared_error"}
        The loss that the model was trained with.
    loss_scale : float, default=1.0
        Scale of the squared error when `objective` is ``"loss"``.
    n_outputs : int, default=None
        Number C of classes or targets, for which the function is tried out; not tried if None.

    Returns
    -------
    function : callable
        Picklable when `objective` is a name.

    Raises
    ------
    ValueError
        If there is no such objective for this loss, it needs another number of outputs, or it
        does not return a value for each row.

    Examples
    --------
    >>> from sklearn_synset._objective.objective import resolve_objective
    >>> resolve_objective("auto", "cross_entropy").__name__
    'margin'
    """
    function = objective if callable(objective) else _named(objective, loss, loss_scale)
    if n_outputs is not None:
        _try_out(function, loss, n_outputs)
    return function


def check_objective(
    objective: str | Objective, loss: str, classes: np.ndarray | None, target: np.ndarray
) -> None:
    """Raise a ValueError unless an objective goes with a loss, and with the number of outputs."""
    resolve_objective(objective, loss, n_outputs=n_outputs(classes, target))


def _named(objective: str, loss: str, loss_scale: float) -> Objective:
    known = _OF_LOSS[loss]
    if objective not in known:
        kind = "continuous targets" if loss == "squared_error" else "class labels"
        raise ValueError(
            f"objective={objective!r} is not defined for {kind}; expected one of {list(known)} or "
            "a callable."
        )
    if known[objective] is negative_squared_error:
        return partial(negative_squared_error, loss_scale=loss_scale)
    return known[objective]


def _try_out(function: Objective, loss: str, n_outputs: int) -> None:
    """Raise a ValueError unless an objective gives a value for each row of each network."""
    outputs = torch.zeros(2, n_outputs)
    y = torch.zeros(2, dtype=torch.long)
    if loss == "binary_cross_entropy":
        y = torch.zeros(2, n_outputs)
    if loss == "squared_error":
        y = torch.zeros(2) if n_outputs == 1 else torch.zeros(2, n_outputs)
    try:
        found = [function(outputs, y)]
        if isinstance(found[0], torch.Tensor):
            found.append(vmap(function, (0, None))(outputs[None], y))
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(
            f"objective fails on outputs of shape {tuple(outputs.shape)} and labels or values of "
            f"shape {tuple(y.shape)}, or vectorised over networks. It says: {error}"
        ) from error
    shapes = [tuple(getattr(each, "shape", ())) for each in found]
    if shapes != [(2,), (1, 2)]:
        raise ValueError(
            "objective must map outputs (..., n, C) to values (..., n); for outputs of shape "
            f"{tuple(outputs.shape)} it returned {type(found[0]).__name__} of shape {shapes[0]}."
        )


def _is_label(outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the one-hot mask (n, C); unlike one_hot it does not look at values under vmap."""
    return torch.arange(outputs.shape[-1], device=outputs.device) == y.unsqueeze(-1)
