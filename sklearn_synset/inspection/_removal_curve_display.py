"""What removing training rows in the order of their scores does to a model."""

from __future__ import annotations

from itertools import cycle

import numpy as np

from sklearn_synset.inspection._plotting import LINE_STYLES, check_matplotlib, new_axes

_BAND = 0.15  # opacity


class RemovalCurveDisplay:
    """Performance of models retrained without more and more of the training rows.

    Scores that tell good rows from bad ones make the curve of lowest first stay high, or rise, and
    that of highest first fall below random removal. Bands are one standard deviation over
    seeds.

    It is recommended to use `from_curve`. All parameters are stored as attributes.

    Parameters
    ----------
    shares : array-like of shape (n_shares,)
        Shares of the training rows that are removed, in [0, 1].
    curves : dict of str to ndarray of shape (n_shares,) or (n_seeds, n_shares)
        What each order of removal leads to, under the name of the order.
    quantity : str, default="test score"
        What is on the curves.
    unit : str, default=None
        Its unit; None if there is none.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the curves.
    figure_ : matplotlib Figure
        Figure of the axes.
    lines_ : dict of str to matplotlib Line2D
        Mean of each curve over the seeds.
    bands_ : dict of str to matplotlib artist
        One standard deviation above and below, for curves with at least two seeds.

    See Also
    --------
    MislabelDisplay : The rows that are removed first.

    Examples
    --------
    >>> from sklearn_synset.inspection import RemovalCurveDisplay
    >>> curves = {"lowest first": [0.80, 0.84], "random": [0.80, 0.79]}
    >>> display = RemovalCurveDisplay([0.0, 0.1], curves).plot()
    >>> display.lines_["lowest first"].get_ydata().tolist()
    [0.8, 0.84]
    """

    def __init__(self, shares, curves, *, quantity="test score", unit=None):
        self.shares = shares
        self.curves = curves
        self.quantity = quantity
        self.unit = unit

    def plot(self, ax=None):
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; those of a new figure if None.

        Returns
        -------
        display : RemovalCurveDisplay
            The display itself.

        Raises
        ------
        ValueError
            If a curve does not have one value for each share.
        """
        percent = 100 * np.asarray(self.shares, dtype=float)
        curves = {name: np.atleast_2d(values) for name, values in self.curves.items()}
        for name, values in curves.items():
            if values.ndim != 2 or values.shape[1] != len(percent):
                raise ValueError(
                    f"curves[{name!r}] must have shape ({len(percent)},) or (n_seeds, "
                    f"{len(percent)}), a value for each share; got {np.shape(self.curves[name])}."
                )
        ax = new_axes("RemovalCurveDisplay.plot", ax, 4.5)
        self.lines_, self.bands_ = {}, {}
        for (name, values), style in zip(curves.items(), cycle(LINE_STYLES), strict=False):
            self._draw(ax, name, percent, values, style)
        suffix = f" ({self.unit})" if self.unit else ""
        ax.set(xlabel="training rows removed (%)", ylabel=f"{self.quantity}{suffix}")
        ax.legend()
        self.ax_, self.figure_ = ax, ax.figure
        return self

    @classmethod
    def from_curve(cls, curve, *, quantity="test score", unit=None, ax=None):
        """Draw what `removal_curve` returned.

        Parameters
        ----------
        curve : Bunch
            As of `sklearn_synset.metrics.removal_curve`: `shares`, and the curves
            `lowest_first`, `highest_first` and `random`.
        quantity : str, default="test score"
            What is on the curves.
        unit : str, default=None
            Its unit; None if there is none.
        ax : matplotlib Axes, default=None
            Axes to draw on; those of a new figure if None.

        Returns
        -------
        display : RemovalCurveDisplay
            Drawn.
        """
        check_matplotlib(f"{cls.__name__}.from_curve")
        curves = {
            "lowest scores first": curve.lowest_first,
            "highest scores first": curve.highest_first,
            "random": curve.random,
        }
        return cls(curve.shares, curves, quantity=quantity, unit=unit).plot(ax)

    def _draw(self, ax, name, percent, values, style):
        mean = values.mean(0)
        label = name if len(values) == 1 else f"{name}, mean ± deviation of {len(values)} seeds"
        (self.lines_[name],) = ax.plot(percent, mean, label=label, markersize=5, **style)
        if len(values) > 1:
            deviation = values.std(0, ddof=1)
            self.bands_[name] = ax.fill_between(
                *(percent, mean - deviation, mean + deviation),
                color=style["color"],
                alpha=_BAND,
                linewidth=0,
            )
