"""Is the network that `leave_out` returns the one that real retraining gives?

    python doc/benchmarks/bench_leave_out.py                 # digits, cancer and 2,000 of fashion
    python doc/benchmarks/bench_leave_out.py digits --seeds 5

A network is trained, explained, and left without a class, without single groups of the largest
class-wise clusters, without random rows (5%) and without the rows whose labels were flipped (5%).
Real retraining trains a new network, from another seed than the first, on the rows that remain.

removed, rest   accuracy on the training rows that were left out, and on the others
test            accuracy on test rows; without a class, on those of the other classes
agree           share of test rows on which a network predicts what the retrained one does
member          probability that a row that was left out has a larger margin than a test row: 0.5
                when nothing tells that the network has seen it. Without a class or a group, test
                rows are those next to its rows; without wrong labels, test rows have such too.
margin          mean margin of the left-out rows, nats

Printed are means over seeds (and over the classes or groups that were left out).
"""

import argparse
import warnings

import numpy as np
import torch
from _skorch_tasks import TASKS, seeded_fit
from bench_fidelity import parse_value
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import pairwise_distances_argmin, roc_auc_score

from sklearn_synset import SynsetAttributor

COLUMNS = ("removed", "rest", "test", "agree", "member", "margin")
N_LEFT_OUT = 2


def margins(net, X, y):
    """Log-odds of each row's label, in nats."""
    logits = net.forward(X).double()
    label = torch.as_tensor(y)[:, None]
    others = logits.scatter(1, label, -torch.inf).logsumexp(1)
    return (logits.gather(1, label)[:, 0] - others).numpy()


def figures(net, retrained, data, removed, unseen, judged, like):
    """Return the columns of the table for one network."""
    X, y, X_test, y_test = data
    correct, predicted = net.predict(X) == y, net.predict(X_test)
    seen = margins(net, X[removed], y[removed])
    fresh = margins(net, X_test[unseen], like[unseen])
    label = np.repeat([1, 0], [len(seen), len(fresh)])
    return (
        correct[removed].mean(),
        correct[~removed].mean(),
        (predicted == y_test)[judged].mean(),
        (predicted == retrained.predict(X_test)).mean(),
        roc_auc_score(label, np.concatenate([seen, fresh])),
        seen.mean(),
    )


def fitted_attributor(task, X, y, seed, params):
    """Train a network and explain it."""
    net = seeded_fit(task.net(), X, y, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        attributor = SynsetAttributor(FrozenEstimator(net), random_state=seed, **params)
        return net, attributor.fit(X, y)


def compare(task, data, net, attributor, removed, arguments, seed, like=None):
    """Return the figures of the trained network, of ours and of the retrained one."""
    X, y, X_test, y_test = data
    retrained = seeded_fit(task.net(), X[~removed], y[~removed], seed + 1000)
    ours = attributor.leave_out(**arguments)
    gone = np.setdiff1d(y, y[~removed])
    unseen = np.flatnonzero(np.isin(y_test, y[removed]))
    if "groups" in arguments:
        # A test row is like what was left out if the training row next to it was left out.
        is_like = removed[pairwise_distances_argmin(X_test[unseen], X)]
        unseen = unseen[is_like] if is_like.any() else unseen
    judged = ~np.isin(y_test, gone)
    return [
        figures(each, retrained, data, removed, unseen, judged, y_test if like is None else like)
        for each in (net, ours, retrained)
    ]


def measure(task, seed, params):
    """Yield what was left out, and the figures of the three networks."""
    data = X, y, X_test, y_test = task.load(seed=seed)
    X, X_test = X.astype(np.float32), X_test.astype(np.float32)
    rng = np.random.RandomState(seed)
    net, attributor = fitted_attributor(task, X, y, seed, params)
    for code in rng.permutation(task.n_classes)[:N_LEFT_OUT]:
        if task.n_classes > 2:
            groups = np.unique(attributor.group_labels_[y == code])
            yield (
                "a class",
                compare(task, data, net, attributor, y == code, {"groups": groups}, seed),
            )
    largest = np.argsort(-np.bincount(attributor.group_labels_))[:N_LEFT_OUT]
    for group in largest:
        removed = attributor.group_labels_ == group
        yield "a group", compare(task, data, net, attributor, removed, {"groups": [group]}, seed)
    removed = rng.permutation(len(y)) < 0.05 * len(y)
    yield "5% of the rows", compare(task, data, net, attributor, removed, {"rows": removed}, seed)
    noisy = np.where(removed, (y + rng.randint(1, task.n_classes, len(y))) % task.n_classes, y)
    net, attributor = fitted_attributor(task, X, noisy, seed, params)
    data = X, noisy, X_test, y_test
    like = (y_test + rng.randint(1, task.n_classes, len(y_test))) % task.n_classes
    yield (
        "5% wrong labels",
        compare(task, data, net, attributor, removed, {"rows": removed}, seed, like),
    )


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tasks", nargs="*", default=["cancer", "digits", "fashion2000"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], metavar="PARAM=VALUE")
    args = parser.parse_args()
    params = {k: parse_value(v) for k, v in (item.split("=", 1) for item in args.set)}
    print(f"{'':46s}" + " ".join(f"{name:>8s}" for name in COLUMNS))
    for name in args.tasks:
        found = {}
        for seed in range(args.seeds):
            for what, rows in measure(TASKS[name], seed, params):
                found.setdefault(what, []).append(rows)
        for what, rows in found.items():
            for label, values in zip(
                ("trained", "leave_out", "retrained"), np.mean(rows, axis=0), strict=True
            ):
                cells = " ".join(f"{value:8.3f}" for value in values)
                print(f"{name:13s} {what:18s} {label:12s}  {cells}", flush=True)


if __name__ == "__main__":
    main()
