"""What does leaving out every group cost, beside one training, all retrainings and other libraries?

    python doc/benchmarks/bench_leave_one_out.py                           # everything: hours
    python doc/benchmarks/bench_leave_one_out.py --rows 60000 --groups 100 --networks mlp
    python doc/benchmarks/bench_leave_one_out.py --rows 2000 --methods vectorised ours --repeats 1

Fashion-MNIST; an MLP of 64 hidden units, or two convolutions with batch normalisation. Rows are
grouped by class-wise k-means, which all methods share. Judged are the margins of 1,000 test rows.
`_leave_one_out_tasks.py` makes the truth, real retraining with two seeds, beforehand; without it
fidelity stays blank. `one training` is a plain loop in torch. For ours, offline is `fit` less the
leaving out of the groups, online is that and `attribute`; steps are planned offline, once for all
sets of groups that are left out later.

Every training but the one is timed on an epoch of 6,000 rows, K sequential ones and those of joblib
on a few networks, and scaled: steps and networks cost the same. Ours and `one training` run whole.
Trainings and ours have one thread or `--threads`, whichever is faster: two threads that wait for
each other lose much where another program needs a core.
Each time is the least of the repeats, in which all methods take turns. Other libraries run in an
environment of their own, and only again if `--again`; what they print was kept. Of theirs, the
conjugate gradients (CG) attribute the first 100 queries, by the Hessian of 2,000 rows; their online
time is scaled to all queries.

s, cpu s   seconds by the clock, and of the processor, which other programs do not lengthen
x one      seconds over those of one training
MiB        most memory beyond the data, of ours and other libraries (a process of its own)
LOO, LDS, slope  as of `bench_fidelity.py`; a retraining is judged by the other seed's (LOO), or by
           the halves of both (LDS)
"""

import argparse
import math
import subprocess
import sys
import warnings

import numpy as np
import torch
from _leave_one_out_peers import PEER_SETTINGS, peer_result
from _leave_one_out_rivals import Rivals, Seconds, least_time, one_training, timed
from _leave_one_out_tasks import N_GROUPS, NETWORKS, SIZES, leave_one_out_task
from _peak_memory import PeakMemory
from _task_rows import group_rows
from bench_fidelity import WEIGHT_DECAY, parse_value
from fidelity_tasks import cached_truth, evaluate

from sklearn_synset import SynsetAttributor
from sklearn_synset.metrics import linear_datamodeling_score

RIVALS = ("skorch", "sequential", "joblib", "vectorised")
METHODS = (*RIVALS, "ours", *PEER_SETTINGS)
LABELS = {
    "skorch": "one training, skorch",
    "sequential": "K retrainings",
    "joblib": "K retrainings, joblib",
    "vectorised": "K retrainings, vectorised",
}
MIB = 2**20
# At most: offline and online seconds over those of one training, and MiB. At least: seconds of K
# retrainings, one after the other and vectorised, over ours.
OFFLINE, ONLINE, MEMORY = 1.5, 0.25, 1024
FASTER = {"mlp": (40, 3), "cnn": (50, 10)}


def run_ours(module, data, groups, params):
    """Explain a network; return scores (n_queries, n_groups), offline and online seconds."""
    X, y, X_query, y_query = data
    attributor = SynsetAttributor(module, weight_decay=WEIGHT_DECAY, random_state=0, **params)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, fit = timed(lambda: attributor.fit(X, y, groups=groups))
    stage = attributor._online
    retrainings = [stage._retraining(model) for model in stage.models]
    _, removal = timed(
        lambda: stage.leave_out.displacements_by_network(
            stage.models, stage.synset, stage.kept, retrainings
        )
    )
    scores, attribute = timed(lambda: attributor.attribute(X_query, y_query))
    return scores, fit - removal, removal + attribute


