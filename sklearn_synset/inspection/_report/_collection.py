"""Everything that a report shows, as plain lists and texts."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_synset.inspection._fitted_attributor import quantity_and_unit
from sklearn_synset.inspection._plotting import group_name
from sklearn_synset.inspection._report._effects import Effects, compute_effects
from sklearn_synset.inspection._report._feature_table import (
    centre_and_spread,
    columns_of,
    flat,
    is_number,
    kept_features,
)
from sklearn_synset.inspection._report._packing import json_for_script, quantised, rounded
from sklearn_synset.inspection._report._shown_training_rows import (
    Influence,
    Suspects,
    find_influence,
    find_suspects,
    find_typical,
    rows_to_keep,
)
from sklearn_synset.inspection._report._sources import Sources
from sklearn_synset.inspection._report._summaries import (
    composition,
    mean_and_error,
    mean_by_kind,
    thirds,
)
from sklearn_synset.inspection._report._thumbnails import common_scale, eight_bit, thumbnails
from sklearn_synset.inspection._shown_rows import take

_FILE_SIZE = 4_800_000  # characters, less what is around the data
_LEAST_ROOM = 2_000_000  # for pictures
_N_EXTREMES = 5  # queries that a group supports, and opposes, most
_SCALED_BY = 500  # rows
_SPREAD_BY = 20_000  # rows
_CLEAR = 2.0  # standard errors from which on a mean is not taken for chance


def collect(
    sources: Sources, *, n_typical: int, n_influential: int, n_suspicious: int
) -> tuple[dict, Effects]:
    """Compute everything that the report shows.

    Returns
    -------
    contents : dict
        What the page's script reads: JSON types only.
    effects : Effects
        The effects, unrounded.
    """
    effects = compute_effects(sources)
    typical = find_typical(sources, n_typical)
    influence, note = find_influence(sources, n_influential)
    suspects = find_suspects(sources, n_suspicious)
    rows, n_first = rows_to_keep(typical, suspects, influence)
    quantity, unit = quantity_and_unit(sources.attributor, unit=sources.unit)
    contents: dict[str, Any] = {
        "task": "classification" if sources.is_classification else "regression",
        "quantity": quantity,
        "unit": unit,
        "isMargin": quantity == "log-odds",
        "raises": not sources.is_classification and quantity == "prediction",
        "classes": sources.class_names,
        "queries": _queries(sources, effects),
        "effects": quantised(effects.effects),
        "errors": None if effects.errors is None else quantised(effects.errors),
        "given": _on_given(effects),
        "groups": _groups(sources, effects, typical, rows),
        "rows": _training_rows(sources, rows),
        "influence": _influence(influence, rows),
        "labels": _labels(sources, suspects, rows),
    }
    room = max(_FILE_SIZE - len(json_for_script(contents)), _LEAST_ROOM)
    shown, notes = _shown_values(sources, rows, n_first, typical, room)
    contents |= shown
    contents["notes"] = [each for each in (note, *notes) if each]
    return contents, effects


def _queries(sources: Sources, effects: Effects) -> dict:
    """Return the facts on each query, a list for each fact."""
    n_queries = len(effects.effects)
    facts = {
        "n": n_queries,
        "name": sources.query_names,
        "value": rounded(effects.values),
        "strongest": rounded(np.abs(effects.effects).max(1), 3),
        "hasGiven": sources.y is not None,
    }
    if not sources.is_classification:
        given = sources.y
        facts["predicted"] = _value_list(effects.predicted)
        facts["given"] = None if given is None else _value_list(given)
        if given is not None:
            difference = effects.predicted.reshape(n_queries, -1) - given.reshape(n_queries, -1)
            is_single = difference.shape[1] == 1
            error = difference[:, 0] if is_single else np.sqrt(np.square(difference).mean(1))
            facts["error"] = rounded(error)
        return facts
    facts["predicted"] = effects.predicted.tolist()
    facts["given"] = None if sources.y is None else sources.class_codes(sources.y).tolist()
    if effects.probabilities is not None and effects.to_flip is not None:
        order = np.argsort(-effects.probabilities, axis=1, kind="stable")[:, :3]
        facts["probability"] = rounded(
            effects.probabilities[np.arange(n_queries), effects.predicted], 5
        )
        facts["likeliest"] = order.tolist()
        facts["likeliestProbability"] = rounded(
            np.take_along_axis(effects.probabilities, order, axis=1), 3
        )
        facts["toFlip"] = rounded(effects.to_flip, 3)
    return facts


def _on_given(effects: Effects) -> dict | None:
    """Return the effects on the given labels of wrong predictions."""
    if effects.on_given is None or effects.values_on_given is None:
        return None
    errors = effects.errors_on_given
    return {
        "query": effects.wrong.tolist(),
        "effects": quantised(effects.on_given),
        "errors": None if errors is None else quantised(errors),
        "value": rounded(effects.values_on_given),
    }


def _groups(
    sources: Sources, effects: Effects, typical: list[np.ndarray] | None, rows: np.ndarray
) -> dict:
    """Return the facts on each group, a list for each fact."""
    codes, n_groups = sources.codes, effects.effects.shape[1]
    order = np.argsort(effects.effects, axis=0, kind="stable")
    facts = {
        "name": [group_name(group, 40) for group in sources.attributor.groups_.tolist()],
        "size": np.bincount(codes, minlength=n_groups).tolist(),
        "mean": rounded(effects.effects.mean(0)),
        "spread": rounded(effects.effects.std(0), 3),
        "supports": rounded((effects.effects > 0).mean(0), 3),
        "most": order[::-1][:_N_EXTREMES].T.tolist(),
        "least": order[:_N_EXTREMES].T.tolist(),
        **_help_and_harm(effects.on_truth),
        "typical": _positions(typical, rows),
        "counts": None,
        "values": None,
    }
    if sources.class_names is not None:
        kinds, names = effects.predicted, sources.class_names
        if sources.y_train is not None:
            labels = sources.class_codes(sources.y_train)
            facts["counts"] = composition(labels, codes, n_groups, len(names)).tolist()
    else:
        values = np.asarray(effects.values)
        kinds, names = thirds(values), ["lowest third", "middle third", "highest third"]
        if sources.y_train is not None and sources.y_train.ndim == 1:
            members = [sources.y_train[codes == k] for k in range(n_groups)]
            facts["values"] = rounded([(each.mean(), each.std()) for each in members])
    facts["kinds"] = names
    facts["meanByKind"] = rounded(mean_by_kind(effects.effects, kinds, len(names)), 3)
    return facts


def _help_and_harm(on_truth: np.ndarray | None) -> dict:
    """Return each group's mean effect on the truth, its standard error, and whether it hurts."""
    if on_truth is None:
        return {"onTruth": None, "onTruthError": None, "hurts": None}
    mean, error = mean_and_error(on_truth)
    return {
        "onTruth": rounded(mean),
        "onTruthError": rounded(error),
        "hurts": (mean < -_CLEAR * error).tolist(),
    }


