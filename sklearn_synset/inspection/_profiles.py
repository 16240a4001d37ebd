"""Rows of a table as lines through their standardised features, a panel for each group."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from sklearn_synset.inspection._plotting import (
    LINE_STYLES,
    MUTED,
    SMALL,
    set_thinned_ticks,
    shortened,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROOM = 0.3  # between panels, over their height
_MOST_MARKERS = 60
LONGEST_NAME = 24  # of a feature, in characters


def profiles_height(n_panels: int, names: list[str]) -> float:
    """Return the height of a figure with room for the panels and the names below them."""
    longest = min(max(map(len, names)), LONGEST_NAME)
    return 1.2 + 1.5 * n_panels + 0.08 * longest


def draw_profiles(
    ax: Axes,
    real: list[np.ndarray],
    synset: list[np.ndarray],
    *,
    titles: list[str],
    labels: list[list[str]],
    names: list[str],
    heading: str,
) -> tuple[list, list, list]:
    """Draw the panels below each other in the place of the axes.

    Parameters
    ----------
    ax : Axes
        Whose place is taken.
    real, synset : list of K ndarray of shape (n, d)
        Standardised rows of each group.
    titles : list of K str
        Of the panels.
    labels : list of K list of str
        Of the synset rows.
    names : list of d str
        Of the features.
    heading : str
        Above all panels.

    Returns
    -------
    panels : list of K Axes
        From the top.
    real_lines, synset_lines : list of K list of Line2D
        What was drawn into them.
    """
    ax.set_axis_off()
    height = 1 / (len(real) + _ROOM * (len(real) - 1))
    panels: list[Axes] = []
    real_lines, synset_lines = [], []
    for k, title in enumerate(titles):
        bottom = 1 - height - k * height * (1 + _ROOM)
        panel = ax.inset_axes((0, bottom, 1, height), sharex=panels[0] if panels else None)
        real_lines.append(_draw_real(panel, real[k]))
        synset_lines.append(_draw_synset(panel, synset[k], labels[k]))
        panel.axhline(0, color="black", linewidth=0.5, zorder=1)
        panel.set_title(title, loc="left", fontsize=SMALL, pad=3)
        panel.tick_params(labelsize=SMALL, labelbottom=False)
        panel.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=SMALL, frameon=False)
        panels.append(panel)
    names = [shortened(name, LONGEST_NAME) for name in names]
    is_narrow = max(map(len, names)) * len(names) > 70
    panels[-1].tick_params(labelbottom=True)
    set_thinned_ticks(
        panels[-1].xaxis, names, 40 if is_narrow else 70, rotation=90 if is_narrow else 0
    )
    ax.annotate(
        "standard deviations from\nthe mean of the training rows",
        *((0, 0.5), (-28, 0), "axes fraction", "offset points"),
        rotation=90,
        ha="right",
        va="center",
        multialignment="center",
        fontsize=SMALL,
        annotation_clip=False,
    )
    ax.annotate(
        heading,
        *((0, 1), (0, 20), "axes fraction", "offset points"),
        va="bottom",
        fontsize=SMALL + 1,
        annotation_clip=False,
    )
    return panels, real_lines, synset_lines


def _draw_real(panel: Axes, rows: np.ndarray) -> list:
    style: dict[str, Any] = {"color": MUTED, "linewidth": 0.6, "alpha": 0.6, "zorder": 2}
    lines = panel.plot(rows.T, **style) if len(rows) else []
    if lines:
        lines[0].set_label("real rows")
    return lines


def _draw_synset(panel: Axes, rows: np.ndarray, labels: list[str]) -> list:
    marker: dict[str, Any] = (
        {"markersize": 3.5} if rows.shape[1] <= _MOST_MARKERS else {"marker": None}
    )
    return [
        panel.plot(row, label=label, linewidth=1.3, zorder=3, **{**style, **marker})[0]
        for row, label, style in zip(rows, labels, cycle(LINE_STYLES), strict=False)
    ]
