"""Rows as small embedded pictures, within a budget of bytes."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import numpy as np

from sklearn_synset.inspection._report._png import encode_png
from sklearn_synset.inspection._shown_rows import as_pictures

_LONGEST_SIDE = 96  # pixels
_TRIED = 40  # pictures by which the size of all is estimated
# How coarse pictures become until they fit: pixels to average along each side, brightness levels.
_COARSENESS = ((1, 256), (1, 32), (2, 32), (3, 32), (4, 32), (6, 16), (8, 16))
_DARK = 0.2


@dataclass(frozen=True)
class Scale:
    """The brightness scale that all pictures of a report share.

    Parameters
    ----------
    low, high : float
        Values that become 0 and 255.
    inverted : bool
        Whether the largest value is black.
    """

    low: float
    high: float
    inverted: bool


def common_scale(rows: np.ndarray, shape: tuple[int, ...]) -> Scale:
    """Return a scale from the smallest to the largest value of some rows.

    Parameters
    ----------
    rows : ndarray of shape (n, d...)
        Rows.
    shape : tuple of int
        Shape in which they are pictures, as of `picture_shape`.

    Returns
    -------
    scale : Scale
        Inverted for grey pictures that are mostly empty, such as handwriting, which is then dark
        ink on white paper.
    """
    pictures = as_pictures(rows, shape)
    low, high = float(np.nanmin(pictures)), float(np.nanmax(pictures))
    middle = (float(np.nanmedian(pictures)) - low) / ((high - low) or 1.0)
    return Scale(low, high, pictures.ndim == 3 and middle < _DARK)


def eight_bit(rows: np.ndarray, shape: tuple[int, ...], scale: Scale) -> np.ndarray:
    """Return rows as pictures of 8 bits a channel.

    Parameters
    ----------
    rows : ndarray of shape (n, d...)
        Rows.
    shape : tuple of int
        Shape in which they are pictures.
    scale : Scale
        The brightness scale; values outside are clipped.

    Returns
    -------
    pixels : ndarray of shape (n, height, width) or (n, height, width, channels), dtype uint8
        Channels last.
    """
    pictures = np.nan_to_num(as_pictures(rows, shape), nan=scale.low)
    share = np.clip((pictures - scale.low) / ((scale.high - scale.low) or 1.0), 0, 1)
    return np.rint(255 * (1 - share if scale.inverted else share)).astype(np.uint8)


def coarsened(pixels: np.ndarray, step: int, levels: int) -> np.ndarray:
    """Return pictures with fewer pixels and fewer levels of brightness.

    Parameters
    ----------
    pixels : ndarray of shape (n, height, width...), dtype uint8
        Pictures.
    step : int
        Pixels along each side that are averaged to one; a rest at the edge is left out.
    levels : int
        Levels of brightness to keep, at most 256.

    Returns
    -------
    pixels : ndarray of shape (n, height // step, width // step...), dtype uint8
        Pictures; at least one pixel high and wide.
    """
    n, height, width, *channels = pixels.shape
    down, across = min(step, height), min(step, width)
    height, width = height // down, width // across
    cut = pixels[:, : height * down, : width * across]
    blocks = cut.reshape(n, height, down, width, across, *channels).mean((2, 4))
    return np.rint(np.rint(blocks / 255 * (levels - 1)) / (levels - 1) * 255).astype(np.uint8)


def thumbnails(pixels: np.ndarray, budget: int) -> tuple[list[str | None], str | None]:
    """Return pictures as texts in base64, coarser if they would need too much room.

    Parameters
    ----------
    pixels : ndarray of shape (n, height, width...), dtype uint8
        Pictures, the most important first.
    budget : int
        Characters that all texts may have together.

    Returns
    -------
    texts : list of n str or None
        PNG files in base64; None for pictures at the end for which there is no room.
    note : str or None
        What was made coarser or left out; None if nothing was.
    """
    if not len(pixels):
        return [], None
    longest = max(pixels.shape[1:3])
    cap = -(-longest // _LONGEST_SIDE)
    tried = pixels[np.linspace(0, len(pixels) - 1, min(len(pixels), _TRIED)).astype(int)]
    for step, levels in _COARSENESS:
        step *= cap
        sizes = [len(_base64(each)) for each in coarsened(tried, step, levels)]
        if np.mean(sizes) * len(pixels) <= 0.95 * budget:
            break
    texts: list[str | None] = [_base64(each) for each in coarsened(pixels, step, levels)]
    ends = np.cumsum([len(text or "") for text in texts])
    n_kept = int(np.searchsorted(ends, budget, side="right"))
    texts[n_kept:] = [None] * (len(texts) - n_kept)
    return texts, _note(step, levels, len(texts) - n_kept)


def _base64(pixels: np.ndarray) -> str:
    return base64.b64encode(encode_png(pixels)).decode("ascii")


def _note(step: int, levels: int, n_left_out: int) -> str | None:
    parts = []
    if step > 1:
        parts.append(f"Pictures are shown at 1/{step} of their height and width.")
    if levels < 256:
        parts.append(f"Pictures are shown with {levels} levels of brightness.")
    if n_left_out:
        parts.append(f"{n_left_out:,} pictures are left out.")
    return " ".join(parts) or None
