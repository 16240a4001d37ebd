"""Which groups hold predictions up, and which pull them down."""

from __future__ import annotations

import numpy as np

from sklearn_synset.inspection._fitted_attributor import (
    check_is_training_set,
    effects_and_errors,
    notes_on_groups,
    objective_values,
    predictions,
    quantity_and_unit,
    unwrapped,
)
from sklearn_synset.inspection._plotting import (
    HELPS,
    HURTS,
    MEASURED,
    SMALL,
    check_matplotlib,
    effect_label,
    group_name,
    new_axes,
    set_thinned_ticks,
    shortened,
    signed,
    wrapped,
)
from sklearn_synset.inspection._shown_rows import (
    as_pictures,
    names_of_features,
    picture_shape,
    picture_style,
    take,
    telling_features,
    typical_rows,
)
from sklearn_synset.inspection._side_table import (
    ABOVE,
    THUMBNAIL,
    draw_columns,
    draw_picture,
    draw_thumbnails,
    text_of,
)

_N_FEATURES = 4  # columns of the table beside the bars
_NOISE, _PALE = 2, 0.4  # standard errors below which bars are pale, and their opacity
_QUANTILE = 0.99  # of the effects that the colours span
_MAX_WRITTEN = 20  # queries whose effects are written into the map
_MAX_CHARACTERS = 80  # in a line of it
_SHORTEST_LINE = 9
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])


