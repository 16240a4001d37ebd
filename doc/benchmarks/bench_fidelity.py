"""How faithful are attributions to real retraining, with defaults and with nothing distilled?

    python doc/benchmarks/bench_fidelity.py                          # all tasks but the slow ones
    python doc/benchmarks/bench_fidelity.py wine-mlp --only --set rewind=0.3
    python doc/benchmarks/bench_fidelity.py --only --set synset_size=100000 --set max_iter=0

For each task of `fidelity_tasks.py` a line for the defaults, a line for the starting rows alone
(`max_iter=0`, the ablation), and a line for retraining every group once with another seed; with
`--only` the first line alone. The last command above makes the synset of all training rows: what it
prints is the ceiling of the online stage. `bench_peers.py` prints the same beside other libraries.

LOO    mean over queries of the Spearman correlation over groups between the scores and the true
       effect of leaving a group out, mean over retraining seeds
LDS    the same between sums of scores and the objective of networks retrained on random halves
slope  least-squares slope of the true effect (seed 0) on the score: 1 = scores are in real units
r      Pearson correlation of all (query, group) pairs with the true effect (seed 0)
share  synset rows over training rows
fit s, attr s  seconds of the processor, which other programs on the machine do not lengthen
"""

import argparse
import ast
import time
import warnings

import numpy as np
from fidelity_tasks import TASKS, evaluate, load_task

from sklearn_synset import SynsetAttributor

WEIGHT_DECAY = 1e-3


def measure(task, random_state=0, **params):
    """Fit an attributor to a task's stored network; return its figures and its times in s."""
    return measure_problem(task, *load_task(task.name), random_state=random_state, **params)


def measure_problem(task, module, data, truth, random_state=0, **params):
    """Do the same for a network, `X, y, X_query, y_query` and a truth that are given."""
    X, y, X_query, y_query = data
    # The regression tasks are trained on (f - y)^2 / 2, half the loss that is assumed for values.
    weight_decay = WEIGHT_DECAY * (2 if task.kind == "regression" else 1)
    attributor = SynsetAttributor(
        module, weight_decay=weight_decay, random_state=random_state, **params
    )
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        attributor.fit(X, y, groups=truth["groups"])
    fit_s = time.process_time() - start
    start = time.process_time()
    scores = attributor.attribute(X_query, y_query)
    figures = evaluate(scores, truth)
    return figures | {
        "share": len(attributor.X_synset_) / len(X),
        "fidelity": attributor.fidelity_.rank_correlation,
        "fit_s": fit_s,
        "attribute_s": time.process_time() - start,
    }


def print_line(name, label, figures):
    """Print a line of the table."""
    print(
        f"{name:14s} {label:18s} {figures['LOO']:6.3f} {figures['LDS']:6.3f} "
        f"{figures['slope']:6.2f} {figures['r']:6.3f} {figures['share']:6.2f} "
        f"{figures['fidelity']:6.2f} {figures['fit_s']:7.1f} {figures['attribute_s']:7.2f}",
        flush=True,
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
    quick = [name for name, task in TASKS.items() if not task.slow]
    parser.add_argument("tasks", nargs="*", default=quick)
    parser.add_argument("--set", action="append", default=[], metavar="PARAM=VALUE")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="store_true", help="one line for each task")
    args = parser.parse_args()
    params = {k: parse_value(v) for k, v in (item.split("=", 1) for item in args.set)}
    columns = ("LOO", "LDS", "slope", "r", "share", "fidel.")
    print(f"{'task':14s} {'':18s} " + " ".join(f"{c:>6s}" for c in columns), "  fit s  attr s")
    for name in args.tasks:
        task = TASKS[name]
        truth = load_task(name)[2]
        print_line(name, f"ours ({task.role})", measure(task, args.seed, **params))
        if args.only:
            continue
        print_line(name, "starting rows", measure(task, args.seed, **(params | {"max_iter": 0})))
        one, lds = float(truth["one_retrain"]), float(truth["lds_of_true_loo"])
        print(f"{name:14s} {'one retraining':18s} {one:6.3f} {np.nan:6.3f}  (LDS of LOO {lds:.3f})")


if __name__ == "__main__":
    main()
