"""What the synset's rows look like, beside real rows of their groups."""

from __future__ import annotations

import numpy as np

from sklearn_synset.inspection._contact_sheet import draw_tile, prepare_sheet, sheet_height, write
from sklearn_synset.inspection._fitted_attributor import (
    check_is_training_set,
    names_of_inputs,
    notes_on_groups,
    unwrapped,
)
from sklearn_synset.inspection._plotting import (
    check_matplotlib,
    group_name,
    new_axes,
    shortened,
    wrapped,
)
from sklearn_synset.inspection._profiles import draw_profiles, profiles_height
from sklearn_synset.inspection._shown_rows import (
    as_pictures,
    names_of_features,
    picture_shape,
    picture_style,
    typical_rows,
)

_N_LINES = 30  # real rows of a group whose profiles are drawn
# Of the contact sheet, in unit squares: room for headings and for names, a line of pictures with
# captions, the distance of two synset rows, and the least width of their heading.
_TOP, _LEFT, _LINE, _STEP, _HEADING = 0.9, 1.6, 1.55, 1.15, 3.4
_HEADING_LENGTH = 36  # characters


class SynsetDisplay:
    """Synset rows of some groups, beside real rows of the same groups.

    Pictures are shown as pictures. Rows of a table are shown as profiles: a line through the
    features, in standard deviations from the mean of the training rows.

    It is recommended to use `from_estimator`. All parameters are stored as attributes.

    Parameters
    ----------
    synset_rows : list of n_groups ndarray of shape (n_synset, n_features...)
        Synset rows of each group.
    targets : list of n_groups ndarray of shape (n_synset, n_outputs)
        Their class probabilities, or values.
    weights : list of n_groups ndarray of shape (n_synset,)
        Training rows that each of them represents.
    groups : array-like of shape (n_groups,)
        Labels of the groups.
    classes : array-like of shape (n_classes,), default=None
        The labels; None for regression.
    real_rows : list of n_groups ndarray of shape (n_real, n_features...), default=None
        Training rows of each group, the most typical first.
    group_notes : list of str of shape (n_groups,), default=None
        A few words on each group.
    feature_names : list of str of shape (n_features,), default=None
        Names of the features.
    image_shape : tuple of int, default=None
        Shape in which rows are pictures; None if they are none.
    mean, scale : ndarray of shape (n_features,), default=None
        Mean and standard deviation of all training rows, for the profiles; those of the shown rows
        if None.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the pictures, or around the profiles.
    figure_ : matplotlib Figure
        Figure of the axes.
    real_images_, synset_images_ : list of list of matplotlib AxesImage, or None
        Pictures of each group.
    captions_ : list of list of matplotlib Text, or None
        What is written below each picture of a synset row.
    panels_ : list of matplotlib Axes, or None
        Axes with the profiles of each group.
    real_lines_, synset_lines_ : list of list of matplotlib Line2D, or None
        Profiles of each group.

    See Also
    --------
    MatchingCurveDisplay : How the synset came to stand for the rows.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_synset.inspection import SynsetDisplay
    >>> rows, targets, weights = np.eye(3), np.array([[0.9, 0.1]] * 3), np.array([1.0, 4.0, 2.5])
    >>> display = SynsetDisplay(
    ...     [rows], [targets], [weights], groups=["north"], classes=["no", "yes"]
    ... ).plot()
    >>> [text.get_text() for text in display.panels_[0].get_legend().get_texts()]
    ['no (0.90) × 1.0', 'no (0.90) × 4.0', 'no (0.90) × 2.5']
    """

    def __init__(
        self,
        synset_rows,
        targets,
        weights,
        *,
        groups,
        classes=None,
        real_rows=None,
        group_notes=None,
        feature_names=None,
        image_shape=None,
        mean=None,
        scale=None,
    ):
        self.synset_rows = synset_rows
        self.targets = targets
        self.weights = weights
        self.groups = groups
        self.classes = classes
        self.real_rows = real_rows
        self.group_notes = group_notes
        self.feature_names = feature_names
        self.image_shape = image_shape
        self.mean = mean
        self.scale = scale

    def plot(self, ax=None):
        """Draw the rows.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on, or whose place the profiles take; those of a new figure if None.

        Returns
        -------
        display : SynsetDisplay
            The display itself.
        """
        self.real_images_ = self.synset_images_ = self.captions_ = None
        self.panels_ = self.real_lines_ = self.synset_lines_ = None
        if self.image_shape is None:
            ax = self._plot_profiles(ax)
        else:
            ax = self._plot_pictures(ax)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X_train=None,
        y_train=None,
        *,
        groups=None,
        n_groups=4,
        n_rows=4,
        feature_names=None,
        image_shape=None,
        ax=None,
    ):
        """Draw synset rows of a fitted attributor.

        Parameters
        ----------
        estimator : SynsetAttributor or Pipeline
            Fitted; a pipeline ends in an attributor. Rows are shown as its last step sees them.
        X_train : array-like of shape (n_rows, n_features...), default=None
            The rows that `fit` was given; only the synset is shown if None.
        y_train : array-like of shape (n_rows,), default=None
            Their labels or values, to say what the groups hold.
        groups : array-like, default=None
            Labels of the groups to show; some from the first to the last if None.
        n_groups : int, default=4
            Groups to show when `groups` is None.
        n_rows : int, default=4
            The most synset rows (those of the largest weight), and pictures of real rows, of each
            group.
        feature_names : array-like of str, default=None
            Names of the features; those of the rows, or x0, x1, … if None.
        image_shape : tuple of int, default=None
            Shape in which rows are pictures; that of the rows or of `input_shape` if None.
        ax : matplotlib Axes, default=None
            As of `plot`.

        Returns
        -------
        display : SynsetDisplay
            Drawn.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        attributor, to_inputs = unwrapped(estimator)
        positions = _positions(attributor.groups_, groups, n_groups)
        shown = attributor.groups_[positions]
        synset = [_heaviest(attributor, group, n_rows) for group in shown]
        shape = picture_shape(attributor.X_synset_, attributor.input_shape, image_shape)
        notes = notes_on_groups(attributor, y_train)
        if shape is None and feature_names is None:
            feature_names = names_of_inputs(estimator, X_train)
        n_features = attributor.X_synset_[0].size
        display = cls(
            [attributor.X_synset_[rows] for rows in synset],
            [attributor.y_synset_[rows] for rows in synset],
            [attributor.sample_weight_synset_[rows] for rows in synset],
            groups=shown,
            classes=attributor.classes_,
            group_notes=[notes[k] for k in positions],
            feature_names=None if shape else names_of_features(None, n_features, feature_names),
            image_shape=shape,
        )
        if X_train is not None:
            check_is_training_set(attributor, X_train, "X_train")
            inputs = np.asarray(to_inputs(X_train))
            flat = inputs.reshape(len(inputs), -1)
            display.mean, display.scale = flat.mean(0, dtype=float), flat.std(0, dtype=float)
            rows = typical_rows(inputs, attributor.group_labels_, shown, None)
            display.real_rows = [inputs[_spread(each, n_rows, shape)] for each in rows]
        return display.plot(ax)

    def _group_text(self, k: int, separator: str) -> str:
        name = group_name(self.groups[k])
        return name if self.group_notes is None else f"{name}{separator}{self.group_notes[k]}"

    def _captions(self, k: int, length: int) -> list[str]:
        """Say of a group's synset rows what they are taught, and how much they weigh."""
        return [
            f"{_taught(target, self.classes, length)} × {weight:.1f}"
            for target, weight in zip(self.targets[k], self.weights[k], strict=True)
        ]

    def _plot_profiles(self, ax):
        rows = [np.asarray(each).reshape(len(each), -1) for each in self.synset_rows]
        real = [np.empty((0, rows[0].shape[1]))] * len(rows)
        if self.real_rows is not None:
            real = [np.asarray(each).reshape(len(each), -1) for each in self.real_rows]
        every = np.concatenate([*real, *rows])
        mean = every.mean(0) if self.mean is None else np.asarray(self.mean)
        scale = every.std(0) if self.scale is None else np.asarray(self.scale)
        scale = np.where(scale > 0, scale, 1.0)
        names = names_of_features(None, len(mean), self.feature_names)
        ax = new_axes("SynsetDisplay.plot", ax, profiles_height(len(rows), names))
        self.panels_, self.real_lines_, self.synset_lines_ = draw_profiles(
            ax,
            [(each - mean) / scale for each in real],
            [(each - mean) / scale for each in rows],
            titles=[self._group_text(k, ": ") for k in range(len(rows))],
            labels=[self._captions(k, 12) for k in range(len(rows))],
            names=names,
            heading=f"synset rows: {self._legend()}",
        )
        return ax

    def _legend(self) -> str:
        taught = "value" if self.classes is None else "likeliest class (probability)"
        return f"{taught} × training rows it represents"

    def _plot_pictures(self, ax):
        n_real = 0 if self.real_rows is None else max(map(len, self.real_rows))
        middle = _LEFT + n_real + (0.4 if n_real else 0)
        width = middle + max(_STEP * max(map(len, self.synset_rows)), _HEADING)
        size = width, _TOP + len(self.groups) * _LINE
        ax = new_axes("SynsetDisplay.plot", ax, sheet_height(*size))
        prepare_sheet(ax, *size)
        rows = [*(self.real_rows or []), *self.synset_rows]
        pictures, style = picture_style(as_pictures(np.concatenate(rows), self.image_shape))
        parts = np.split(pictures, np.cumsum([len(each) for each in rows])[:-1])
        n_groups = len(self.groups)
        if n_real:
            self.real_images_ = _draw_lines(ax, parts[:n_groups], _LEFT, 1, style)
            write(ax, "typical real rows", _LEFT, _TOP - 0.1, ha="left", va="bottom")
        self.synset_images_ = _draw_lines(ax, parts[-n_groups:], middle, _STEP, style)
        heading = "synset rows:\n" + wrapped(self._legend(), _HEADING_LENGTH)
        write(ax, heading, middle, _TOP - 0.1, ha="left", va="bottom")
        self.captions_ = [self._write_line(ax, k, middle) for k in range(n_groups)]
        return ax

    def _write_line(self, ax, k, middle) -> list:
        """Write what a line of pictures is, and return the captions of its synset rows."""
        top = _TOP + k * _LINE
        parts = self._group_text(k, "\n").split("\n")
        text = "\n".join(wrapped(part, 14) for part in parts)
        write(ax, text, _LEFT - 0.15, top + 0.5, ha="right", va="center")
        captions = [each.replace(" ×", "\n×") for each in self._captions(k, 6)]
        places = middle + 0.5 + _STEP * np.arange(len(captions))
        return [
            write(ax, *(each, place, top + 1.05))
            for each, place in zip(captions, places, strict=True)
        ]


