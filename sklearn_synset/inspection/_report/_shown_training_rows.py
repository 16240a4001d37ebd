"""Which training rows a report shows: typical, influential and suspicious ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sklearn_synset.inspection._fitted_attributor import predictions
from sklearn_synset.inspection._report._sources import Sources
from sklearn_synset.inspection._shown_rows import typical_rows

_MOST_INFLUENTIAL = 4000  # training rows whose features or pictures are kept


@dataclass(frozen=True, eq=False)
class Influence:
    """The training rows with the largest effects on each query.

    Parameters
    ----------
    rows : ndarray of shape (n_queries, n)
        Positions in the data of `fit`, the most influential first.
    effects : ndarray of shape (n_queries, n)
        Their effects; positive supports.
    """

    rows: np.ndarray
    effects: np.ndarray


@dataclass(frozen=True, eq=False)
class Suspects:
    """The rows with the lowest scores.

    Parameters
    ----------
    source : {"training", "queries"}
        Where they are from.
    rows : ndarray of shape (n,)
        Positions there, the most suspicious first.
    scores : ndarray of shape (n,)
        As of `SynsetAttributor.score_samples`.
    given, suggested : ndarray of shape (n,)
        Codes of labels, or values.
    wrong : ndarray of shape (n,) or None
        Probability that the given label is wrong; None for values.
    """

    source: str
    rows: np.ndarray
    scores: np.ndarray
    given: np.ndarray
    suggested: np.ndarray
    wrong: np.ndarray | None = None


def find_influence(sources: Sources, n: int) -> tuple[Influence | None, str | None]:
    """Return the most influential training rows of each query.

    Parameters
    ----------
    sources : Sources
        Attributor and queries.
    n : int
        Rows for each query; 0 looks for none.
    """
    attributor = sources.attributor
    n = min(n, len(attributor.group_labels_))
    if n < 1:
        return None, "Influential single training rows are left out, as the author chose."
    try:
        rows, effects = attributor.most_influential_rows(sources.inputs, n_rows=n)
    except ValueError as error:
        return None, f"Influential single training rows are left out: {error}"
    return Influence(rows, effects), None


def find_suspects(sources: Sources, n: int) -> Suspects | None:
    """Return the most suspicious rows: training rows if they are known, else queries.

    Returns
    -------
    suspects : Suspects or None
        None if neither training rows nor queries have labels.
    """
    attributor = sources.attributor
    if sources.inputs_train is not None and sources.y_train is not None:
        source, inputs, y = "training", sources.inputs_train, sources.y_train
    elif sources.y is not None:
        source, inputs, y = "queries", sources.inputs, sources.y
    else:
        return None
    scores = attributor.score_samples(inputs, y)
    lowest = np.argsort(scores, kind="stable")[:n]
    if sources.is_classification:
        found = attributor.suggest_labels(inputs, y)
        given, suggested = (sources.class_codes(each[lowest]) for each in (y, found.label))
        wrong = found.wrong_probability[lowest]
        return Suspects(source, lowest, scores[lowest], given, suggested, wrong)
    return Suspects(
        source, lowest, scores[lowest], y[lowest], predictions(attributor, inputs)[lowest]
    )


def find_typical(sources: Sources, n: int) -> list[np.ndarray] | None:
    """Return typical training rows of each group.

    Returns
    -------
    rows : list of n_groups ndarray of shape (at most n,), or None
        Positions, the most typical first; None if the training rows are not known.
    """
    if sources.inputs_train is None:
        return None
    attributor = sources.attributor
    rows = np.asarray(sources.inputs_train)
    return typical_rows(rows, attributor.group_labels_, attributor.groups_, n)


def rows_to_keep(
    typical: list[np.ndarray] | None, suspects: Suspects | None, influence: Influence | None
) -> tuple[np.ndarray, int]:
    """Return all training rows that are shown, the most important first.

    Returns
    -------
    rows : ndarray of shape (n,)
        Positions, each once: typical and suspicious ones, then influential ones from those of most
        queries to those of one.
    n_first : int
        How many of them are typical or suspicious.
    """
    first = [] if typical is None else list(typical)
    if suspects is not None and suspects.source == "training":
        first.append(suspects.rows)
    rows = _unique(np.concatenate(first)) if first else np.zeros(0, dtype=int)
    if influence is None:
        return rows, len(rows)
    found, counts = np.unique(influence.rows, return_counts=True)
    others = found[np.argsort(-counts, kind="stable")][:_MOST_INFLUENTIAL]
    return np.concatenate([rows, np.setdiff1d(others, rows)]), len(rows)


def _unique(rows: np.ndarray) -> np.ndarray:
    found, first = np.unique(rows, return_index=True)
    return found[np.argsort(first)]
