"""What the displays share: matplotlib on demand, colours, and labels that fit."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours: distinct with any colour vision, and by lightness in grey.
HELPS, HURTS, MEASURED, MUTED = "#0072B2", "#E69F00", "black", "0.55"
# Lines differ by marker and dashes too.
LINE_STYLES = [
    {"color": "black", "marker": "o", "linestyle": "-"},
    {"color": HELPS, "marker": "s", "linestyle": "--"},
    {"color": HURTS, "marker": "^", "linestyle": "-."},
    {"color": "#CC79A7", "marker": "D", "linestyle": ":"},
]
SMALL = 8  # points
WIDTH = 8.0  # inches: 800 px at matplotlib's default resolution


def check_matplotlib(caller: str) -> None:
    """Raise an ImportError that says what to install when matplotlib is missing."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"{caller} needs matplotlib; install it with pip install 'sklearn-synset[plot]'."
        ) from error


def new_axes(caller: str, ax: Axes | None, height: float) -> Axes:
    """Return the given axes, or those of a new figure that keeps labels apart."""
    check_matplotlib(caller)
    import matplotlib.pyplot as plt

    if ax is not None:
        return ax
    return plt.subplots(figsize=(WIDTH, height), layout="constrained")[1]


def shortened(label: object, length: int) -> str:
    """Return a label as text of at most `length` characters.

    Examples
    --------
    >>> from sklearn_synset.inspection._plotting import shortened
    >>> shortened("St. Mary's Hospital", 10)
    "St. Mary'…"
    """
    text = " ".join(str(label).split())
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def wrapped(label: object, width: int, n_lines: int = 3) -> str:
    """Return a label as text in lines that break at spaces and underscores.

    Parameters
    ----------
    label : object
        Text, number or anything else.
    width : int
        Longest line; longer words are cut.
    n_lines : int, default=3
        The most lines.

    Examples
    --------
    >>> from sklearn_synset.inspection._plotting import wrapped
    >>> wrapped("worst_fractal_dimension", 9).split(chr(10))
    ['worst', 'fractal', 'dimension']
    """
    text = str(label).replace("_", " ")
    lines = wrap(text, width, break_long_words=False, max_lines=n_lines, placeholder="…")
    return "\n".join(shortened(line, width) for line in lines)


def group_name(label: object, length: int = 18) -> str:
    """Return how a group is called in a picture.

    Parameters
    ----------
    label : object
        Its label.
    length : int, default=18
        Longest name.

    Returns
    -------
    name : str
        The label itself when it is a text, "group" and the label when it is a number.
    """
    return shortened(label if isinstance(label, str) else f"group {label}", length)


def signed(value: float) -> str:
    """Return a number with its sign, in two significant digits or as an integer.

    Examples
    --------
    >>> from sklearn_synset.inspection._plotting import signed
    >>> signed(0.1234), signed(-1234.0)
    ('+0.12', '-1234')
    """
    return f"{value:+.0f}" if 100 <= abs(value) < 1e6 else f"{value:+.2g}"


def effect_label(quantity: str, unit: str | None) -> str:
    """Return the label of an axis with effects on it.

    Parameters
    ----------
    quantity : str
        What is affected, such as "log-odds".
    unit : str or None
        Its unit; None for a number without one.
    """
    return f"effect on the {quantity}" + (f" ({unit})" if unit else "")


def set_thinned_ticks(axis, labels: list[str], n_max: int, **text) -> None:
    """Label the places 0, 1, … of an axis, or every 2nd, 5th, 10th, … if they are many."""
    steps = [base * 10**power for power in range(6) for base in (1, 2, 5)]
    step = next(step for step in steps if len(labels) <= step * n_max)
    places = np.arange(0, len(labels), step)
    axis.set_ticks(places, [labels[place] for place in places], **text)
