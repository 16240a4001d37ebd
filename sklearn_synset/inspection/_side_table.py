"""Pictures and texts in the lines of a chart, in columns to the right of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sklearn_synset.inspection._plotting import SMALL, shortened, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.offsetbox import AnnotationBbox
    from matplotlib.text import Annotation

THUMBNAIL = 34  # points
# Where a text above the axes goes.
ABOVE: dict[str, Any] = {
    "xycoords": "axes fraction",
    "textcoords": "offset points",
    "va": "bottom",
    "fontsize": SMALL,
    "annotation_clip": False,
}
_GAP = 8
_CHARACTER = 0.64 * SMALL  # points, of a broad one
_LONGEST = 11  # characters in a column
_LARGEST_COUNT = 1_000_000  # that is written out


def draw_picture(ax: Axes, picture: np.ndarray, style: dict, place, offset) -> AnnotationBbox:
    """Draw a picture of fixed size next to the axes.

    Parameters
    ----------
    ax : Axes
        Axes of the chart.
    picture : ndarray of shape (height, width) or (height, width, channels)
        What to draw.
    style : dict
        As of `picture_style`.
    place : tuple
        Fraction of the width of the axes, and a place on their y axis.
    offset : tuple
        From there to the middle of the picture, in points.
    """
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    box = OffsetImage(
        picture,
        zoom=THUMBNAIL / max(picture.shape[:2]),
        cmap=style["cmap"],
        norm=_norm(style),
        interpolation=style["interpolation"],
    )
    artist = AnnotationBbox(
        box,
        place,
        xybox=offset,
        xycoords=ax.get_yaxis_transform(),
        boxcoords="offset points",
        frameon=False,
        pad=0,
        annotation_clip=False,
    )
    ax.add_artist(artist)
    return artist


def _norm(style: dict):
    from matplotlib.colors import Normalize

    return Normalize(style["vmin"], style["vmax"])


def draw_thumbnails(ax: Axes, pictures: list[np.ndarray], style: dict) -> list[list]:
    """Draw pictures to the right of each line of a chart.

    Parameters
    ----------
    ax : Axes
        Axes with the lines at 0, 1, … of the y axis.
    pictures : list of ndarray of shape (at most n, height, width...)
        Pictures of each line.
    style : dict
        As of `picture_style`.
    """
    step = THUMBNAIL + 3
    return [
        [
            draw_picture(ax, picture, style, (1, line), (_GAP + (k + 0.5) * step, 0))
            for k, picture in enumerate(of_line)
        ]
        for line, of_line in enumerate(pictures)
    ]


def draw_columns(
    ax: Axes, headers: list[str], columns: list[list], top: float
) -> tuple[list[list[Annotation]], float]:
    """Draw a table to the right of a chart, a column after the other.

    Parameters
    ----------
    ax : Axes
        Axes of the chart.
    headers : list of str
        Header of each column.
    columns : list of list
        What is in it, from line `top` downwards.
    top : float
        Place of the first line on the y axis; the others are 1 apart.

    Returns
    -------
    artists : list of list of Annotation
        Header and lines of each column.
    height : float
        Of the headers above the axes, in points.
    """
    titles = [wrapped(header, _LONGEST) for header in headers]
    artists, left = [], float(_GAP)
    for title, values in zip(titles, columns, strict=True):
        texts = [text_of(value) for value in values]
        right = left + _CHARACTER * max(map(len, [*title.split("\n"), *texts]))
        style: dict[str, Any] = {"ha": "right", "fontsize": SMALL, "textcoords": "offset points"}
        cells = [ax.annotate(title, (1, 1), xytext=(right, 4), **{**ABOVE, **style})]
        cells += [
            ax.annotate(
                *(text, (1, top + line)),
                xytext=(right, 0),
                xycoords=ax.get_yaxis_transform(),
                va="center",
                annotation_clip=False,
                **style,
            )
            for line, text in enumerate(texts)
        ]
        artists.append(cells)
        left = right + _GAP
    n_lines = max(title.count("\n") + 1 for title in titles)
    return artists, 8 + 1.25 * SMALL * n_lines


def text_of(value: object) -> str:
    """Return a cell of a table as a short text.

    Returns
    -------
    text : str
        Three significant digits of a number that is no integer.
    """
    if isinstance(value, (int, float, np.number)) and not isinstance(value, bool):
        is_count = float(value).is_integer() and abs(value) < _LARGEST_COUNT
        return f"{value:.0f}" if is_count else f"{value:.3g}"
    return shortened(value, _LONGEST)
