"""Does a synset that was distilled for one network stand for the rows to another architecture?

    python doc/benchmarks/bench_transfer.py
    python doc/benchmarks/bench_transfer.py digits --seeds 3 --set max_iter=0

A network with one hidden layer of 64 is trained and explained, with 20 groups. Networks of two
architectures, 64 and 128-64 hidden units, are then trained from scratch: on the exported synset and
on all training rows, with everything and without each of eight groups, from equal initial weights.

accuracy  on test rows, of networks trained on everything
LOO       mean over queries of the Spearman correlation over the left-out groups between the effects
          on the margins of test rows and those of training on all rows
slope     least-squares slope of the effects by all rows on the effects by the synset
again     LOO of training on all rows from other initial weights: what can be reached at most
scores    LOO of the attributor's own attributions
"""

import argparse
import warnings

import numpy as np
import torch
from _retraining import objective
from _skorch_tasks import TASKS, multi_layer_perceptron, seeded_fit
from bench_fidelity import parse_value
from sklearn.frozen import FrozenEstimator

from sklearn_synset import SynsetAttributor
from sklearn_synset.datasets import load_synset, synset_frame
from sklearn_synset.metrics import calibration_slope, leave_one_out_correlation

N_GROUPS, N_LEFT_OUT, N_STEPS, WEIGHT_DECAY = 20, 8, 300, 1e-3
ARCHITECTURES = {"64": (64,), "128-64": (128, 64)}


def train(widths, X, target, weight, seed):
    """Train a network on weighted rows with soft targets: Adam on all rows at once."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = multi_layer_perceptron(widths)
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.01, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, N_STEPS)
    share = weight / weight.sum()
    for _ in range(N_STEPS):
        optimizer.zero_grad()
        loss = -(share * (target * module(X).log_softmax(1)).sum(1)).sum()
        penalty = sum(part.square().sum() for part in module.parameters())
        (loss + 0.5 * WEIGHT_DECAY * penalty).backward()
        optimizer.step()
        schedule.step()
    return module


@torch.no_grad()
def margins(module, queries):
    """Return the margins of the queries' labels."""
    return objective(module(queries[0]), queries[1]).numpy()


def effects(widths, rows, groups, left_out, queries, seed):
    """Return the effect (q, g) of leaving groups out of some rows, and the accuracy with all."""
    X, target, weight = rows
    whole = train(widths, X, target, weight, seed)
    found = []
    for group in left_out:
        kept = torch.as_tensor(groups != group)
        module = train(widths, X[kept], target[kept], weight[kept], seed)
        found.append(margins(whole, queries) - margins(module, queries))
    with torch.no_grad():
        accuracy = float((whole(queries[0]).argmax(1) == queries[1]).double().mean())
    return np.stack(found, axis=1), accuracy


def measure(task, seed, params):
    """Yield each architecture's name and figures."""
    X, y, X_test, y_test = task.load(seed=seed)
    net = seeded_fit(task.net(), X, y, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        attributor = SynsetAttributor(
            FrozenEstimator(net), n_groups=N_GROUPS, random_state=seed, **params
        ).fit(X, y)
    synset = load_synset(synset_frame(attributor))
    of_synset = [
        torch.tensor(part, dtype=torch.float32)
        for part in (synset.data, synset.target, synset.sample_weight)
    ]
    of_rows = [
        torch.tensor(X),
        torch.nn.functional.one_hot(torch.tensor(y)).float(),
        torch.ones(len(y)),
    ]
    left_out = np.random.RandomState(seed).permutation(attributor.groups_)[:N_LEFT_OUT]
    queries = torch.tensor(X_test), torch.tensor(y_test)
    scores = attributor.attribute(X_test, y_test)[:, np.searchsorted(attributor.groups_, left_out)]
    for name, hidden in ARCHITECTURES.items():
        widths = (task.n_features, *hidden, task.n_classes)
        labels = attributor.group_labels_
        truth, accuracy = effects(widths, of_rows, labels, left_out, queries, seed)
        again, _ = effects(widths, of_rows, labels, left_out, queries, seed + 1000)
        predicted, synset_accuracy = effects(
            widths, of_synset, synset.groups, left_out, queries, seed
        )
        yield (
            name,
            (
                len(synset.data) / len(X),
                synset_accuracy,
                accuracy,
                leave_one_out_correlation(truth, predicted),
                calibration_slope(truth, predicted),
                leave_one_out_correlation(truth, again),
                leave_one_out_correlation(truth, scores),
            ),
        )


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tasks", nargs="*", default=["cancer", "digits"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], metavar="PARAM=VALUE")
    args = parser.parse_args()
    params = {k: parse_value(v) for k, v in (item.split("=", 1) for item in args.set)}
    columns = ("share", "acc syn", "acc rows", "LOO", "slope", "again", "scores")
    print(f"{'':22s}" + " ".join(f"{column:>8s}" for column in columns))
    for task in args.tasks:
        found = {}
        for seed in range(args.seeds):
            for name, figures in measure(TASKS[task], seed, params):
                found.setdefault(name, []).append(figures)
        for name, figures in found.items():
            cells = " ".join(f"{value:8.3f}" for value in np.mean(figures, axis=0))
            print(f"{task:13s} {name:8s} {cells}", flush=True)


if __name__ == "__main__":
    main()
