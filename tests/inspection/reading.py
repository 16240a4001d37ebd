"""Whether a figure can be read: every text inside it, and no text upon another."""

from itertools import combinations

from matplotlib.text import Text

TOLERANCE = 1.0  # pixels that boxes of texts may share


def written_texts(figure):
    """Return what is drawn of the figure's texts."""
    on_axes = set()
    drawn = []
    for ax in figure.findobj(lambda artist: hasattr(artist, "xaxis") and artist.axison):
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            rounding = 1e-9 * (high - low)
            ticks = zip(axis.get_majorticklocs(), axis.get_majorticklabels(), strict=True)
            drawn += [label for at, label in ticks if low - rounding <= at <= high + rounding]
    for ax in figure.findobj(lambda artist: hasattr(artist, "xaxis")):
        for axis in (ax.xaxis, ax.yaxis):
            on_axes |= {*axis.get_majorticklabels(), *axis.get_minorticklabels()}
            on_axes |= set() if ax.axison else {axis.label, axis.offsetText}
    drawn += [text for text in figure.findobj(Text) if text not in on_axes]
    return [text for text in dict.fromkeys(drawn) if text.get_text() and text.get_visible()]


def assert_readable(figure):
    """Fail when a text is cut off or lies upon another at 100 dots per inch."""
    figure.set_dpi(100)
    figure.draw_without_rendering()
    boxes = [(text.get_text(), text.get_window_extent()) for text in written_texts(figure)]
    assert boxes
    for text, box in boxes:
        inside = box.x0 >= -TOLERANCE and box.y0 >= -TOLERANCE
        inside &= box.x1 <= figure.bbox.x1 + TOLERANCE and box.y1 <= figure.bbox.y1 + TOLERANCE
        assert inside, f"{text!r} at {box} leaves the figure {figure.bbox}"
    for (first, a), (second, b) in combinations(boxes, 2):
        width, height = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert min(width, height) <= TOLERANCE, f"{first!r} and {second!r} overlap: {a}, {b}"


def lightness(colors):
    """Return the relative luminance of colours (n, 3 or 4)."""
    return colors[:, :3] @ [0.2126, 0.7152, 0.0722]
