"""A report on a model that anybody with a browser can read."""

from __future__ import annotations

import tempfile
import webbrowser
from dataclasses import asdict
from pathlib import Path

from sklearn.utils import check_scalar

from sklearn_synset import __version__
from sklearn_synset.inspection._report._collection import collect
from sklearn_synset.inspection._report._fidelity_words import verdict
from sklearn_synset.inspection._report._overview import (
    cost_facts,
    data_facts,
    model_facts,
    module_text,
    plan,
    settings,
)
from sklearn_synset.inspection._report._page import check_jinja2, in_a_frame, render_page
from sklearn_synset.inspection._report._sources import read_sources

_FRAME_HEIGHT = 820  # pixels


class AttributionReport:
    """A report on predictions and the training data behind them, in one HTML file.

    It is meant for a colleague who has no Python. The file opens in any browser, without a server
    and without a network. It has four parts. *Overview*: the model, its data, and how far the
    effects can be trusted. *Predictions*: a table of the queries to sort, search and filter; for
    each, the groups that support and oppose its prediction, typical rows of these groups, and the
    single training rows with the largest effects. *Groups*: what each group holds, what it supports
    and opposes, and which groups hurt. *Labels*: the most suspicious rows, with given and suggested
    label, to be ticked and saved as CSV.

    Needs jinja2, the extra `report`.

    Parameters
    ----------
    attributor : SynsetAttributor or Pipeline
        Fitted; a pipeline ends in an attributor. Rows are shown as the pipeline takes them.
    X : array-like of shape (n_queries, n_features...)
        Queries, at least one.
    y : array-like of shape (n_queries,), default=None
        Their labels or values. Without them the report cannot say which predictions are wrong and
        which groups hurt.
    X_train : array-like of shape (n_rows, n_features...), default=None
        The rows that `fit` was given, in that order, to show some of them.
    y_train : array-like of shape (n_rows,), default=None
        Their labels or values, to say what the groups hold and which labels are suspicious.
    feature_names : array-like of str of shape (n_features,), default=None
        Names of the features; those of a DataFrame, or x0, x1, … if None.
    class_names : array-like of str of shape (n_classes,), default=None
        Names of the classes, in the order of `classes_`; the labels themselves if None.
    query_names : array-like of str of shape (n_queries,), default=None
        Names of the queries; the index of a DataFrame, or 0, 1, … if None.
    title : str, default=None
        Heading of the report.
    description : str, default=None
        A few sentences for the reader, above all else.
    unit : str, default=None
        Unit of the target of a regression.
    image_shape : tuple of int, default=None
        Shape in which rows are pictures; that of `X` or of the attributor's `input_shape` if None.
    n_typical : int, default=4
        Typical training rows to show of each group.
    n_influential : int, default=6
        Training rows with the largest effects to show for each query; 0 leaves them out, which is
        faster for many queries or training rows.
    n_suspicious : int, default=60
        Suspicious rows to show; training rows if both `X_train` and `y_train` are given, else
        queries if `y` is.

    Attributes
    ----------
    effects_ : ndarray of shape (n_queries, n_groups)
        Effects that are shown, as of `SynsetAttributor.attribute` on the predicted labels.
    notes_ : list of str
        What is left out of the report or made coarser to keep it small.

    Raises
    ------
    ImportError
        If jinja2 is missing.
    TypeError
        If `attributor` is neither a `SynsetAttributor` nor a pipeline that ends in one, or `X` or
        `X_train` is no array or DataFrame, such as a torch Dataset.
    ValueError
        If arrays do not fit each other or the training data, labels were not seen in `fit`, or
        there is no query.

    See Also
    --------
    AttributionDisplay : The same effects as a matplotlib figure.

    Notes
    -----
    The file holds copies of the queries and of the shown training rows: do not pass it on to people
    who must not see those. Effects are stored in 16 bits, relative to the largest of each query.
    Pictures become coarser where the file would be larger than about 5 MB, and features fewer.

    Names, labels and texts are data. They are written as texts, never as HTML, and the page's
    content security policy forbids all scripts but its own, and all connections.

    Bars have standard errors where :meth:`SynsetAttributor.attribute
    <sklearn_synset.SynsetAttributor.attribute>` knows them.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_synset import SynsetAttributor
    >>> from sklearn_synset.inspection import AttributionReport
    >>> X, y = load_iris(return_X_y=True)
    >>> attributor = SynsetAttributor(n_groups=6, max_iter=0, random_state=0)
    >>> attributor = attributor.fit(X[::2], y[::2])
    >>> report = AttributionReport(
    ...     attributor, X[1::2], y[1::2], X_train=X[::2], y_train=y[::2], title="Irises")
    >>> report.effects_.shape
    (75, 6)
    >>> report.write_html("irises.html")  # doctest: +SKIP
    """

    def __init__(
        self,
        attributor,
        X,
        y=None,
        *,
        X_train=None,
        y_train=None,
        feature_names=None,
        class_names=None,
        query_names=None,
        title=None,
        description=None,
        unit=None,
        image_shape=None,
        n_typical=4,
        n_influential=6,
        n_suspicious=60,
    ):
        check_jinja2("AttributionReport")
        check_scalar(n_typical, "n_typical", int, min_val=1)
        check_scalar(n_influential, "n_influential", int, min_val=0)
        check_scalar(n_suspicious, "n_suspicious", int, min_val=1)
        sources = read_sources(
            attributor,
            X,
            y,
            X_train=X_train,
            y_train=y_train,
            feature_names=feature_names,
            class_names=class_names,
            query_names=query_names,
            image_shape=image_shape,
            unit=unit,
        )
        self._contents, effects = collect(
            sources,
            n_typical=n_typical,
            n_influential=n_influential,
            n_suspicious=n_suspicious,
        )
        self.effects_ = effects.effects
        self.notes_ = self._contents["notes"]
        self._overview = {
            "title": "Training data behind the predictions" if title is None else str(title),
            "description": None if description is None else str(description),
            "version": __version__,
            "is_classification": sources.is_classification,
            "verdict": asdict(verdict(getattr(sources.attributor, "fidelity_", None))),
            "model": model_facts(sources),
            "module": module_text(sources),
            "data_facts": data_facts(sources),
            "cost": cost_facts(sources, effects),
            "settings": settings(sources),
            "plan": plan(sources),
            "notes": self.notes_,
            "contents": self._contents,
            "has_errors": effects.errors is not None,
        }

    def to_html(self):
        """Return the report as a page.

        Returns
        -------
        page : str
            A whole HTML document.
        """
        return render_page(self._contents, self._overview)

    def write_html(self, path):
        """Write the report to a file.

        Parameters
        ----------
        path : str or path-like
            The file, overwritten if there is one. Its folder must exist.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        Path(path).write_text(self.to_html(), encoding="utf-8", newline="\n")

    def open(self):
        """Open the report in the web browser of this machine.

        Returns
        -------
        path : pathlib.Path
            The temporary file that was opened. It stays there.
        """
        with tempfile.NamedTemporaryFile(
            prefix="attributions_", suffix=".html", delete=False
        ) as file:
            path = Path(file.name)
        self.write_html(path)
        webbrowser.open(path.as_uri())
        return path

    def _repr_html_(self):
        """Return the report as an element of a notebook's page."""
        return in_a_frame(self.to_html(), _FRAME_HEIGHT)

    def __repr__(self):
        n_queries, n_groups = self.effects_.shape
        return (
            f"<AttributionReport of {n_queries} queries and {n_groups} groups; use .open() or "
            ".write_html(path) to read it>"
        )
