"""The demo's pictures."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from sklearn_synset.inspection import (
    AttributionDisplay,
    FidelityDisplay,
    MatchingCurveDisplay,
    SynsetDisplay,
)

PANELS = {"nrows": 1, "ncols": 2, "figsize": (10, 5.4), "layout": "constrained"}


def save(figure, path):
    """Write a figure and forget it."""
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw_scatter(every, path):
    """Draw predicted against retrained effects of the handful of groups."""
    figure, panels = plt.subplots(**PANELS)
    for axes, findings in zip(panels, every, strict=True):
        predicted, retrained = (
            effects[..., findings.handful] for effects in (findings.predicted, findings.retrained)
        )
        FidelityDisplay.from_effects(predicted, retrained, ax=axes)
        axes.set_title(f"{findings.name}\n{axes.get_title()}", fontsize="medium")
    save(figure, path)


def draw_digit(findings, n_groups, path):
    """Draw the first shown digit with the groups that hold it up and pull it down."""
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


def draw_synset(findings, path, n_groups=4):
    """Draw synset rows of the strongest groups beside typical rows of these groups."""
    display = SynsetDisplay.from_estimator(
        *(findings.attributor, findings.X, findings.y),
        groups=findings.attributor.groups_[findings.handful[:n_groups]],
        image_shape=(8, 8),
    )
    save(display.figure_, path)


def draw_loss_curves(every, path):
    """Draw the distance between the groups' gradients during the distillation."""
    figure, panels = plt.subplots(**{**PANELS, "figsize": (10, 4)})
    for axes, findings in zip(panels, every, strict=True):
        MatchingCurveDisplay.from_estimator(findings.attributor, ax=axes)
        axes.set_title(findings.name)
    save(figure, path)