def _draw_lines(ax, pictures: list[np.ndarray], left: float, step: float, style) -> list[list]:
    """Draw a line of pictures for each group."""
    return [
        [
            draw_tile(ax, picture, left + i * step, _TOP + k * _LINE, style)
            for i, picture in enumerate(of_group)
        ]
        for k, of_group in enumerate(pictures)
    ]


def _positions(known: np.ndarray, groups, n_groups: int) -> np.ndarray:
    """Return which of the known groups are shown."""
    if groups is None:
        n_groups = min(n_groups, len(known))
        return np.linspace(0, len(known) - 1, n_groups).round().astype(int)
    groups = np.atleast_1d(np.asarray(groups))
    unknown = np.setdiff1d(groups, known)
    if len(unknown):
        raise ValueError(f"groups holds {unknown.tolist()}, which are not in groups_.")
    return np.searchsorted(known, groups)


def _heaviest(attributor, group, n: int) -> np.ndarray:
    """Return the positions of a group's synset rows with the largest weights."""
    rows = np.flatnonzero(attributor.synset_groups_ == group)
    return rows[np.argsort(-attributor.sample_weight_synset_[rows], kind="stable")[:n]]


def _spread(rows: np.ndarray, n_pictures: int, shape) -> np.ndarray:
    """Return the most typical rows for pictures, and some of every kind for profiles."""
    if shape is not None:
        return rows[:n_pictures]
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), _N_LINES)).round().astype(int)]


def _taught(target: np.ndarray, classes, length: int) -> str:
    if classes is not None:
        likeliest = int(np.argmax(target))
        return f"{shortened(classes[likeliest], length)} ({target[likeliest]:.2f})"
    return shortened(", ".join(f"{value:.3g}" for value in target), length + 7)
