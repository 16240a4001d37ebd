"""Whether predicted effects are those that are measured."""

from __future__ import annotations

import numpy as np

from sklearn_synset._statistics.rank_correlation import mean_rank_correlation
from sklearn_synset._statistics.slope import least_squares_slope
from sklearn_synset.inspection._fitted_attributor import quantity_and_unit, unwrapped
from sklearn_synset.inspection._plotting import (
    HELPS,
    HURTS,
    MUTED,
    check_matplotlib,
    effect_label,
    new_axes,
)
from sklearn_synset.metrics._leave_one_out_correlation import leave_one_out_ceiling

_MANY = 1000  # points


class FidelityDisplay:
    """Predicted against measured effects of leaving groups out.

    Each point is one group and one query. The dashed line is where predictions are right in their
    order *and* in their size; the slope of the other line is above 1 where they are too small.

    It is recommended to use `from_estimator` or `from_effects`. All parameters are stored as
    attributes.

    Parameters
    ----------
    predicted : ndarray of shape (n_queries, n_removals)
        Effects that the attributor predicts.
    measured : ndarray of shape (n_queries, n_removals)
        Effects of really leaving the same groups out.
    rank_correlation : float
        Spearman correlation over the removals, mean over queries.
    slope : float
        Least-squares slope of the measured on the predicted effects.
    ceiling : float, default=None
        The same rank correlation of one real retraining with the others; None if unknown.
    quantity : str, default="log-odds"
        What the effects are on.
    unit : str, default="nats"
        Unit of the effects; None if there is none.
    measured_by : str, default="retraining"
        How the effects were measured.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the points.
    figure_ : matplotlib Figure
        Figure of the axes.
    scatter_ : matplotlib PathCollection
        The points.
    diagonal_ : matplotlib Line2D
        Where both effects are equal.
    line_ : matplotlib Line2D or None
        Line with the slope; None if the slope is not finite.

    See Also
    --------
    AttributionDisplay : The effects themselves.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_synset.inspection import FidelityDisplay
    >>> predicted = np.array([[0.0, 1.0, 2.0], [1.0, 0.0, -1.0]])
    >>> display = FidelityDisplay.from_effects(predicted, 1.5 * predicted)
    >>> round(display.slope, 6), round(display.rank_correlation, 6)
    (1.5, 1.0)
    """

    def __init__(
        self,
        predicted,
        measured,
        *,
        rank_correlation,
        slope,
        ceiling=None,
        quantity="log-odds",
        unit="nats",
        measured_by="retraining",
    ):
        self.predicted = predicted
        self.measured = measured
        self.rank_correlation = rank_correlation
        self.slope = slope
        self.ceiling = ceiling
        self.quantity = quantity
        self.unit = unit
        self.measured_by = measured_by

    def plot(self, ax=None):
        """Draw the points, the diagonal and the line.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; those of a new figure if None.

        Returns
        -------
        display : FidelityDisplay
            The display itself.

        Raises
        ------
        ValueError
            If the effects are not of the same shape, or there are none.
        """
        x, y = np.asarray(self.predicted, dtype=float), np.asarray(self.measured, dtype=float)
        if x.shape != y.shape or x.ndim != 2 or not x.size:
            raise ValueError(
                "predicted and measured must have the same shape (n_queries, n_removals), at least "
                f"(1, 1); got {x.shape} and {y.shape}."
            )
        ax = new_axes("FidelityDisplay.plot", ax, 6)
        span = _span(x, y)
        (self.diagonal_,) = ax.plot(
            span, span, color=MUTED, linestyle="--", label="predicted = measured", zorder=1
        )
        is_many = x.size > _MANY
        self.scatter_ = ax.scatter(
            *(x.ravel(), y.ravel()),
            s=np.clip(2000 / x.size, 6, 40),
            color=HELPS,
            alpha=0.25 if is_many else 0.6,
            linewidths=0,
            rasterized=is_many,
            zorder=2 if is_many else 4,
        )
        self.line_ = self._draw_line(ax, span, x, y)
        effect = effect_label(self.quantity, self.unit)
        ax.set(xlim=span, ylim=span, aspect="equal", xlabel=f"predicted {effect}")
        ax.set_ylabel(f"{effect}\nmeasured by {self.measured_by}")
        ax.set_title(self._title(x.shape), fontsize="medium")
        # A steep line passes the upper left corner, a flat one the lower right.
        ax.legend(loc="lower right" if self.slope > 1 else "upper left")
        self.ax_, self.figure_ = ax, ax.figure
        return self

    @classmethod
    def from_estimator(cls, estimator, X, y=None, *, unit=None, ax=None):
        """Compare with the probes, groups that `fit` left out of the real training rows.

        Parameters
        ----------
        estimator : SynsetAttributor or Pipeline
            Fitted; a pipeline ends in an attributor.
        X : array-like of shape (n_queries, n_features...)
            Queries, best not seen in `fit`.
        y : array-like of shape (n_queries,), default=None
            Their labels or values; the predicted ones if None.
        unit : str, default=None
            Unit of the target of a regression.
        ax : matplotlib Axes, default=None
            Axes to draw on; those of a new figure if None.

        Returns
        -------
        display : FidelityDisplay
            Drawn.

        Raises
        ------
        ValueError
            If the attributor was fitted without probes.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        attributor, to_inputs = unwrapped(estimator)
        predicted, measured = attributor._probed_effects(to_inputs(X), y)
        if not predicted.shape[1]:
            raise ValueError("There is nothing to compare with: fit with n_probes above 0.")
        quantity, unit = quantity_and_unit(attributor, unit=unit)
        return cls(
            *(predicted, measured),
            rank_correlation=mean_rank_correlation(predicted, measured),
            slope=least_squares_slope(predicted, measured)[0],
            quantity=quantity,
            unit=unit,
            measured_by="rewinding" if attributor._probes.reason else "probes of the real rows",
        ).plot(ax)

    @classmethod
    def from_effects(
        cls, predicted, measured, *, quantity="log-odds", unit="nats", measured_by=None, ax=None
    ):
        """Compare with effects of real retraining.

        Parameters
        ----------
        predicted : array-like of shape (n_queries, n_removals)
            Predicted effects, such as columns of `SynsetAttributor.attribute`.
        measured : array-like of shape (n_queries, n_removals) or (n_seeds, n_queries, n_removals)
            Effects of retraining without the same groups. With several seeds their mean is
            drawn, and the ceiling is how well one of them agrees with the mean of the others.
        quantity : str, default="log-odds"
            What the effects are on.
        unit : str, default="nats"
            Unit of the effects; None if there is none.
        measured_by : str, default=None
            How they were measured; "retraining" if None.
        ax : matplotlib Axes, default=None
            Axes to draw on; those of a new figure if None.

        Returns
        -------
        display : FidelityDisplay
            Drawn.
        """
        check_matplotlib(f"{cls.__name__}.from_effects")
        predicted, measured = np.asarray(predicted), np.asarray(measured)
        seeds = measured if measured.ndim == 3 else measured[None]
        has_ceiling = measured.ndim == 3 and len(seeds) > 1 and seeds.shape[2] > 1
        by = "retraining" if measured_by is None else measured_by
        display = cls(
            *(predicted, seeds.mean(0)),
            rank_correlation=float("nan"),
            slope=float("nan"),
            ceiling=leave_one_out_ceiling(seeds) if has_ceiling else None,
            quantity=quantity,
            unit=unit,
            measured_by=by if len(seeds) == 1 else f"{by}, mean of {len(seeds)} seeds",
        )
        if predicted.shape == seeds.shape[1:]:
            display.rank_correlation = mean_rank_correlation(predicted, display.measured)
            display.slope = least_squares_slope(predicted, display.measured)[0]
        return display.plot(ax)

    def _draw_line(self, ax, span, x, y):
        if not np.isfinite(self.slope):
            return None
        height = y.mean() + self.slope * (span - x.mean())
        label = f"least squares, slope {self.slope:.2f}"
        (line,) = ax.plot(span, height, color=HURTS, linewidth=2.5, label=label, zorder=3)
        return line

    def _title(self, shape) -> str:
        n_queries, n_groups = shape
        counts = f"{n_groups} group{'s' * (n_groups != 1)}, "
        counts += f"{n_queries} quer{'ies' if n_queries != 1 else 'y'}"
        title = f"{counts}: rank correlation {self.rank_correlation:.2f}"
        if self.ceiling is not None:
            title += f"\none real retraining with the others: {self.ceiling:.2f}"
        return title


def _span(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the common limits of both axes, with room around the points."""
    low, high = min(x.min(), y.min()), max(x.max(), y.max())
    room = 0.05 * (high - low) or 1.0
    return np.array([low - room, high + room])
