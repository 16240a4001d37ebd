"""Whether a figure can be read: every text inside it, and no text upon another."""

from itertools import combinations

from matplotlib.text import Text

TOLERANCE = 1.0  # pixels that boxes of texts may share


def axes_of(figure):
    return figure.findobj(lambda artist: hasattr(artist, "xaxis"))


def tick_labels(axis):
    """Return the labels of ticks inside the limits."""
    low, high = sorted(axis.get_view_interval())
    rounding = 1e-9 * (high - low)
    ticks = [
        tick
        for tick in axis.get_major_ticks()
        if low - rounding <= tick.get_loc() <= high + rounding
    ]
    return [label for tick in ticks for label in (tick.label1, tick.label2)]


def written_texts(figure):
    """Return what is drawn of the figure's texts."""
    drawn, elsewhere = [], set()
    for ax in axes_of(figure):
        for axis in (ax.xaxis, ax.yaxis):
            elsewhere |= set(axis.findobj(Text))
            if ax.axison:
                drawn += [*tick_labels(axis), axis.label, axis.offsetText]
    drawn += [text for text in figure.findobj(Text) if text not in elsewhere]
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
