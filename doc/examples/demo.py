"""Explain two networks by their training data, and check the explanation by real retraining.

`make demo` runs this on scikit-learn's digits and on its breast cancer table. For each it trains a
network, attributes its predictions on held-out rows to groups of training rows, retrains the
network without some of the groups, and prints how well prediction and truth agree. Pictures,
`attributions.csv` and a report on the digits, `report.html`, are written to `out/` in the current
directory.

With `SYNSET_EXAMPLES_QUICK=1` everything is cut short: this shows that the demo runs, not that the
results are good.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from _demo_network import Recipe, logits, margin, retrained_effects, skorch_net
from _demo_pictures import draw_digit, draw_map, draw_scatter, draw_suspicious_labels
from _demo_report import print_effects, print_summary, write_table
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from sklearn_synset import SynsetAttributor
from sklearn_synset.inspection import AttributionReport

QUICK = os.environ.get("SYNSET_EXAMPLES_QUICK") == "1"
SEEDS = range(2) if QUICK else range(3)
N_STRONGEST, N_RANDOM = (2, 2) if QUICK else (3, 3)  # groups that the summary is about
N_SHOWN = 4  # groups shown for a held-out row
EPOCHS = 5 if QUICK else 30
OUT = Path("out")


@dataclass
class Findings:
    """A data set, the network trained on it, and the effects of its groups."""

    name: str
    class_names: np.ndarray
    recipe: Recipe
    X: np.ndarray
    y: np.ndarray
    X_query: np.ndarray
    y_query: np.ndarray
    query_index: np.ndarray  # of the held-out rows in scikit-learn's table
    attributor: SynsetAttributor = None
    predicted_label: np.ndarray = None
    margin: np.ndarray = None  # (queries,)
    predicted: np.ndarray = None  # (queries, groups)
    retrained: np.ndarray = None  # (seeds, queries, groups); NaN where not retrained
    accuracy: tuple = None  # on the training rows and on the held-out rows
    handful: np.ndarray = None  # groups that the summary is about
    shown: dict = None  # held-out row -> why it is shown
    seconds: dict = None


def split(name, data, n_train, n_query, recipe):
    """Split a data set into training and held-out rows."""
    n_train, n_query = (n_train // 3, 30) if QUICK else (n_train, n_query)
    X_train, X_query, y, y_query, _, index = train_test_split(
        *(data.data, data.target, np.arange(len(data.target))),
        train_size=n_train,
        test_size=n_query,
        stratify=data.target,
        random_state=0,
    )
    if name == "digits":
        X_train, X_query = X_train / 16, X_query / 16
    else:
        scaler = StandardScaler().fit(X_train)
        X_train, X_query = scaler.transform(X_train), scaler.transform(X_query)
    rows = X_train.astype(np.float32), y, X_query.astype(np.float32), y_query
    return Findings(name, data.target_names.astype(str), recipe, *rows, index)


def explain(findings):
    """Train the network, leave each group out, and attribute the held-out predictions."""
    net = skorch_net(findings.recipe, findings.X, findings.y)
    attributor = SynsetAttributor(net, random_state=0, verbose=1)
    start = time.perf_counter()
    attributor.fit(findings.X, findings.y)
    fitted = time.perf_counter()
    findings.predicted = attributor.transform(findings.X_query).astype(float)
    findings.seconds = {"fit": fitted - start, "transform": time.perf_counter() - fitted}
    findings.attributor = attributor
    module = attributor.estimator_.module_.eval()
    outputs = logits(module, findings.X_query)
    findings.predicted_label = outputs.argmax(1)
    findings.margin = margin(outputs, findings.predicted_label)
    findings.accuracy = (
        float((logits(module, findings.X).argmax(1) == findings.y).mean()),
        float((findings.predicted_label == findings.y_query).mean()),
    )


def choose(findings):
    """Choose the groups that are checked, and the held-out rows that are shown."""
    strength = np.abs(findings.predicted).mean(0)
    order = np.argsort(-strength)
    others = np.random.default_rng(0).permutation(order[N_STRONGEST:])
    findings.handful = np.concatenate([order[:N_STRONGEST], others[:N_RANDOM]])
    wrong = findings.predicted_label != findings.y_query
    by_margin = np.argsort(findings.margin)
    right = by_margin[~wrong[by_margin]]
    findings.shown = {right[len(right) // 2]: "typical"}
    if wrong.any():
        mistakes = by_margin[wrong[by_margin]][::-1]
        # A row with groups on both sides makes the better picture.
        is_mixed = [has_both_signs(findings.predicted[row]) for row in mistakes]
        mistake = mistakes[np.argmax(is_mixed)]
        findings.shown = {mistake: "mistake", **findings.shown}


def strongest(effects):
    """Return the groups with the largest effects, supporting groups first."""
    columns = np.argsort(-np.abs(effects), kind="stable")[:N_SHOWN]
    return columns[np.argsort(-effects[columns], kind="stable")]


def has_both_signs(effects):
    """Return whether the strongest groups both support and oppose a prediction."""
    signs = np.sign(effects[strongest(effects)])
    return signs.min() < 0 < signs.max()


def check(findings):
    """Retrain the network without the chosen groups and those of the shown rows."""
    shown = [strongest(findings.predicted[row]) for row in findings.shown]
    groups = np.unique(np.concatenate([findings.handful, *shown]))
    findings.retrained = np.full((len(SEEDS), *findings.predicted.shape), np.nan)
    attributor = findings.attributor
    n_networks = len(SEEDS) * len(groups)
    start = time.perf_counter()
    with tqdm(total=n_networks, desc="Retraining") as progress:
        findings.retrained[:, :, groups] = retrained_effects(
            *(findings.recipe, findings.X, findings.y),
            *(attributor.group_labels_, attributor.groups_[groups]),
            *(findings.X_query, findings.predicted_label),
            seeds=SEEDS,
            progress=progress,
        )
    elapsed = time.perf_counter() - start
    findings.seconds["network"] = elapsed / (n_networks + len(SEEDS))


def write_report(findings, path):
    """Write a report that a colleague without Python can read in a browser."""
    AttributionReport(
        *(findings.attributor, findings.X_query, findings.y_query),
        X_train=findings.X,
        y_train=findings.y,
        query_names=findings.query_index,
        image_shape=(8, 8),
        title="Handwritten digits: the training data behind each prediction",
        description="A network with one hidden layer reads images of 8 × 8 pixels. Queries were "
        "held out of its training and are named by their position in scikit-learn's table.",
    ).write_html(path)


def main():
    """Run the demo on both data sets."""
    # On matrices this small, a second thread costs more time than it saves.
    torch.set_num_threads(1)
    OUT.mkdir(exist_ok=True)
    start = time.perf_counter()
    every = [
        split("digits", load_digits(), 1000, 200, Recipe(32, 0.2, EPOCHS)),
        split("breast cancer", load_breast_cancer(), 400, 169, Recipe(16, 0.1, EPOCHS)),
    ]
    for findings in every:
        explain(findings)
        choose(findings)
        check(findings)
        print_effects(findings, strongest)
    for findings in every:
        print_summary(findings)
    if QUICK:
        print("\nSYNSET_EXAMPLES_QUICK=1: everything was cut short; these results mean nothing.")
    write_table(every, OUT / "attributions.csv")
    draw_scatter(every, OUT / "predicted_against_retrained.png")
    draw_digit(every[0], N_SHOWN, OUT / "one_digit.png")
    draw_map(every[0], OUT / "map.png")
    draw_suspicious_labels(every[0], OUT / "suspicious_labels.png")
    write_report(every[0], OUT / "report.html")
    files = ", ".join(sorted(path.name for path in OUT.iterdir()))
    print(f"\nWrote {files} to {OUT}/ after {time.perf_counter() - start:.0f} s.")


if __name__ == "__main__":
    main()
