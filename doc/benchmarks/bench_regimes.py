"""Do attributions agree with real retraining for networks trained as people train them?

    python doc/benchmarks/bench_regimes.py                            # all, some minutes
    python doc/benchmarks/bench_regimes.py digits-cnn wine-cosine --set n_probes=0
    python doc/benchmarks/bench_regimes.py --check-loops

Each task is an untrained skorch net with an everyday recipe, on data that ships with scikit-learn:
Adam, AdamW, RMSprop, schedules, clipping, early stopping, dropout, batch and layer normalisation,
residual networks, convolutions, augmentation, class weights, label smoothing, Huber loss. It is
given to `SynsetAttributor` with defaults, and the attribution matrix of queries is compared with
what real retraining without each group does, mean over seeds. The truth is made by plain torch
loops that share nothing with the package. That of the recipes in `_regime_tasks.py` is made now,
and kept in `cache/` beside this file; of others it is read from the folder that `--regimes` names
(a `check.py` with TASKS, and an npz file for each), if that exists.

LOO      mean over queries of the Spearman correlation over groups with the true effects
one      the same for one real retraining and the mean of the others: what one would do otherwise
slope    least-squares slope of the true effect on the score: 1 = scores are in real units
r        Pearson correlation over all pairs of query and group
claimed  rank correlation and slope (with interval) in `fidelity_`, known without any truth
holds    whether the interval of the slope holds the true slope
fit s    seconds of `fit` and `attribute` together; all seconds are of the processor, which other
         programs on the machine do not lengthen, on one thread
x seq    how often that goes into retraining the skorch net without each group, one after another
x side   how often it goes into `metrics.retraining` from one seed, side by side where it can be
"""

import argparse
import ast
import importlib.util
import os
import platform
import sys
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import torch
from _regime_tasks import REGIMES, loop_error
from scipy.stats import rankdata
from sklearn.base import clone
from tqdm import tqdm

from sklearn_synset import SynsetAttributor
from sklearn_synset.metrics import retraining

OTHERS = Path(__file__).parents[3] / "shared" / "regimes"
HEAD = (
    f"{'task':16s} {'LOO':>6s} {'one':>6s} {'slope':>6s} {'r':>6s} {'claimed':>8s} "
    f"{'slope (interval)':>20s} {'holds':>5s} {'fit s':>6s} {'x seq':>6s} {'x side':>6s}"
)


def rank_correlation(a, b):
    """Return the mean over rows of Spearman's correlation; a constant row counts as 0."""
    a, b = (np.apply_along_axis(rankdata, 1, x) for x in (a, b))
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    norm = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    return float(np.divide((a * b).sum(1), norm, out=np.zeros(len(a)), where=norm > 0).mean())


def seconds(call):
    """Return what a call returns, and how long it took the processor."""
    start = time.process_time()
    found = call()
    return found, time.process_time() - start


def own_task(name):
    """Return rows, net and truth of a task of `_regime_tasks.py`."""
    regime = REGIMES[name]
    n_trainings = regime.n_seeds * (regime.n_groups + 1)
    with tqdm(total=n_trainings, desc=f"truth of {name}", leave=False) as progress:
        effects, groups = regime.truth(progress)
    return regime.rows(), regime.net(), effects, groups


def other_task(folder, task, name):
    """Return rows, net and truth of a task of another folder."""
    load, make_net = task
    data = load()
    truth = np.load(folder / f"{name}.npz")
    return (*data[0], *data[1]), make_net(data), truth["effects"].astype(float), truth["groups"]


