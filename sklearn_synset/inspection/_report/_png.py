"""Pictures as PNG files in memory, without an imaging library."""

from __future__ import annotations

import struct
import zlib

import numpy as np

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPE = {1: 0, 3: 2, 4: 6}  # by channels: grey, RGB, RGBA


def encode_png(pixels: np.ndarray) -> bytes:
    r"""Return a picture as the bytes of a PNG file.

    Parameters
    ----------
    pixels : ndarray of shape (height, width) or (height, width, channels), dtype uint8
        0 is black. With 3 channels red, green and blue, with 4 opacity as well.

    Raises
    ------
    ValueError
        If the array is not of that type or shape.

    References
    ----------
    .. [1] W3C, "Portable Network Graphics (PNG) Specification", sections 9 and 11.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_synset.inspection._report._png import encode_png
    >>> encode_png(np.zeros((8, 8), dtype=np.uint8))[:8]
    b'\x89PNG\r\n\x1a\n'
    """
    pixels = np.asarray(pixels)
    planes = pixels[..., None] if pixels.ndim == 2 else pixels
    if planes.ndim != 3 or planes.shape[2] not in _COLOUR_TYPE or pixels.dtype != np.uint8:
        raise ValueError(
            "pixels must be uint8 of shape (height, width) or (height, width, 1, 3 or 4); got "
            f"{pixels.dtype} of shape {pixels.shape}."
        )
    height, width, channels = planes.shape
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPE[channels], 0, 0, 0)
    data = min((zlib.compress(lines, 9) for lines in _filtered(planes)), key=len)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _filtered(planes: np.ndarray) -> list[bytes]:
    """Return the lines as they are, and as differences from the pixel to the left or above."""
    height = len(planes)
    left, above = np.zeros_like(planes), np.zeros_like(planes)
    left[:, 1:], above[1:] = planes[:, :-1], planes[:-1]
    return [
        np.column_stack([np.full(height, kind, np.uint8), lines.reshape(height, -1)]).tobytes()
        for kind, lines in ((0, planes), (1, planes - left), (2, planes - above))
    ]


def _chunk(name: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)
