"""Arrays and texts as JSON that can be embedded in a page."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

_STEPS = 32767  # of a 16-bit integer
_ESCAPES = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


def quantised(values: np.ndarray) -> dict:
    """Return a matrix in 16 bits a value, with a scale for each line.

    Parameters
    ----------
    values : ndarray of shape (n, m)
        Finite numbers; others become 0.

    Returns
    -------
    packed : dict
        `scale`, a list of n numbers: the value of one step. `steps`, the integers (n, m) in the
        order of the lines, little-endian, in base64. The error of a value is at most half a step,
        1/65,534 of the largest absolute value of its line.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_synset.inspection._report._packing import quantised, restored
    >>> np.round(restored(quantised(np.array([[0.5, -2.0, 0.0]])), 3), 4).tolist()
    [[0.5, -2.0, 0.0]]
    """
    values = np.nan_to_num(np.asarray(values, dtype=float), nan=0.0, posinf=0.0, neginf=0.0)
    scale = np.abs(values).max(axis=1, initial=0.0) / _STEPS
    # A line of numbers that are too small to divide is a line of zeros.
    scale[scale < np.finfo(float).tiny] = 1.0
    steps = np.rint(values / scale[:, None]).astype("<i2")
    return {
        "scale": [float(f"{each:.7g}") for each in scale],
        "steps": base64.b64encode(steps.tobytes()).decode("ascii"),
    }


def restored(packed: Mapping, m: int) -> np.ndarray:
    """Return the matrix that `quantised` packed.

    Returns
    -------
    values : ndarray of shape (n, m)
        The matrix, up to rounding.
    """
    steps = np.frombuffer(base64.b64decode(packed["steps"]), dtype="<i2").reshape(-1, m)
    return steps * np.asarray(packed["scale"])[:, None]


def rounded(values: ArrayLike, digits: int = 4) -> list:
    """Return numbers with few significant digits.

    Parameters
    ----------
    values : array-like of float
        Any shape.
    digits : int, default=4
        Significant digits to keep.

    Returns
    -------
    numbers : list
        Nested as the array is; integral numbers are ints, and those that are not finite None.

    Examples
    --------
    >>> from sklearn_synset.inspection._report._packing import rounded
    >>> rounded([3.14159, 2.0, float("nan")])
    [3.142, 2, None]
    """
    numbers = np.asarray(values, dtype=float)
    if numbers.ndim > 1:
        return [rounded(each, digits) for each in numbers]
    return [_short(value, digits) for value in numbers.tolist()]


def _short(value: float, digits: int) -> float | int | None:
    if not np.isfinite(value):
        return None
    number = float(f"{value:.{digits}g}")
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def json_for_script(contents: object) -> str:
    r"""Return JSON that is safe inside a `script` element of a page.

    Parameters
    ----------
    contents : object
        Dicts, lists, texts, finite numbers and None; numpy's arrays and numbers are converted.

    Returns
    -------
    text : str
        ASCII without `<`, `>` and `&`, so that no text in it can end the element or start
        another.

    Raises
    ------
    ValueError
        If a number is not finite.

    Examples
    --------
    >>> from sklearn_synset.inspection._report._packing import json_for_script
    >>> json_for_script({"label": "</script>"})
    '{"label":"\\u003c/script\\u003e"}'
    """
    text = json.dumps(contents, allow_nan=False, separators=(",", ":"), default=_converted)
    return text.translate(_ESCAPES)


def _converted(value: object) -> object:
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no place in a report.")
