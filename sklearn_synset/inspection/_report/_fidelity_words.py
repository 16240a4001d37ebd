"""What the measured fidelity means, in words that need no statistics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

POOR, GOOD = 0.35, 0.5  # rank correlations; `fit` warns below the first
_WRONG_SIZE = 1.5  # ratio of measured to predicted effects, or its inverse
_SLOPES = (0.25, 4.0)  # ends of the scale on which slopes are drawn


@dataclass
class Verdict:
    """How far the effects can be trusted.

    Parameters
    ----------
    level : {"good", "fair", "poor", "unknown"}
        In a word.
    headline : str
        In a sentence.
    sentences : list of str
        What was measured, and what it means.
    gauges : list of dict
        Scales to draw: `name`, `value` and `interval` as texts, places of the value and the ends of
        its interval in percent of the scale's width, `ticks`.
    """

    level: str
    headline: str
    sentences: list[str]
    gauges: list[dict] = field(default_factory=list)


_HEADLINES = {
    "good": "The order of the groups can be trusted.",
    "fair": "Trust only the strongest groups of each prediction.",
    "poor": "Do not rely on these effects.",
    "unknown": "It was not measured how far these effects can be trusted.",
}


def verdict(fidelity: Mapping[str, Any] | None) -> Verdict:
    """Return what a fidelity means.

    Parameters
    ----------
    fidelity : mapping or None
        As `SynsetAttributor.fidelity_`: `rank_correlation`, `rank_correlation_interval`, `slope`,
        `slope_interval`, `groups`, and a `reason` if it was not measured. Any may be missing or
        NaN.

    Returns
    -------
    verdict : Verdict
        "good" from a rank correlation of 0.5, "poor" below 0.35.

    Examples
    --------
    >>> from sklearn_synset.inspection._report._fidelity_words import verdict
    >>> verdict({"rank_correlation": 0.7}).headline
    'The order of the groups can be trusted.'
    """
    fidelity = fidelity or {}
    correlation = _number(fidelity.get("rank_correlation"))
    slope = _number(fidelity.get("slope"))
    level = _level(correlation)
    sentences = [*_on_order(correlation, fidelity), *_on_size(slope, fidelity)]
    if level == "unknown":
        sentences.insert(0, _reason(fidelity))
    gauges = []
    if np.isfinite(correlation):
        gauges.append(_order_gauge(correlation, _pair(fidelity, "rank_correlation_interval")))
    if np.isfinite(slope) and slope > 0:
        gauges.append(_size_gauge(slope, _pair(fidelity, "slope_interval")))
    return Verdict(level, _HEADLINES[level], sentences, gauges)


def _level(correlation: float) -> str:
    if not np.isfinite(correlation):
        return "unknown"
    return "good" if correlation >= GOOD else "fair" if correlation >= POOR else "poor"


def _reason(fidelity: Mapping[str, Any]) -> str:
    reason = str(fidelity.get("reason") or "").strip().rstrip(".")
    if reason:
        return f"{reason[0].upper()}{reason[1:]}."
    return (
        "Too few groups were left out of the real training rows for a comparison. Ask for a report "
        "on a model that was analysed with more probes (n_probes) before you act on it."
    )


def _on_order(correlation: float, fidelity: Mapping[str, Any]) -> list[str]:
    if not np.isfinite(correlation):
        return []
    groups = fidelity.get("groups")
    n = None if groups is None else len(groups)
    subject = "Some groups were" if n is None else f"{n} group{'s were' if n != 1 else ' was'}"
    interval = _in_words(_pair(fidelity, "rank_correlation_interval"))
    return [
        f"{subject} left out of the real training data as a check, and the measured effects "
        f"were compared with the predicted ones. Their orders agree with a rank correlation of "
        f"{correlation:.2f}{interval}: 1 is the same order, 0 is no better than chance.",
        *_on_doubt(correlation, _pair(fidelity, "rank_correlation_interval")),
    ]


def _on_doubt(correlation: float, interval: tuple[float, float] | None) -> list[str]:
    if interval is None or interval[0] >= POOR or correlation < POOR:
        return []
    return [
        f"Only few groups were checked: the interval reaches below {POOR}, where the order should "
        "not be relied on."
    ]


def _on_size(slope: float, fidelity: Mapping[str, Any]) -> list[str]:
    if not np.isfinite(slope):
        return []
    interval = _in_words(_pair(fidelity, "slope_interval"))
    text = f"Measured effects are {slope:.2f} times the predicted ones{interval}"
    if slope <= 0:
        return [f"{text}: the sizes of the predicted effects mean nothing."]
    if slope > _WRONG_SIZE:
        return [f"{text}: the predicted effects are too small."]
    if slope < 1 / _WRONG_SIZE:
        return [f"{text}: the predicted effects are too large."]
    return [f"{text}: their sizes are about right."]


def _order_gauge(correlation: float, interval: tuple[float, float] | None) -> dict:
    def place(value: float) -> float:
        return float(np.clip(50 * (value + 1), 0, 100))

    return {
        "name": "Order of the groups",
        "meaning": "rank correlation of predicted and measured effects",
        "zones": [
            (0, place(POOR), "poor"),
            (place(POOR), place(GOOD), "fair"),
            (place(GOOD), 100, "good"),
        ],
        "ticks": [
            (place(value), text)
            for value, text in ((-1, "−1 reversed"), (0, "0 chance"), (1, "1 same order"))
        ],
        **_marks(correlation, interval, place),
    }


def _size_gauge(slope: float, interval: tuple[float, float] | None) -> dict:
    low, high = np.log(_SLOPES)

    def place(value: float) -> float:
        logarithm = np.log(max(value, 1e-9))
        return float(np.clip(100 * (logarithm - low) / (high - low), 0, 100))

    first, second = place(1 / _WRONG_SIZE), place(_WRONG_SIZE)
    return {
        "name": "Size of the effects",
        "meaning": "measured over predicted effects",
        "zones": [(0, first, "fair"), (first, second, "good"), (second, 100, "fair")],
        "ticks": [
            (place(value), text)
            for value, text in ((0.25, "¼ too large"), (1, "1 right"), (4, "4 too small"))
        ],
        **_marks(slope, interval, place),
    }


def _marks(value: float, interval: tuple[float, float] | None, place) -> dict:
    low, high = interval or (value, value)
    text = f"{value:.2f}"
    if interval:
        text += f" (90% interval {low:.2f} to {high:.2f})"
    return {"text": text, "value": place(value), "low": place(low), "high": place(high)}


def _in_words(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f" (90% interval {interval[0]:.2f} to {interval[1]:.2f})"


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _pair(fidelity: Mapping[str, Any], name: str) -> tuple[float, float] | None:
    value = fidelity.get(name)
    if value is None or np.size(value) != 2:
        return None
    low, high = (_number(each) for each in value)
    return (low, high) if np.isfinite([low, high]).all() else None
