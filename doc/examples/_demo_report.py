"""What the demo prints, and the table that it writes."""

import numpy as np
import pandas as pd

from sklearn_synset.metrics import (
    calibration_slope,
    leave_one_out_ceiling,
    leave_one_out_correlation,
)

POOR, GOOD = 0.35, 0.5  # rank correlations


def group_class(findings, column):
    """Return the name of the class that a group's rows have, and how many rows these are."""
    attributor = findings.attributor
    members = attributor.group_labels_ == attributor.groups_[column]
    label = np.bincount(findings.y[members]).argmax()
    return findings.class_names[label], int(members.sum())


def agreement(findings):
    """Compare predicted with retrained effects on the chosen groups.

    Returns
    -------
    dict of float
        `rank`: Spearman correlation over the groups with the mean over seeds, mean over queries;
        `rank_others` and `retraining_others`: the same of the predicted effects, and of one seed,
        with the mean over the other seeds, mean over seeds; `slope`: least-squares slope of the
        retrained on the predicted effect; `noise`: standard deviation of an effect over seeds,
        root mean square, in nats.
    """
    predicted = findings.predicted[:, findings.handful]
    seeds = findings.retrained[:, :, findings.handful]
    truth = seeds.mean(0)
    others = [np.delete(seeds, i, 0).mean(0) for i in range(len(seeds))]
    return {
        "rank": leave_one_out_correlation(truth, predicted),
        "rank_others": np.mean([leave_one_out_correlation(other, predicted) for other in others]),
        "retraining_others": leave_one_out_ceiling(seeds),
        "slope": calibration_slope(truth, predicted),
        "noise": np.sqrt(seeds.var(0, ddof=1).mean()),
    }


def print_effects(findings, strongest):
    """Print which groups support and oppose a few held-out predictions."""
    (n, width), n_classes = findings.X.shape, len(findings.class_names)
    sizes = f"{width}-{findings.recipe.n_hidden}-{n_classes}"
    on_training, held_out = findings.accuracy
    print(
        f"\n{findings.name.upper()}: {sizes} network trained on {n} rows in "
        f"{findings.predicted.shape[1]} groups"
        f"\naccuracy {on_training:.3f} on the training rows, {held_out:.3f} on held-out rows"
        "\n\nHow groups were left out (plan_):"
    )
    for reason in findings.attributor.plan_.reasons:
        print(f"  {reason}")
    print(
        "\nEffect of a group on the log-odds of the predicted class, in nats"
        f"\n{'':16s} {'group':>5s}  {'class of group':14s} {'rows':>4s} {'predicted':>9s} "
        f"{'retrained':>9s}  (mean ± deviation over {len(findings.retrained)} seeds)"
    )
    for row, why in findings.shown.items():
        print_row(findings, row, why, strongest(findings.predicted[row]))


def print_row(findings, row, why, columns):
    """Print the groups that matter most to one held-out row."""
    predicted, true = (
        findings.class_names[label[row]] for label in (findings.predicted_label, findings.y_query)
    )
    index, log_odds = findings.query_index[row], findings.margin[row]
    print(f"row {index} ({why}): predicted {predicted}, is {true}; log-odds {log_odds:+.2f}")
    for column in columns:
        effect = findings.predicted[row, column]
        seeds = findings.retrained[:, row, column]
        label, size = group_class(findings, column)
        verb = "supported by" if effect > 0 else "opposed by"
        group = findings.attributor.groups_[column]
        print(f"  {verb:14s} {group!s:>5s}  {label:14s} {size:4d} {effect:+9.2f} ", end="")
        print(f"{seeds.mean():+9.2f} ± {seeds.std(ddof=1):.2f}{remark(effect, seeds)}")


def remark(effect, seeds):
    """Return a remark where retraining does not confirm a predicted effect."""
    if abs(seeds.mean()) < seeds.std(ddof=1):
        return "  (below seed noise)"
    return "" if effect * seeds.mean() > 0 else "  WRONG SIGN"


def print_summary(findings):
    """Print how well predicted and retrained effects agree, and what they cost."""
    found, fidelity = agreement(findings), findings.attributor.fidelity_
    n_queries, n_groups = findings.predicted.shape
    n, seconds = len(findings.retrained), findings.seconds
    offline, online = seconds["fit"], seconds["transform"]
    every = n_groups * seconds["network"]
    source = f"(extrapolated from {seconds['network']:.2f} s a network)"
    lines = [
        ("rank correlation over the groups, mean over rows", ""),
        (f"  predicted with the mean of {n} retrainings", f"{found['rank']:8.2f}"),
        (f"  predicted with the mean of {n - 1}", f"{found['rank_others']:8.2f}"),
        ("  the remaining retraining with that mean", f"{found['retraining_others']:8.2f}"),
        ("  fidelity_, known before this check", f"{fidelity.rank_correlation:8.2f}"),
        ("slope of retrained on predicted effects (1: real units)", ""),
        ("  measured", f"{found['slope']:8.2f}"),
        ("  fidelity_, known before this check", f"{fidelity.slope:8.2f}"),
        ("deviation of a retrained effect from seed to seed", f"{found['noise']:8.2f} nats"),
        ("fit", f"{offline:8.1f} s"),
        ("transform", f"{online:10.3f} s"),
        (f"retraining once without each of {n_groups} groups", f"{every:8.1f} s {source}"),
        ("  divided by fit", f"{every / offline:8.1f}"),
    ]
    print(f"\n{findings.name.upper()}: {len(findings.handful)} groups, {n_queries} held-out rows")
    for label, value in lines:
        print(f"  {label:50s} {value}".rstrip())
    for line in verdict(found, every, seconds):
        print(f"  -> {line}")


def verdict(found, every, seconds):
    """Yield the conclusions of the summary."""
    if not found["rank"] >= POOR:
        yield "POOR: do not trust the order of the groups."
    elif found["rank"] < GOOD:
        yield "FAIR: trust only the strongest groups."
    else:
        yield "GOOD: the order of the groups agrees with retraining."
    if found["rank_others"] < found["retraining_others"]:
        yield "One real retraining of each group would have predicted their order better."
    if not 0.5 <= found["slope"] <= 2:
        yield f"The sizes are wrong: multiply them by about {found['slope']:.2g}."
    if every < seconds["fit"]:
        yield "NOT FASTER: on data this small, retraining every group once takes less than fit."


def write_table(every, path):
    """Write every effect as one line."""
    pd.concat([long_table(findings) for findings in every]).to_csv(
        path, index=False, float_format="%.5g"
    )


def long_table(findings):
    """Return a line for each held-out row and group."""
    n_queries, n_groups = findings.predicted.shape
    classes, sizes = zip(*(group_class(findings, k) for k in range(n_groups)), strict=True)
    names = findings.class_names
    by_row = {
        "index": findings.query_index,
        "true_label": names[findings.y_query],
        "predicted_label": names[findings.predicted_label],
        "log_odds": findings.margin,
    }
    by_group = {"group": findings.attributor.groups_, "group_class": classes, "group_rows": sizes}
    return pd.DataFrame(
        {"data_set": findings.name}
        | {key: np.repeat(values, n_groups) for key, values in by_row.items()}
        | {key: np.tile(values, n_queries) for key, values in by_group.items()}
        | {"predicted_effect": findings.predicted.ravel()}
        | {"retrained_effect": findings.retrained.mean(0).ravel()}
    )
