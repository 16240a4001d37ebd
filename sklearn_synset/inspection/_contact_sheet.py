"""Pictures side by side on one pair of axes, each in a unit square."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sklearn_synset.inspection._plotting import SMALL, WIDTH

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage
    from matplotlib.text import Text


def sheet_height(n_columns: float, n_lines: float) -> float:
    """Return the height of a figure whose width holds so many unit squares.

    Parameters
    ----------
    n_columns, n_lines : float
        Unit squares beside and below each other, with all room between them.
    """
    return WIDTH * n_lines / n_columns + 0.2


def prepare_sheet(ax: Axes, n_columns: float, n_lines: float) -> None:
    """Give the axes unit squares, counted from the upper left corner.

    Parameters
    ----------
    ax : Axes
        To draw on.
    n_columns, n_lines : float
        Unit squares beside and below each other, with all room between them.
    """
    ax.set(xlim=(0, n_columns), ylim=(n_lines, 0), aspect="equal")
    ax.set_axis_off()


def draw_tile(ax: Axes, picture: np.ndarray, left: float, top: float, style: dict) -> AxesImage:
    """Draw a picture as large as fits a unit square.

    Parameters
    ----------
    ax : Axes
        As of `prepare_sheet`.
    picture : ndarray of shape (height, width) or (height, width, channels)
        What to draw.
    left, top : float
        Corner of the square.
    style : dict
        As of `picture_style`.
    """
    height, width = np.array(picture.shape[:2]) / max(picture.shape[:2])
    left += (1 - width) / 2
    limits = ax.axis()
    extent = (left, left + width, top + height, top)
    image = ax.imshow(picture, extent=extent, aspect="equal", **style)
    ax.axis(limits)
    return image


def write(ax: Axes, text: str, x: float, y: float, **properties) -> Text:
    """Write a small text, by default below the middle of a place."""
    return ax.text(x, y, text, **{"ha": "center", "va": "top", "fontsize": SMALL, **properties})