def other_tasks(folder):
    """Return functions that load the tasks of another folder, by name."""
    if not (folder / "check.py").exists():
        return {}
    spec = importlib.util.spec_from_file_location("regimes_check", folder / "check.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["regimes_check"] = module
    spec.loader.exec_module(module)
    return {
        name: partial(other_task, folder, task, name)
        for name, task in module.TASKS.items()
        if (folder / f"{name}.npz").exists()
    }


def measure(load, is_timed=True, **params):
    """Fit an attributor to a task's net, and return a dict of the columns."""
    (X, y, X_query, y_query), net, effects, groups = load()
    torch.func.grad(torch.sum)(torch.ones(1))  # torch imports its compiler at the first derivative
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")

        def attributed():
            attributor = SynsetAttributor(net, random_state=0, **params).fit(X, y, groups=groups)
            return attributor, np.asarray(attributor.attribute(X_query, y_query), float)

        (attributor, scores), fit_s = seconds(attributed)
        one_s = side_s = np.nan
        how = ""
        if is_timed:
            one_s = min(seconds(lambda: clone(net).fit(X, y))[1] for _ in range(2))
            again = partial(retraining, net, X, y, X_query, y_query, groups=groups, random_state=0)
            truth, side_s = seconds(again)
            how = truth.how
    mean, fidelity = effects.mean(0), attributor.fidelity_
    slope = float(np.polyfit(scores.ravel(), mean.ravel(), 1)[0])
    low, high = fidelity.slope_interval
    return {
        "LOO": rank_correlation(scores, mean),
        "one": np.mean(
            [
                rank_correlation(own, np.delete(effects, seed, 0).mean(0))
                for seed, own in enumerate(effects)
            ]
        ),
        "slope": slope,
        "r": np.corrcoef(scores.ravel(), mean.ravel())[0, 1],
        "claimed": fidelity.rank_correlation,
        "claimed_slope": (fidelity.slope, low, high),
        "holds": low <= slope <= high,
        "fit_s": fit_s,
        "x_seq": one_s * effects.shape[2] / fit_s,
        "x_side": side_s / fit_s,
        "how": how,
    }


def line(name, row):
    """Return a line of the table."""
    claimed = "{:.2f} ({:.2f}, {:.2f})".format(*row["claimed_slope"])
    note = "" if row["how"] in ("", "side by side") else f"  {row['how']}"
    return (
        f"{name:16s} {row['LOO']:6.3f} {row['one']:6.3f} {row['slope']:6.2f} {row['r']:6.3f} "
        f"{row['claimed']:8.2f} {claimed:>20s} {'yes' if row['holds'] else 'no':>5s} "
        f"{row['fit_s']:6.1f} {row['x_seq']:6.1f} {row['x_side']:6.2f}{note}"
    )


def parse_value(text):
    """Turn the text of a parameter into a Python value."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tasks", nargs="*", help="all by default")
    parser.add_argument("--set", action="append", default=[], metavar="PARAM=VALUE")
    parser.add_argument("--regimes", type=Path, default=OTHERS, help="folder of other tasks")
    parser.add_argument("--untimed", action="store_true", help="leave out x seq and x side")
    parser.add_argument("--check-loops", action="store_true", help="compare loops with nets")
    args = parser.parse_args()
    tasks = other_tasks(args.regimes) | {name: partial(own_task, name) for name in REGIMES}
    if unknown := set(args.tasks) - set(tasks):
        parser.error(f"no task {', '.join(sorted(unknown))}; choose from {', '.join(tasks)}")
    if args.check_loops:
        for name, regime in REGIMES.items():
            print(f"{name:16s} relative difference of the outputs {loop_error(regime):.1e}")
        return
    torch.set_num_threads(1)
    params = {k: parse_value(v) for k, v in (item.split("=", 1) for item in args.set)}
    print(f"{platform.machine()}, {os.cpu_count()} processors, torch {torch.__version__}")
    print(HEAD, flush=True)
    for name in args.tasks or tasks:
        try:
            print(line(name, measure(tasks[name], not args.untimed, **params)), flush=True)
        except ValueError as error:  # one refused net must not hide the other tasks
            print(f"{name:16s} {type(error).__name__}: {str(error)[:150]}", flush=True)


if __name__ == "__main__":
    main()
