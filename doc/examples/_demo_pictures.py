"""The demo's pictures."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from _demo_report import agreement, group_class, group_rows, largest_move, nearest
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

# Okabe and Ito's colours, told apart with any colour vision and by lightness.
UP, DOWN, TRUTH, GREY = "#0072B2", "#D55E00", "black", "0.55"
PICTURE = {"cmap": "gray_r", "vmin": 0, "vmax": 1, "interpolation": "nearest"}
N_TYPICAL = 4


def save(figure, path):
    """Write a figure and forget it."""
    figure.savefig(path, dpi=110)
    plt.close(figure)


def show(axes, row):
    """Draw a row as the image of a digit."""
    axes.imshow(row.reshape(8, 8), **PICTURE)
    axes.set(xticks=[], yticks=[])


def draw_scatter(every, path):
    """Draw predicted against retrained effects of the handful of groups."""
    figure, panels = plt.subplots(1, len(every), figsize=(10, 5), layout="constrained")
    for axes, findings in zip(panels, every, strict=True):
        x = findings.predicted[:, findings.handful].ravel()
        y = findings.retrained.mean(0)[:, findings.handful].ravel()
        found = agreement(findings)
        span = np.array([min(x.min(), y.min()), max(x.max(), y.max())])
        span += np.array([-0.05, 0.05]) * np.ptp(span)
        axes.plot(span, span, color=GREY, linestyle="--", label="1:1")
        line = np.poly1d(np.polyfit(x, y, 1))
        axes.plot(span, line(span), color=DOWN, label=f"fit, slope {found['slope']:.2f}")
        axes.scatter(x, y, s=9, color=UP, alpha=0.45, linewidths=0)
        axes.set(xlim=span, ylim=span, aspect="equal", xlabel="predicted effect (nats)")
        title = f"{findings.name}: {len(findings.handful)} groups × {len(findings.X_query)} rows"
        axes.set_title(f"{title}\nrank correlation within a row {found['rank']:.2f}", fontsize=11)
        axes.legend(loc="upper left")
    panels[0].set_ylabel(f"retrained effect, mean of {len(every[0].retrained)} seeds (nats)")
    save(figure, path)


def draw_digit(findings, strongest, path):
    """Draw the first shown digit with the groups that hold it up and pull it down."""
    row = next(iter(findings.shown))
    columns = strongest(findings.predicted[row])
    figure = plt.figure(figsize=(10, 4.8))
    bottom, top = 0.2, 0.9
    axes = figure.add_axes((0.02, 0.3, 0.2, 0.42))
    show(axes, findings.X_query[row])
    predicted, true = findings.predicted_label[row], findings.y_query[row]
    axes.set_title(f"held-out row {findings.query_index[row]}\npredicted {predicted}, is {true}")
    axes.set_xlabel(f"log-odds of {predicted}:\n{findings.margin[row]:+.2f} nats")
    grid = figure.add_gridspec(
        *(len(columns), N_TYPICAL), left=0.26, right=0.52, bottom=bottom, top=top, hspace=0.12
    ).subplots(squeeze=False)
    for line, column in zip(grid, columns, strict=True):
        rows = group_rows(findings, column)
        for thumbnail, image in zip(line, nearest(rows, rows.mean(0)), strict=False):
            show(thumbnail, image)
        for thumbnail in line:
            thumbnail.set_axis_off()
    figure.text(0.39, top + 0.025, "typical rows of the group", ha="center", fontsize=11)
    draw_bars(figure.add_axes((0.65, bottom, 0.33, top - bottom)), findings, row, columns)
    save(figure, path)


def draw_bars(axes, findings, row, columns):
    """Draw the signed effects of some groups on one held-out row."""
    effects = findings.predicted[row, columns]
    seeds = findings.retrained[:, row, columns]
    places = np.arange(len(columns))
    axes.barh(places, effects, color=np.where(effects > 0, UP, DOWN), height=0.6)
    axes.errorbar(
        *(seeds.mean(0), places),
        xerr=seeds.std(0, ddof=1),
        fmt="D",
        color=TRUTH,
        markerfacecolor="white",
        capsize=3,
        label=f"retrained, mean ± deviation of {len(seeds)} seeds",
    )
    labels = []
    for column in columns:
        name, size = group_class(findings, column)
        labels.append(f"group {findings.attributor.groups_[column]}\n{size} rows of {name}")
    axes.set_yticks(places, labels)
    axes.set(ylim=(len(columns) - 0.5, -0.5), xlabel="effect on the log-odds (nats)")
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_title("predicted: holds up (blue), pulls down (orange)", fontsize=10)
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, -0.13), frameon=False)


def draw_synset(findings, path, n_groups=4, n_shown=5):
    """Draw synset rows of the strongest groups beside typical rows of these groups."""
    attributor = findings.attributor
    figure = plt.figure(figsize=(11, 7.2), layout="constrained")
    left, right = figure.subfigures(1, 2, wspace=0.04, width_ratios=[1.06, 1])
    moved = largest_move(findings)
    kind = f"moved by up to {moved:.2f} from real rows" if moved else "inputs of real rows"
    left.suptitle("typical real rows of the group\n")
    right.suptitle(f"synset rows ({kind}):\nlikeliest class (probability) × weight in rows")
    columns = findings.handful[:n_groups]
    real, made = (side.subplots(len(columns), n_shown) for side in (left, right))
    for axes in (*real.flat, *made.flat):
        axes.set(xticks=[], yticks=[], xlabel="\n")
        axes.set_frame_on(False)
    for column, real_axes, made_axes in zip(columns, real, made, strict=True):
        group = attributor.groups_[column]
        name, size = group_class(findings, column)
        real_axes[0].set_ylabel(f"group {group}\n{size} rows of {name}")
        members = group_rows(findings, column)
        for axes, image in zip(real_axes, nearest(members, members.mean(0)), strict=False):
            show(axes, image)
        rows = np.flatnonzero(attributor.synset_groups_ == group)
        for axes, row in zip(made_axes, rows, strict=False):
            target = attributor.y_synset_[row]
            show(axes, attributor.X_synset_[row])
            label = findings.class_names[target.argmax()]
            weight = attributor.sample_weight_synset_[row]
            axes.set_xlabel(f"{label} ({target.max():.2f}) × {weight:.1f}\n", fontsize=9)
    save(figure, path)


def draw_loss_curves(every, path, window=51):
    """Draw the distance between the groups' gradients during the distillation."""
    figure, panels = plt.subplots(1, len(every), figsize=(10, 4), layout="constrained")
    for axes, findings in zip(panels, every, strict=True):
        curve = findings.attributor.matching_loss_curve_
        axes.plot(curve, ".", color=UP, alpha=0.4, markersize=3, label="each step")
        if len(curve) >= window:
            means = np.exp(np.convolve(np.log(curve), np.full(window, 1 / window), "valid"))
            steps = np.arange(len(means)) + window // 2
            label = f"geometric mean of {window} steps"
            axes.plot(steps, means, color=DOWN, label=label)
        axes.set(yscale="log", xlabel="step of the distillation", title=findings.name)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(ScalarFormatter())
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.legend(loc="upper right")
    panels[0].set_ylabel("distance of the gradients (relative)")
    save(figure, path)
