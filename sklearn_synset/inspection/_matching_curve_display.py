"""How close the synset's gradients came to those of the training rows."""

from __future__ import annotations

import numpy as np

from sklearn_synset.inspection._fitted_attributor import unwrapped
from sklearn_synset.inspection._plotting import HELPS, MEASURED, check_matplotlib, new_axes

_WINDOW = 51  # steps
# Multiples of powers of ten with a label, by the least ratio of the largest to the smallest value.
_SUBS = {300: (1,), 10: (1, 2, 5), 1.3: range(1, 10), 0: (1, 2, 5)}


class MatchingCurveDisplay:
    """Distance between the gradients of the synset and of the training rows, step by step.

    It is recommended to use `from_estimator`. All parameters are stored as attributes.

    Parameters
    ----------
    loss_curve : ndarray of shape (n_iter,)
        Distance before each step of the distillation.
    quantity : str, default="relative distance of the gradients"
        What it is.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the curve.
    figure_ : matplotlib Figure
        Figure of the axes.
    line_ : matplotlib Line2D
        The distance before each step.
    mean_line_ : matplotlib Line2D or None
        Its running geometric mean, when there are at least 51 steps.

    See Also
    --------
    FidelityDisplay : What the distance is made small for.

    Examples
    --------
    >>> from sklearn_synset.inspection import MatchingCurveDisplay
    >>> display = MatchingCurveDisplay([0.8, 0.4, 0.3]).plot()
    >>> display.line_.get_ydata().tolist()
    [0.8, 0.4, 0.3]
    """

    def __init__(self, loss_curve, *, quantity="relative distance of the gradients"):
        self.loss_curve = loss_curve
        self.quantity = quantity

    def plot(self, ax=None):
        """Draw the curve.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; those of a new figure if None.

        Returns
        -------
        display : MatchingCurveDisplay
            The display itself.
        """
        curve = np.asarray(self.loss_curve, dtype=float)
        ax = new_axes("MatchingCurveDisplay.plot", ax, 4)
        steps = np.arange(len(curve))
        (self.line_,) = ax.plot(
            *(steps, curve, "." if len(curve) >= _WINDOW else ".-"),
            color=HELPS,
            alpha=0.4 if len(curve) >= _WINDOW else 1,
            markersize=4 if len(curve) >= _WINDOW else 8,
            label="each step",
        )
        self.mean_line_ = _draw_running_mean(ax, curve)
        ax.set(xlabel="step of the distillation", ylabel=self.quantity)
        ax.xaxis.get_major_locator().set_params(integer=True)
        if not len(curve):
            ax.set(xticks=[], yticks=[])
            ax.text(0.5, 0.5, "no steps taken (max_iter=0)", ha="center", transform=ax.transAxes)
        elif (curve > 0).any():
            ax.set_yscale("log")
            _set_log_ticks(ax.yaxis, curve[curve > 0])
        if self.mean_line_ is not None:
            ax.legend(loc="upper right")
        self.ax_, self.figure_ = ax, ax.figure
        return self

    @classmethod
    def from_estimator(cls, estimator, *, ax=None):
        """Draw the curve of a fitted attributor.

        Parameters
        ----------
        estimator : SynsetAttributor or Pipeline
            Fitted; a pipeline ends in an attributor.
        ax : matplotlib Axes, default=None
            Axes to draw on; those of a new figure if None.

        Returns
        -------
        display : MatchingCurveDisplay
            Drawn.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        attributor, _ = unwrapped(estimator)
        known = {
            "prediction": "relative distance of the gradients\nin the prediction norm",
            "squared_error": "squared relative error of the gradients",
            "cosine": "cosine distance of the gradients",
        }
        quantity = known.get(attributor.distance, "distance of the gradients")
        return cls(attributor.matching_loss_curve_, quantity=quantity).plot(ax)


def _draw_running_mean(ax, curve):
    """Draw the geometric mean over a window, if there are steps enough and all are positive."""
    if len(curve) < _WINDOW or not (curve > 0).all():
        return None
    means = np.exp(np.convolve(np.log(curve), np.full(_WINDOW, 1 / _WINDOW), "valid"))
    steps = np.arange(len(means)) + _WINDOW // 2
    label = f"geometric mean of {_WINDOW} steps"
    (line,) = ax.plot(steps, means, color=MEASURED, label=label)
    return line


def _set_log_ticks(axis, values):
    """Write plain numbers, at powers of ten alone when the range is wide."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    ratio = values.max() / values.min()
    subs = next(subs for least, subs in _SUBS.items() if ratio >= least)
    axis.set_major_locator(LogLocator(subs=subs, numticks=10))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    axis.set_minor_formatter(NullFormatter())