class AttributionDisplay:
    """Effects of groups of training rows on predictions.

    Several queries are shown as a map, queries by groups. One query is shown by bars, its
    strongest groups from those that hold it up to those that pull it down, with typical rows of
    these groups as pictures or as a small table.

    It is recommended to use `from_estimator`. All parameters are stored as attributes.

    Parameters
    ----------
    attributions : ndarray of shape (n_queries, n_groups)
        Effects, positive when the group helps, as of `SynsetAttributor.attribute`.
    groups : array-like of shape (n_groups,)
        Labels of the groups.
    queries : array-like of shape (n_queries,), default=None
        Names of the queries; 0, 1, … if None.
    quantity : str, default="log-odds"
        What the effects are on.
    unit : str, default="nats"
        Unit of the effects; None if there is none.
    group_notes : list of str of shape (n_groups,), default=None
        A few words on each group.
    query_notes : list of str of shape (n_queries,), default=None
        A sentence or two on each query.
    typical_rows : list of n_groups ndarray of shape (n_typical, n_features...), default=None
        Rows that stand for each group, the most typical first.
    query_rows : ndarray of shape (n_queries, n_features...), default=None
        The queries themselves.
    feature_names : list of str of shape (n_features,), default=None
        Names of the features of these rows.
    image_shape : tuple of int, default=None
        Shape in which these rows are pictures; None if they are none.
    standard_errors : ndarray of shape (n_queries, n_groups), default=None
        Standard errors of the effects, as of `attribute(..., return_std=True)`, drawn as whiskers
        of the bars. Bars of effects below two of them are pale.
    retrained : ndarray of shape (n_seeds, n_queries, n_groups), default=None
        Effects measured by retraining, drawn over the bars with their deviation over
        seeds; NaN where it was not done.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the map or the bars.
    figure_ : matplotlib Figure
        Figure of the axes.
    im_ : matplotlib AxesImage or None
        The map.
    colorbar_ : matplotlib Colorbar or None
        Its scale.
    text_ : list of list of matplotlib Text, or None
        Effects that are written into the map, when they are few.
    query_picture_ : matplotlib AnnotationBbox or None
        Picture of the query whose bars are drawn.
    bars_ : matplotlib BarContainer or None
        The bars of one query, from the top.
    shown_groups_ : ndarray of shape (n_bars,) or None
        Positions of the groups of the bars.
    thumbnails_ : list of list of matplotlib AnnotationBbox, or None
        Pictures of typical rows beside each bar.
    table_ : list of list of matplotlib Annotation, or None
        Header and lines of each column of the table beside the bars.
    errorbar_ : matplotlib ErrorbarContainer or None
        Effects by retraining.

    See Also
    --------
    FidelityDisplay : Whether these effects can be trusted.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_synset.inspection import AttributionDisplay
    >>> effects = np.array([[1.2, -0.4, 0.1]])
    >>> display = AttributionDisplay(effects, groups=["north", "south", "west"]).plot()
    >>> [label.get_text() for label in display.ax_.get_yticklabels()]
    ['north', 'west', 'south']
    """

    def __init__(
        self,
        attributions,
        *,
        groups,
        queries=None,
        quantity="log-odds",
        unit="nats",
        group_notes=None,
        query_notes=None,
        typical_rows=None,
        query_rows=None,
        feature_names=None,
        image_shape=None,
        standard_errors=None,
        retrained=None,
    ):
        self.attributions = attributions
        self.groups = groups
        self.queries = queries
        self.quantity = quantity
        self.unit = unit
        self.group_notes = group_notes
        self.query_notes = query_notes
        self.typical_rows = typical_rows
        self.query_rows = query_rows
        self.feature_names = feature_names
        self.image_shape = image_shape
        self.standard_errors = standard_errors
        self.retrained = retrained

    def plot(self, ax=None, *, query=None, n_groups=10, cmap="cividis_r"):
        """Draw the map of all queries, or the bars of one.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; those of a new figure if None.
        query : int, default=None
            Position of the query whose bars are drawn; None draws the map, unless there is only
            one query.
        n_groups : int, default=10
            The most bars.
        cmap : str or matplotlib Colormap, default="cividis_r"
            Colours of the map, from opposing to supporting effects. The default
            darkens all the way, so that it reads in grey.

        Returns
        -------
        display : AttributionDisplay
            The display itself.

        Raises
        ------
        ValueError
            If the arrays do not fit each other, or there is no such query.
        """
        effects = self._checked_effects()
        query = 0 if query is None and len(effects) == 1 else query
        if query is not None and not -len(effects) <= query < len(effects):
            raise ValueError(f"query must be a position among {len(effects)}, got {query}.")
        self.im_ = self.colorbar_ = self.text_ = self.bars_ = self.shown_groups_ = None
        self.query_picture_ = self.thumbnails_ = self.table_ = self.errorbar_ = None
        if query is None:
            self._plot_map(ax, effects, cmap)
        else:
            self._plot_bars(ax, effects[query], query % len(effects), n_groups)
        return self

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        y=None,
        *,
        X_train=None,
        y_train=None,
        retrained=None,
        objective=None,
        unit=None,
        feature_names=None,
        image_shape=None,
        n_typical=4,
        query=None,
        n_groups=10,
        cmap="cividis_r",
        ax=None,
    ):
        """Attribute queries and draw the result.

        Parameters
        ----------
        estimator : SynsetAttributor or Pipeline
            Fitted; a pipeline ends in an attributor.
        X : array-like of shape (n_queries, n_features...)
            Queries.
        y : array-like of shape (n_queries,), default=None
            Their labels or values; the predicted ones if None.
        X_train : array-like of shape (n_rows, n_features...), default=None
            The rows that `fit` was given, to show some beside the bars.
        y_train : array-like of shape (n_rows,), default=None
            Their labels or values, to say what the groups hold.
        retrained : ndarray of shape (n_seeds, n_queries, n_groups), default=None
            Effects on the same objective that were measured by retraining.
        objective : str or callable, default=None
            As of `SynsetAttributor.attribute`.
        unit : str, default=None
            Unit of the target of a regression.
        feature_names : array-like of str, default=None
            Names of the features; those of a DataFrame, or x0, x1, … if None.
        image_shape : tuple of int, default=None
            Shape in which rows are pictures; that of `X` or of `input_shape` if None.
        n_typical : int, default=4
            Pictures of typical rows beside each bar.
        query : int, default=None
            As of `plot`.
        n_groups : int, default=10
            As of `plot`.
        cmap : str or matplotlib Colormap, default="cividis_r"
            As of `plot`.
        ax : matplotlib Axes, default=None
            As of `plot`.

        Returns
        -------
        display : AttributionDisplay
            Drawn.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        attributor, to_inputs = unwrapped(estimator)
        inputs = to_inputs(X)
        quantity, unit = quantity_and_unit(attributor, objective, unit)
        shape = picture_shape(X, attributor.input_shape, image_shape)
        typical = None
        if X_train is not None:
            check_is_training_set(attributor, X_train, "X_train")
            rows = typical_rows(
                np.asarray(to_inputs(X_train)),
                attributor.group_labels_,
                attributor.groups_,
                n_typical if shape else 1,
            )
            typical = [take(X_train, of_group) for of_group in rows]
        effects, errors = effects_and_errors(attributor, inputs, y, objective)
        display = cls(
            effects,
            standard_errors=errors,
            retrained=retrained,
            groups=attributor.groups_,
            queries=getattr(X, "index", None),
            quantity=quantity,
            unit=unit,
            group_notes=notes_on_groups(attributor, y_train),
            query_notes=_notes_on_queries(attributor, inputs, y, objective, quantity, unit),
            typical_rows=typical,
            query_rows=take(X, np.arange(len(X))),
            feature_names=None if shape else names_of_features(X, X.shape[1], feature_names),
            image_shape=shape,
        )
        return display.plot(ax, query=query, n_groups=n_groups, cmap=cmap)

    def _checked_effects(self) -> np.ndarray:
        effects = np.asarray(self.attributions)
        if effects.ndim != 2 or effects.shape[1] != len(self.groups) or not effects.size:
            raise ValueError(
                f"attributions must have shape (n_queries, {len(self.groups)}), a column for each "
                f"group; got {effects.shape}."
            )
        return effects

    def _name(self, query: int) -> str:
        return shortened(query if self.queries is None else self.queries[query], 18)

    def _plot_map(self, ax, effects, cmap):
        n_queries, n_groups = effects.shape
        height = float(np.clip(1.8 + 0.25 * n_queries, 2.8, 7))
        ax = new_axes("AttributionDisplay.plot", ax, height)
        limit = np.quantile(np.abs(effects), _QUANTILE, method="higher") or 1.0
        self.im_ = ax.imshow(
            effects, cmap=cmap, vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest"
        )
        names, rotation = _column_labels(self.groups)
        set_thinned_ticks(ax.xaxis, names, 35, rotation=rotation, fontsize=SMALL)
        labels = [self._name(query) for query in range(n_queries)]
        set_thinned_ticks(ax.yaxis, labels, int(4 * (height - 1)), fontsize=SMALL)
        ax.set(xlabel="group of training rows", ylabel="query")
        self.colorbar_ = ax.figure.colorbar(
            self.im_, ax=ax, extend="both" if np.abs(effects).max() > limit else "neither"
        )
        self.colorbar_.set_label(
            f"← opposes    {effect_label(self.quantity, self.unit)}    supports →"
            if height > 4.5
            else f"{effect_label(self.quantity, self.unit)}\npositive: the group holds it up"
        )
        if n_queries <= _MAX_WRITTEN:
            self.text_ = _write_effects(ax, self.im_, effects)
        self.ax_, self.figure_ = ax, ax.figure

    def _plot_bars(self, ax, effects, query, n_groups):
        strongest = np.argsort(-np.abs(effects), kind="stable")[:n_groups]
        shown = strongest[np.argsort(-effects[strongest], kind="stable")]
        ax = new_axes("AttributionDisplay.plot", ax, 2.2 + 0.55 * len(shown))
        places = np.arange(len(shown))
        colors = np.where(effects[shown] >= 0, HELPS, HURTS)
        errors = None
        if self.standard_errors is not None:
            errors = np.asarray(self.standard_errors)[query, shown]
        self.bars_ = ax.barh(places, effects[shown], xerr=errors, color=colors, height=0.65)
        if errors is not None:
            for bar, effect, error in zip(self.bars_, effects[shown], errors, strict=True):
                bar.set_alpha(_PALE if abs(effect) < _NOISE * error else None)
        self.shown_groups_ = shown
        ax.set_yticks(places, [self._group_text(group) for group in shown], fontsize=SMALL)
        ax.set_ylim(len(shown) - 0.5, -0.5)
        ax.axvline(0, color="black", linewidth=0.8)
        label = f"← opposes    {effect_label(self.quantity, self.unit)}    supports →"
        if errors is not None:
            label += "\nwhiskers: standard error by the training's seed; effects below two are pale"
        if self.retrained is not None:
            label += f"\n{self._draw_retrained(ax, query, shown)}"
        ax.set_xlabel(label)
        self._draw_heading(ax, query, self._draw_rows(ax, query, shown))
        self.ax_, self.figure_ = ax, ax.figure

    def _group_text(self, group: int) -> str:
        name = group_name(self.groups[group])
        return f"{name}\n{self.group_notes[group]}" if self.group_notes is not None else name

    def _draw_retrained(self, ax, query, shown) -> str:
        """Draw really measured effects over the bars, and return what they are."""
        seeds = np.asarray(self.retrained)[:, query, shown]
        known = np.flatnonzero(np.isfinite(seeds).all(0))
        deviation = seeds.std(0, ddof=1)[known] if len(seeds) > 1 else None
        self.errorbar_ = ax.errorbar(
            *(seeds.mean(0)[known], known),
            xerr=deviation,
            fmt="D",
            color=MEASURED,
            markerfacecolor="white",
            markersize=5,
            capsize=3,
        )
        spread = f", mean ± deviation of {len(seeds)} seeds" if len(seeds) > 1 else ""
        return f"◇ by retraining{spread}"

    def _draw_rows(self, ax, query, shown) -> float:
        """Draw typical rows beside the bars, and return the height of what is above them."""
        if self.typical_rows is None:
            return 6.0
        rows = [np.asarray(self.typical_rows[group]) for group in shown]
        if self.image_shape is None:
            top = self._draw_table(ax, query, rows)
            title = "values of a typical training row"
        else:
            top = 4.0
            title = "typical training rows"
            self._draw_thumbnails(ax, rows)
        ax.annotate(title, (1, 1), xytext=(8, top), **ABOVE)
        return top + 14

    def _draw_thumbnails(self, ax, rows):
        pictures, style = picture_style(as_pictures(np.concatenate(rows), self.image_shape))
        ends = np.cumsum([len(of_group) for of_group in rows])[:-1]
        self.thumbnails_ = draw_thumbnails(ax, np.split(pictures, ends), style)

    def _draw_table(self, ax, query, rows) -> float:
        """Write down the features that tell the shown groups apart, and the query's."""
        first = np.stack([of_group[0] for of_group in rows])
        everyone = np.stack([np.asarray(of_group)[0] for of_group in self.typical_rows])
        features = telling_features(first, everyone, _N_FEATURES)
        columns = [list(first[:, feature]) for feature in features]
        if self.query_rows is not None:
            query_row = np.asarray(self.query_rows)[query]
            columns = [[query_row[k], *column] for k, column in zip(features, columns, strict=True)]
            ticks = [label.get_text() for label in ax.get_yticklabels()]
            ax.set_yticks(np.arange(-1, len(rows)), ["this query", *ticks], fontsize=SMALL)
            ax.set_ylim(top=-1.5)
        names = names_of_features(None, first.shape[1], self.feature_names)
        headers = [names[feature] for feature in features]
        self.table_, height = draw_columns(ax, headers, columns, len(rows) - len(columns[0]))
        return height

    def _draw_heading(self, ax, query, above):
        """Say what the query is, and show it if it is a picture."""
        note = "" if self.query_notes is None else self.query_notes[query]
        text = f"query {self._name(query)}" + (f": {note}" if note else "")
        left = 0
        if self.image_shape is not None and self.query_rows is not None:
            every = [np.asarray(self.query_rows)[[query]], *(self.typical_rows or [])]
            pictures, style = picture_style(as_pictures(np.concatenate(every), self.image_shape))
            place, middle = (0, ax.get_ylim()[1]), (THUMBNAIL / 2, above + THUMBNAIL / 2)
            self.query_picture_ = draw_picture(ax, pictures[0], style, place, middle)
            left = THUMBNAIL + 8
        ax.annotate(text, (0, 1), xytext=(left, above), **{**ABOVE, "fontsize": None})