def _positions(typical: list[np.ndarray] | None, rows: np.ndarray) -> list[list[int]] | None:
    if typical is None:
        return None
    place = _places(rows)
    return [[place[row] for row in of_group.tolist()] for of_group in typical]


def _places(rows: np.ndarray) -> dict[int, int]:
    return {row: i for i, row in enumerate(rows.tolist())}


def _training_rows(sources: Sources, rows: np.ndarray) -> dict:
    """Return what is known of each training row that is shown."""
    y = sources.y_train
    index: Any = getattr(sources.X_train, "index", None)
    label = None
    if y is not None:
        label = _labels_or_values(sources, y[rows])
    has_names = index is not None and not np.array_equal(index, np.arange(len(index)))
    return {
        "row": rows.tolist(),
        "name": [str(index[row])[:60] for row in rows] if has_names else None,
        "label": label,
        "group": sources.codes[rows].tolist(),
    }


def _influence(influence: Influence | None, rows: np.ndarray) -> dict | None:
    """Return the influential rows of each query: places in the kept rows, or ~row of others."""
    if influence is None:
        return None
    place = _places(rows)
    return {
        "rows": [[place.get(row, ~row) for row in line] for line in influence.rows.tolist()],
        "effects": rounded(influence.effects, 3),
    }


def _labels(sources: Sources, suspects: Suspects | None, rows: np.ndarray) -> dict | None:
    """Return the suspicious rows."""
    if suspects is None:
        return None
    is_training = suspects.source == "training"
    X = sources.X_train if is_training else sources.X
    index: Any = getattr(X, "index", None)
    place = _places(rows)
    objective = None
    if not sources.is_classification and sources.attributor.objective in ("auto", "prediction"):
        objective = "loss"
    quantity, unit = quantity_and_unit(sources.attributor, objective, sources.unit)
    found = suspects.rows.tolist()
    n_rows = len(sources.attributor.group_labels_) if is_training else len(sources.inputs)
    return {
        "source": suspects.source,
        "nRows": n_rows,
        "row": found,
        "name": None if index is None else [str(index[row])[:200] for row in found],
        "place": [place[row] for row in found] if is_training else found,
        "score": rounded(suspects.scores),
        "given": _value_or_code(sources, suspects.given),
        "suggested": _value_or_code(sources, suspects.suggested),
        "wrong": None if suspects.wrong is None else rounded(suspects.wrong, 3),
        "quantity": quantity,
        "unit": unit,
    }


