"""Which rows do not look like their labels."""

from __future__ import annotations

import numpy as np

from sklearn_synset.inspection._contact_sheet import draw_tile, prepare_sheet, sheet_height, write
from sklearn_synset.inspection._fitted_attributor import (
    predictions,
    quantity_and_unit,
    unwrapped,
)
from sklearn_synset.inspection._plotting import (
    HURTS,
    SMALL,
    check_matplotlib,
    new_axes,
    shortened,
    signed,
)
from sklearn_synset.inspection._shown_rows import (
    as_pictures,
    names_of_features,
    picture_shape,
    picture_style,
    take,
)
from sklearn_synset.inspection._side_table import draw_columns, text_of

_N_COLUMNS = 6  # of pictures
_LINE, _TOP, _STEP = 1.5, 0.55, 1.25  # of the contact sheet, in unit squares
_N_FEATURES = 3  # columns of the table beside the bars, after the two labels


class MislabelDisplay:
    """The rows with the lowest scores, with their given and their suggested labels.

    Pictures are shown as a contact sheet, rows of a table as bars of their scores beside the
    features in which they are unusual for their label, both with the probability that the given
    label is wrong. The most suspicious row comes first.

    It is recommended to use `from_estimator`. All parameters are stored as attributes.

    Parameters
    ----------
    rows : ndarray of shape (n_shown, n_features...)
        The rows, the most suspicious first.
    scores : ndarray of shape (n_shown,)
        Their scores, as of `SynsetAttributor.score_samples`; low is suspicious.
    given, suggested : array-like of shape (n_shown,)
        Given and suggested labels or values.
    wrong_probability : ndarray of shape (n_shown,), default=None
        How likely each given label is wrong, as of `SynsetAttributor.suggest_labels`; not shown if
        None.
    suggestion : str, default="suggested"
        What the suggested labels or values are called.
    names : array-like of shape (n_shown,), default=None
        What the rows are called; 0, 1, … if None.
    quantity : str, default="log-odds"
        What the score is.
    unit : str, default="nats"
        Its unit; None if there is none.
    feature_names : list of str of shape (n_features,), default=None
        Names of the features.
    features : array-like of int, default=None
        Features to write down for rows of a table; the first three if None.
    image_shape : tuple of int, default=None
        Shape in which rows are pictures; None if they are none.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the contact sheet or the bars.
    figure_ : matplotlib Figure
        Figure of the axes.
    images_ : list of matplotlib AxesImage, or None
        The pictures.
    captions_ : list of matplotlib Text, or None
        What is written below each picture.
    bars_ : matplotlib BarContainer or None
        The scores of rows of a table, from the top.
    table_ : list of list of matplotlib Annotation, or None
        Header and lines of each column beside the bars.

    See Also
    --------
    SynsetAttributor.score_samples : The scores.
    SynsetAttributor.suggest_labels : Suggested labels, and how likely given ones are wrong.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_synset.inspection import MislabelDisplay
    >>> display = MislabelDisplay(
    ...     np.eye(2), np.array([-3, -1]), given=["cat", "dog"], suggested=["dog", "dog"]
    ... ).plot()
    >>> [int(bar.get_width()) for bar in display.bars_]
    [-3, -1]
    """

    def __init__(
        self,
        rows,
        scores,
        *,
        given,
        suggested,
        wrong_probability=None,
        suggestion="suggested",
        names=None,
        quantity="log-odds",
        unit="nats",
        feature_names=None,
        features=None,
        image_shape=None,
    ):
        self.rows = rows
        self.scores = scores
        self.given = given
        self.suggested = suggested
        self.wrong_probability = wrong_probability
        self.suggestion = suggestion
        self.names = names
        self.quantity = quantity
        self.unit = unit
        self.feature_names = feature_names
        self.features = features
        self.image_shape = image_shape

    def plot(self, ax=None):
        """Draw the rows.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; those of a new figure if None.

        Returns
        -------
        display : MislabelDisplay
            The display itself.

        Raises
        ------
        ValueError
            If there is not one score and one of each label for each row, or no row.
        """
        lengths = {len(self.rows), len(self.scores), len(self.given), len(self.suggested)}
        if len(lengths) > 1 or not len(self.rows):
            raise ValueError(
                "rows, scores, given and suggested must be of one length, at least 1; got "
                f"{len(self.rows)}, {len(self.scores)}, {len(self.given)}, {len(self.suggested)}."
            )
        self.images_ = self.captions_ = self.bars_ = self.table_ = None
        self.ax_ = self._plot_bars(ax) if self.image_shape is None else self._plot_sheet(ax)
        self.figure_ = self.ax_.figure
        return self

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        y,
        *,
        n_rows=18,
        unit=None,
        feature_names=None,
        image_shape=None,
        ax=None,
    ):
        """Score rows and draw the most suspicious.

        Parameters
        ----------
        estimator : SynsetAttributor or Pipeline
            Fitted; a pipeline ends in an attributor.
        X : array-like of shape (n_samples, n_features...)
            Rows, such as those that `fit` was given.
        y : array-like of shape (n_samples,)
            Their labels or values.
        n_rows : int, default=18
            Rows to show.
        unit : str, default=None
            Unit of the target of a regression.
        feature_names : array-like of str, default=None
            Names of the features; those of a DataFrame, or x0, x1, … if None.
        image_shape : tuple of int, default=None
            Shape in which rows are pictures; that of `X` or of `input_shape` if None.
        ax : matplotlib Axes, default=None
            Axes to draw on; those of a new figure if None.

        Returns
        -------
        display : MislabelDisplay
            Drawn. The suggested label is that of `SynsetAttributor.suggest_labels`, the predicted
            value for a regression.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        attributor, to_inputs = unwrapped(estimator)
        inputs, y = to_inputs(X), np.asarray(y)
        scores = attributor.score_samples(inputs, y)
        lowest = np.argsort(scores, kind="stable")[:n_rows]
        objective = "loss" if _is_prediction(attributor) else None
        quantity, unit = quantity_and_unit(attributor, objective, unit)
        if attributor.classes_ is None:
            suggested, wrong = predictions(attributor, inputs)[lowest], None
        else:
            found = attributor.suggest_labels(inputs, y)
            suggested, wrong = found.label[lowest], found.wrong_probability[lowest]
        shape = picture_shape(X, attributor.input_shape, image_shape)
        names = getattr(X, "index", np.arange(len(scores)))
        features = None
        if shape is None:
            columns = take(X, np.arange(len(scores)))
            features = _unusual_features(columns, y, lowest, attributor.classes_)
        return cls(
            take(X, lowest),
            scores[lowest],
            given=y[lowest],
            suggested=suggested,
            wrong_probability=wrong,
            suggestion="predicted" if attributor.classes_ is None else "suggested",
            names=np.asarray(names)[lowest],
            quantity=quantity,
            unit=unit,
            feature_names=None if shape else names_of_features(X, X.shape[1], feature_names),
            features=features,
            image_shape=shape,
        ).plot(ax)

    def _name(self, row: int, length: int) -> str:
        return shortened(row if self.names is None else self.names[row], length)

    def _score_label(self) -> str:
        suffix = f" ({self.unit})" if self.unit else ""
        of = "" if self.suggestion == "predicted" else " of the given label"
        return f"out-of-fold {self.quantity}{of}{suffix}"

    def _plot_sheet(self, ax):
        n_columns = min(_N_COLUMNS, max(len(self.rows), 4))
        n_lines = -(-len(self.rows) // n_columns)
        size = n_columns * _STEP, _TOP + n_lines * _LINE
        ax = new_axes("MislabelDisplay.plot", ax, sheet_height(*size))
        prepare_sheet(ax, *size)
        pictures, style = picture_style(as_pictures(self.rows, self.image_shape))
        lines, columns = np.divmod(np.arange(len(pictures)), n_columns)
        left, top = columns * _STEP + (_STEP - 1) / 2, _TOP + lines * _LINE
        corners = list(zip(left, top, strict=True))
        self.images_ = [
            draw_tile(ax, picture, *corner, style)
            for picture, corner in zip(pictures, corners, strict=True)
        ]
        self.captions_ = [
            write(ax, self._caption(row), x + 0.5, y + 1.03) for row, (x, y) in enumerate(corners)
        ]
        heading = f"given → {self.suggestion}\n"
        is_scored = self.wrong_probability is None
        shown = self._score_label() if is_scored else "probability that the given label is wrong"
        heading += f"row: {shown}"
        write(ax, heading, (_STEP - 1) / 2, _TOP - 0.08, ha="left", va="bottom")
        return ax

    def _caption(self, row: int) -> str:
        given, suggested = (
            shortened(text_of(each[row]), 9) for each in (self.given, self.suggested)
        )
        wrong = self.wrong_probability
        value = signed(self.scores[row]) if wrong is None else f"{wrong[row]:.0%}"
        return f"{given} → {suggested}\n{self._name(row, 9)}: {value}"

    def _plot_bars(self, ax):
        rows, scores = np.asarray(self.rows), np.asarray(self.scores)
        places = np.arange(len(rows))
        ax = new_axes("MislabelDisplay.plot", ax, max(3.2, 1.8 + 0.28 * len(rows)))
        self.bars_ = ax.barh(places, scores, color=HURTS, height=0.65)
        ax.axvline(0, color="black", linewidth=0.8)
        ax.set_yticks(places, [self._name(row, 18) for row in range(len(rows))], fontsize=SMALL)
        ax.set(ylim=(len(rows) - 0.5, -0.5), ylabel="row, the most suspicious first")
        ax.set_xlabel(self._score_label())
        wrong = self.wrong_probability
        columns = {} if wrong is None else {"wrong": [f"{share:.0%}" for share in wrong]}
        features = np.arange(rows[0].size)[:_N_FEATURES] if self.features is None else self.features
        names = names_of_features(None, rows[0].size, self.feature_names)
        self.table_, _ = draw_columns(
            ax,
            ["given", self.suggestion, *columns, *(names[feature] for feature in features)],
            [
                list(self.given),
                list(self.suggested),
                *columns.values(),
                *(list(rows[:, feature]) for feature in features),
            ],
            0.0,
        )
        return ax


def _is_prediction(attributor) -> bool:
    return attributor.classes_ is None and attributor.objective in ("auto", "prediction")


def _unusual_features(X: np.ndarray, y: np.ndarray, shown: np.ndarray, classes) -> np.ndarray:
    """Return the features in which the shown rows are farthest from others of their label."""
    labels = y if classes is not None else np.zeros(len(X))
    distances = [_mean_distance(column, labels, shown) for column in X.reshape(len(X), -1).T]
    return np.sort(np.argsort(-np.array(distances), kind="stable")[:_N_FEATURES])


def _mean_distance(column: np.ndarray, labels: np.ndarray, shown: np.ndarray) -> float:
    """Return how far some values are from the mean of their label, in standard deviations."""
    try:
        column = column.astype(float)
    except (TypeError, ValueError):
        return 0.0
    _, codes = np.unique(labels, return_inverse=True)
    counts = np.bincount(codes)
    rest = column - (np.bincount(codes, column) / counts)[codes]
    scale = np.sqrt(np.bincount(codes, rest**2) / counts)[codes]
    distance = np.divide(np.abs(rest), scale, out=np.zeros(len(rest)), where=scale > 0)
    return float(distance[shown].mean())