def _column_labels(groups) -> tuple[list[str], int]:
    """Return labels that fit below the columns of the map, and by how much they are turned."""
    room = _MAX_CHARACTERS // len(groups)
    if max(len(str(group)) for group in groups) <= room or room > _SHORTEST_LINE:
        return [wrapped(group, room) for group in groups], 0
    return [shortened(group, 24) for group in groups], 90


def _write_effects(ax, im, effects) -> list[list] | None:
    """Write each effect into its cell, light on dark and dark on light."""
    texts = [[signed(effect) for effect in row] for row in effects]
    if max(len(text) for row in texts for text in row) * len(texts[0]) > _MAX_CHARACTERS:
        return None
    colors = im.cmap(im.norm(effects))[..., :3] @ _LUMINANCE
    return [
        [
            ax.text(
                *(column, line, text),
                ha="center",
                va="center",
                fontsize=SMALL,
                color="black" if colors[line, column] > 0.5 else "white",
            )
            for column, text in enumerate(row)
        ]
        for line, row in enumerate(texts)
    ]


def _notes_on_queries(attributor, X, y, objective, quantity, unit) -> list[str]:
    """Say what is predicted for each query, and how large its objective is."""
    predicted = predictions(attributor, X)
    values = objective_values(attributor, X, y, objective)
    suffix = f" {unit}" if unit else ""
    given = [None] * len(values) if y is None else [_given(value) for value in np.asarray(y)]
    if attributor.classes_ is None:
        notes = [f"{quantity} {text_of(float(value))}{suffix}" for value in values]
        return [
            note if text is None else f"{note}, given {text}"
            for note, text in zip(notes, given, strict=True)
        ]
    return [
        f"predicted {shortened(label, 16)}\n{quantity}: {value:+.3g}{suffix}"
        if text is None
        else f"predicted {shortened(label, 16)}, given {text}\n"
        f"{quantity} of {text}: {value:+.3g}{suffix}"
        for label, value, text in zip(predicted, values, given, strict=True)
    ]


def _given(value) -> str:
    return text_of(value) if np.ndim(value) == 0 else "several values"
