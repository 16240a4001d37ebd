"""The demo's pictures."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from sklearn_synset.inspection import (
    AttributionDisplay,
    FidelityDisplay,
    MislabelDisplay,
)

PANELS = {"nrows": 1, "ncols": 2, "figsize": (10, 5.4), "layout": "constrained"}


def save(figure, path):
    """Write a figure and forget it."""
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw_scatter(every, path):
    """Draw predicted against retrained effects of the chosen groups."""
    figure, panels = plt.subplots(**PANELS)
    for axes, findings in zip(panels, every, strict=True):
        predicted, retrained = (
            effects[..., findings.handful] for effects in (findings.predicted, findings.retrained)
        )
        FidelityDisplay.from_effects(predicted, retrained, ax=axes)
        axes.set_title(f"{findings.name}\n{axes.get_title()}", fontsize="medium")
    save(figure, path)


def draw_digit(findings, n_groups, path):
    """Draw the first shown digit with the groups that support and oppose its prediction."""
    row = next(iter(findings.shown))
    display = AttributionDisplay.from_estimator(
        *(findings.attributor, findings.X_query[[row]]),
        X_train=findings.X,
        y_train=findings.y,
        retrained=findings.retrained[:, [row]],
        image_shape=(8, 8),
        n_groups=n_groups,
    )
    true = findings.y_query[row]
    display.figure_.suptitle(f"Why this digit? Held-out row {findings.query_index[row]}, a {true}")
    save(display.figure_, path)


def draw_map(findings, path):
    """Draw the effects of all groups on the first held-out rows."""
    display = AttributionDisplay.from_estimator(findings.attributor, findings.X_query[:30])
    save(display.figure_, path)


def draw_suspicious_labels(findings, path):
    """Draw the training digits whose labels the other digits contradict."""
    display = MislabelDisplay.from_estimator(
        *(findings.attributor, findings.X, findings.y), image_shape=(8, 8)
    )
    save(display.figure_, path)