def peak_of_ours(task, n_threads, params):
    """Return the most bytes of `fit` and `attribute` beyond the data, in a process of its own."""
    arguments = [f"{key}={value}" for key, value in params.items()]
    network, n_rows, n_groups = task.name.split("-")
    command = [sys.executable, __file__, "--networks", network, "--rows", n_rows]
    command += ["--groups", n_groups, "--threads", str(n_threads), "--peak"]
    for argument in arguments:
        command += ["--set", argument]
    return int(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def print_peak(task, params):
    """Print the most bytes that ours takes beyond the data, after a first call on few rows."""
    data, groups, module, _ = problem(task)
    few = tuple(part[:500] for part in data)
    run_ours(module, few, np.arange(500) % 10, params | {"max_iter": 2})
    X, y, X_query, y_query = data
    attributor = SynsetAttributor(module, weight_decay=WEIGHT_DECAY, random_state=0, **params)
    with warnings.catch_warnings(), PeakMemory() as peak:
        warnings.simplefilter("ignore")
        attributor.fit(X, y, groups=groups).attribute(X_query, y_query)
    print(peak.bytes)


def problem(task):
    """Return a task's rows and queries, groups, network trained by seed 0, and truth or None."""
    data = task.load()
    truth = cached_truth(task) if task.path.exists() else None
    groups = group_rows(*data[:2], task.n_groups) if truth is None else truth["groups"]
    module = one_training(task, *map(torch.from_numpy, data[:2]))
    return data, groups, module, truth


class Best:
    """The least of each method's times, and what else is known about it."""

    def __init__(self):
        self.offline, self.online, self.scores, self.peak = {}, {}, {}, {}

    def keep(self, method, offline, online=None):
        """Keep the times of a run if it is the fastest of the method."""
        online = Seconds(0.0, 0.0) if online is None else online
        if method not in self.offline or (offline + online).wall < self.total(method).wall:
            self.offline[method], self.online[method] = offline, online

    def total(self, method):
        """Return the seconds of both stages."""
        return self.offline[method] + self.online[method]


def measure(task, methods, n_threads, n_repeats, params, *, again):
    """Run methods on a task; return what is known about them."""
    data, groups, module, truth = problem(task)
    X, y = map(torch.from_numpy, data[:2])
    rivals, best = Rivals(task, X, y, groups, n_threads), Best()
    for _ in range(n_repeats):
        best.keep("training", least_time(lambda: one_training(task, X, y), n_threads))
        for name in methods:
            if name in RIVALS:
                best.keep(name, getattr(rivals, name)())
        if "ours" in methods:
            for n in sorted({1, n_threads}):
                torch.set_num_threads(n)
                best.scores["ours"], *seconds = run_ours(module, data, groups, params)
                best.keep("ours", *seconds)
    if "ours" in methods:
        best.peak["ours"] = peak_of_ours(task, n_threads, params)
    for name in methods:
        if name in PEER_SETTINGS:
            keep_peer(
                best, name, peer_result(name, task, module, data, groups, n_threads, again=again)
            )
    return best, truth


def keep_peer(best, name, found):
    """Keep what is known of another library's run, its online time scaled to all queries."""
    scores, (offline, online) = found["scores"], found["seconds"]
    clock = found["wall"] / (offline + online)  # both stages are drawn out alike
    online = online * max(1, 1000 / len(scores))
    best.keep(name, Seconds(offline * clock, offline), Seconds(online * clock, online))
    best.scores[name], best.peak[name] = scores, int(found.get("peak", 0))


def fidelity(name, best, truth):
    """Return the LOO, LDS and slope of a method, nan where they are not known."""
    unknown = dict.fromkeys(("LOO", "LDS", "slope"), math.nan)
    if truth is None:
        return unknown
    if name in ("sequential", "joblib", "vectorised"):
        lds = [
            linear_datamodeling_score(truth["subset_margin"], effects.T, truth["subset"])
            for effects in truth["effect_seeds"]
        ]
        return unknown | {"LOO": float(truth["one_retrain"]), "LDS": float(np.mean(lds))}
    if name not in best.scores or not np.isfinite(best.scores[name]).all():
        return unknown
    scores, n_queries = best.scores[name], len(best.scores[name])
    judged = {
        key: truth[key][..., :n_queries] for key in ("effect_seed0", "effect_mean", "subset_margin")
    }
    return evaluate(scores, judged | {"subset": truth["subset"]})


def print_table(best, truth):
    """Print a line for each method."""
    one = best.total("training").wall
    print(
        f"{'':26s} {'offline s':>9s} {'online s':>9s} {'s':>9s} {'cpu s':>9s} {'x one':>7s} "
        f"{'MiB':>6s} {'LOO':>6s} {'LDS':>6s} {'slope':>6s}"
    )
    for name in best.offline:
        total, found = best.total(name), fidelity(name, best, truth)
        label = {"training": "one training"}.get(name, LABELS.get(name, name))
        cells = [
            f"{label:26s} {best.offline[name].wall:9.2f} {best.online[name].wall:9.2f}",
            f"{total.wall:9.2f} {total.processor:9.2f} {total.wall / one:7.2f}",
            f"{best.peak[name] / MIB:6.0f}" if name in best.peak else f"{'':6s}",
            *(f"{found[key]:6.3f}" for key in ("LOO", "LDS", "slope")),
        ]
        print(" ".join(cells).replace("nan", "  -"))


def print_ratios(task, best, truth):
    """Print how ours stands to what it should reach, by the clock and (by the processor)."""
    if "ours" not in best.offline:
        return
    one, ours = best.total("training"), best.total("ours")
    pairs = [
        ("offline / one training", best.offline["ours"], one, OFFLINE, True),
        ("online / one training", best.online["ours"], one, ONLINE, True),
    ]
    bars = FASTER[task.name.split("-")[0]]
    for name, bar in zip(("sequential", "vectorised"), bars, strict=True):
        if name in best.offline:
            pairs.append((f"{LABELS[name]} / ours", best.total(name), ours, bar, False))
    lds = fidelity("ours", best, truth)["LDS"]
    for name in PEER_SETTINGS:
        if name in best.offline:
            theirs = fidelity(name, best, truth)["LDS"]
            bar = 1.0 if theirs >= lds else None
            pairs.append((f"{name} / ours (LDS {theirs:.3f})", best.total(name), ours, bar, False))
    for label, numerator, denominator, bar, at_most in pairs:
        ratio = numerator.wall / denominator.wall
        line = f"  {label:38s} {ratio:8.2f} ({numerator.processor / denominator.processor:.2f})"
        print(line + verdict(ratio, bar, at_most))
    if best.peak.get("ours"):
        mib = best.peak["ours"] / MIB
        print(f"  {'MiB beyond the data':38s} {mib:8.0f}" + verdict(mib, MEMORY, at_most=True))


def verdict(value, bar, at_most):
    """Say whether a value is on the right side of a bar; nothing where there is no bar."""
    if bar is None:
        return ""
    reached = value <= bar if at_most else value >= bar
    return f"  {'at most' if at_most else 'at least'} {bar}: {'yes' if reached else 'NO'}"


def main():
    """Print a table and ratios for each task."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", choices=SIZES, default=SIZES)
    parser.add_argument("--groups", type=int, nargs="+", choices=N_GROUPS, default=N_GROUPS)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--again", action="store_true", help="run other libraries again")
    parser.add_argument("--set", action="append", default=[], metavar="PARAM=VALUE")
    parser.add_argument("--peak", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    params = {k: parse_value(v) for k, v in (item.split("=", 1) for item in args.set)}
    torch.set_num_threads(args.threads)
    for network in args.networks:
        for n_rows in args.rows:
            for n_groups in args.groups:
                task = leave_one_out_task(network, n_rows, n_groups)
                if args.peak:
                    print_peak(task, params)
                    continue
                print(f"{network}, n = {n_rows}, K = {n_groups}")
                best, truth = measure(
                    task, args.methods, args.threads, args.repeats, params, again=args.again
                )
                print_table(best, truth)
                print_ratios(task, best, truth)
                print(flush=True)


if __name__ == "__main__":
    main()
