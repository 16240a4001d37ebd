"""Do rows with a wrong label get the lowest scores?

    python doc/benchmarks/bench_mislabel.py                                # everything: hours
    python doc/benchmarks/bench_mislabel.py cancer digits --seeds 2 --curves
    python doc/benchmarks/bench_mislabel.py fashion10000 --seeds 1 --set max_iter=0

10% or 20% of the training labels are flipped: "uniform", to any other class alike, or "class", to
the next class, where the rate rises from half of that for the first class to one and a half times
of it for the last. The same network (skorch, one hidden layer of 64) is trained on the noisy labels
and scores the rows:

ours      `SynsetAttributor.score_samples`
loss      its loss
gradient  squared norm of the row's gradient at the trained weights (TracIn's self-influence)
inverse   the row's gradient of the last layer in the norm of its inverse Gauss-Newton matrix,
          damped by 0.01 (self-influence as influence functions have it)
cv        probability of the given label out of 5-fold cross-validation (cleanlab's
          self-confidence), which trains the network five times

Printed are means over seeds: ROC-AUC, and the share of the wrong labels among the first 10% and
20% of the rows. With `--curves`: accuracy on test rows of networks retrained, from another seed,
without the rows that are scored lowest.
"""

import argparse
import time
import warnings
from itertools import product

import numpy as np
import torch
from _skorch_tasks import TASKS, seeded_fit
from bench_fidelity import parse_value
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from torch import nn
from torch.func import functional_call, grad, vmap

from sklearn_synset import SynsetAttributor

METHODS = ("ours", "loss", "gradient", "inverse", "cv")
RATES, KINDS = (0.1, 0.2), ("uniform", "class")
DROPPED = (0.05, 0.1, 0.2, 0.3)
DAMPING = 1e-2


def flip_labels(y, rate, kind, seed):
    """Return labels of which a share is wrong."""
    rng, noisy = np.random.RandomState(seed), y.copy()
    n_classes = y.max() + 1
    is_uniform = kind == "uniform"
    rates = np.full(n_classes, rate) if is_uniform else rate * np.linspace(0.5, 1.5, n_classes)
    for code, share in enumerate(rates):
        rows = np.flatnonzero(y == code)
        flipped = rng.choice(rows, round(share * len(rows)), replace=False)
        step = rng.randint(1, n_classes, len(flipped)) if is_uniform else 1
        noisy[flipped] = (code + step) % n_classes
    return noisy


def gradient_norms(module, X, y):
    """Squared norm of each row's gradient."""
    state = {name: weight.detach() for name, weight in module.named_parameters()}

    def loss(weights, x, label):
        return nn.functional.cross_entropy(functional_call(module, weights, (x[None],))[0], label)

    def norm(x, label):
        return sum(part.square().sum() for part in grad(loss)(state, x, label).values())

    return vmap(norm, chunk_size=100)(X, y).numpy()


@torch.no_grad()
def last_layer_influence(module, X, y):
    """Influence of each row on its own loss through the last layer."""
    hidden = torch.cat([module[:-1](X), torch.ones(len(X), 1)], 1).double()
    p = module(X).double().softmax(1)
    n_inputs, n_classes = hidden.shape[1], p.shape[1]
    curvature = torch.empty(n_classes, n_inputs, n_classes, n_inputs, dtype=torch.float64)
    for i, j in product(range(n_classes), repeat=2):
        weight = p[:, i] * (float(i == j) - p[:, j])
        curvature[i, :, j, :] = (hidden * weight[:, None]).T @ hidden / len(X)
    curvature = curvature.reshape(n_classes * n_inputs, -1)
    curvature.diagonal().add_(DAMPING)
    residual = p - nn.functional.one_hot(y, n_classes)
    gradients = (residual[:, :, None] * hidden[:, None, :]).flatten(1)
    whitened = torch.linalg.solve_triangular(
        torch.linalg.cholesky(curvature), gradients.T, upper=False
    )
    return whitened.square().sum(0).numpy()