def _labels_or_values(sources: Sources, y: np.ndarray) -> list:
    return sources.class_codes(y).tolist() if sources.is_classification else _value_list(y)


def _value_or_code(sources: Sources, values: np.ndarray) -> list:
    return values.tolist() if sources.is_classification else _value_list(values)


def _value_list(values: np.ndarray) -> list:
    """Return a number for each row, or a text if a row has several values."""
    flattened = np.asarray(values, dtype=float).reshape(len(values), -1)
    if flattened.shape[1] == 1:
        return rounded(flattened[:, 0])
    return [", ".join(f"{value:.3g}" for value in row[:6]) for row in flattened]


def _shown_values(
    sources: Sources,
    rows: np.ndarray,
    n_first: int,
    typical: list[np.ndarray] | None,
    room: int,
) -> tuple[dict, list[str | None]]:
    """Return queries and training rows as pictures or as features, and what was left out."""
    queries = take(sources.X, np.arange(len(sources.inputs)))
    training = None if sources.X_train is None else take(sources.X_train, rows)
    if sources.image_shape is not None:
        return _as_thumbnails(sources.image_shape, queries, training, n_first, room)
    queries = flat(queries)
    training = np.empty((0, queries.shape[1])) if training is None else flat(training)
    return _as_table(sources, queries, training, typical)


def _as_thumbnails(shape: tuple[int, ...], queries, training, n_first: int, room: int):
    """Return queries and training rows as pictures on one scale."""
    n_queries, has_training = len(queries), training is not None
    if training is None:
        training = queries[:0]
    sample = [np.asarray(each)[:_SCALED_BY] for each in (queries, training) if len(each)]
    scale = common_scale(np.concatenate(sample), shape)
    pixels = [eight_bit(each, shape, scale) for each in (queries, training)]
    ordered = np.concatenate([pixels[1][:n_first], pixels[0], pixels[1][n_first:]])
    texts, note = thumbnails(ordered, room)
    middle = n_first + n_queries
    pictures = {
        "queries": texts[n_first:middle],
        "rows": texts[:n_first] + texts[middle:] if has_training else None,
    }
    return {"pictures": pictures, "features": None}, [note]


def _as_table(sources: Sources, queries, training, typical):
    """Return features of queries and training rows, and how each is spread among all rows."""
    names = sources.feature_names or []
    n_rows = len(queries) + len(training)
    # The typical rows come first.
    n_typical = 0 if typical is None else sum(map(len, typical))
    pool = training[:n_typical] if n_typical > 1 else queries
    features = kept_features(pool, n_rows)
    X = queries
    if sources.X_train is not None:
        n = len(sources.attributor.group_labels_)
        X = flat(take(sources.X_train, np.linspace(0, n - 1, min(n, _SPREAD_BY)).astype(int)))
    numeric = [is_number(X[:, k]) and is_number(queries[:, k]) for k in features]
    spread = [
        centre_and_spread(X[:, k]) if is_numeric else (np.nan, np.nan)
        for k, is_numeric in zip(features, numeric, strict=True)
    ]
    table = {
        "name": [names[k] for k in features],
        "numeric": numeric,
        "mean": rounded([mean for mean, _ in spread]),
        "deviation": rounded([deviation for _, deviation in spread]),
        "queries": columns_of(queries, features, numeric),
        "rows": columns_of(training, features, numeric) if sources.X_train is not None else None,
    }
    note = None
    if len(features) < len(names):
        note = (
            f"{len(names) - len(features):,} of {len(names):,} features are left out: those in "
            "which typical rows of the groups differ least."
        )
    return {"pictures": None, "features": table}, [note]