def scores_of_methods(task, net, X, y, seed, params):
    """Return each method's score of each row, low for suspicious, and the seconds it took."""
    module, rows, labels = net.module_.eval(), torch.tensor(X), torch.tensor(y)

    def ours():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            attributor = SynsetAttributor(FrozenEstimator(net), random_state=seed, **params)
            return attributor.fit(X, y).score_samples(X, y)

    def cross_validated():
        folds = StratifiedKFold(5, shuffle=True, random_state=seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            p = cross_val_predict(task.net(), X, y, cv=folds, method="predict_proba")
        return p[np.arange(len(y)), y]

    def loss():
        with torch.no_grad():
            return -nn.functional.cross_entropy(module(rows), labels, reduction="none").numpy()

    methods = {
        "ours": ours,
        "loss": loss,
        "gradient": lambda: -gradient_norms(module, rows, labels),
        "inverse": lambda: -last_layer_influence(module, rows, labels),
        "cv": cross_validated,
    }
    scores, seconds = {}, {}
    for name in METHODS:
        start = time.perf_counter()
        scores[name] = methods[name]()
        seconds[name] = time.perf_counter() - start
    return scores, seconds


def detection(is_wrong, score):
    """Return the ROC-AUC, and the recall among the first 10% and 20% of the rows."""
    ranked = is_wrong[np.argsort(score, kind="stable")]
    recalls = [ranked[: round(share * len(ranked))].sum() / ranked.sum() for share in (0.1, 0.2)]
    return [roc_auc_score(is_wrong, -score), *recalls]


def removal_curves(task, data, scores, seed):
    """Return the test accuracy without the lowest-scored rows, for each method and share."""
    X, y, X_test, y_test = data
    ranks = {name: np.argsort(score, kind="stable") for name, score in scores.items()}
    ranks["random"] = np.random.RandomState(seed).permutation(len(y))
    curves = {}
    for name, order in ranks.items():
        curves[name] = []
        for share in DROPPED:
            kept = np.sort(order[round(share * len(y)) :])
            net = seeded_fit(task.net(), X[kept], y[kept], seed + 1000)
            curves[name].append(net.score(X_test, y_test))
    full = seeded_fit(task.net(), X, y, seed + 1000).score(X_test, y_test)
    return {name: [full, *curve] for name, curve in curves.items()}


def run_case(name, rate, kind, seeds, params, with_curves):
    """Print a case's lines; return the ROC-AUC of each method."""
    task, found, times, curves = TASKS[name], [], [], []
    for seed in seeds:
        X, y_true, X_test, y_test = task.load(seed=seed)
        y = flip_labels(y_true, rate, kind, seed)
        net = seeded_fit(task.net(), X, y, seed)
        scores, seconds = scores_of_methods(task, net, X, y, seed, params)
        found.append([detection(y != y_true, scores[method]) for method in METHODS])
        times.append([seconds[method] for method in METHODS])
        if with_curves:
            curves.append(removal_curves(task, (X, y, X_test, y_test), scores, seed))
    figures, times = np.mean(found, axis=0), np.mean(times, axis=0)
    case = f"{name:13s} {rate:.0%} {kind:8s}"
    for column, what in enumerate(("ROC-AUC", "first 10%", "first 20%")):
        cells = " ".join(f"{value:9.4f}" for value in figures[:, column])
        print(f"{case} {what:10s} {cells}", flush=True)
    print(f"{case} {'seconds':10s} " + " ".join(f"{value:9.1f}" for value in times), flush=True)
    for method in curves[0] if curves else ():
        cells = " ".join(
            f"{value:7.4f}" for value in np.mean([curve[method] for curve in curves], axis=0)
        )
        print(f"{case} without the lowest of {method:9s} {cells}", flush=True)
    return figures[:, 0]


def main():
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    everything = ["cancer", "digits", "fashion10000", "table20000"]
    parser.add_argument("tasks", nargs="*", default=everything)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--curves", action="store_true", help="retrain without the lowest rows")
    parser.add_argument("--set", action="append", default=[], metavar="PARAM=VALUE")
    parser.add_argument("--rates", type=float, nargs="+", default=RATES)
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    args = parser.parse_args()
    params = {k: parse_value(v) for k, v in (item.split("=", 1) for item in args.set)}
    print(f"{'':38s} " + " ".join(f"{method:>9s}" for method in METHODS))
    if args.curves:
        print("curves: " + " ".join(f"{share:7.0%}" for share in (0, *DROPPED)))
    distances = []
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    for name, rate, kind in product(args.tasks, args.rates, args.kinds):
        areas = run_case(name, rate, kind, seeds, params, args.curves)
        distances.append(areas[0] - areas[1:].max())
    print(
        f"ours over the best other: {sum(d > 0 for d in distances)} of {len(distances)} cases; "
        f"at worst {min(distances):+.4f}"
    )


if __name__ == "__main__":
    main()
