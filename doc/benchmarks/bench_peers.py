"""How do other libraries' attributions compare with real retraining?

    python doc/benchmarks/bench_peers.py                              # the small tasks
    python doc/benchmarks/bench_peers.py wine-mlp --peers TRAK EK-FAC
    python doc/benchmarks/bench_peers.py digits-mlp --truth FOLDER    # truth made elsewhere

Influence functions, TracIn, TRAK and EK-FAC of dattri, captum, traker and kronfluence, which are
installed into an environment of their own, explain the same trained networks as the package does
in `bench_fidelity.py`. They score training rows; scores are summed within groups, in the sign that
makes helping positive. All measure the margin, or for regression the prediction.

"default" is the library's defaults, "tuned" the best of those and of a grid of settings
(`_peers_settings.py`), chosen on the very figure that is printed: LOO and LDS may come from
different settings, which is the kindest reading. Slope, r and times are those of the setting with
the best LOO. `ours` has defaults only. Scores of TracIn and TRAK have no unit, so their slope
says nothing. Seconds are of the processor, and those of a tuned line do
not count the tuning; one retraining is the time of training one network, times the number of
groups. Columns as those of `bench_fidelity.py`.
"""

import argparse

import numpy as np
from _outside_tasks import OUTSIDE_TASKS, load_outside_task
from _peers import PEERS, group_scores
from bench_fidelity import measure_problem
from fidelity_tasks import TASKS, evaluate, load_task

FIGURES = ("LOO", "LDS", "slope", "r")


def peer_lines(name, task, problem, *, retrainable):
    """Return a method's default and tuned figures, as pairs of a name and a dict."""
    settings = group_scores(name, task, *problem, retrainable=retrainable)
    truth = problem[-1]
    found = {
        key: evaluate_finite(scores, truth) | {"fit_s": seconds[0], "attribute_s": seconds[1]}
        for key, (scores, seconds) in settings.items()
    }
    if not found:
        return []
    lines = [(f"{name} ({PEERS[name].library})", found["default"])]
    if len(found) > 1:
        setting, best = max(found.items(), key=lambda item: item[1]["LOO"])
        best = best | {"LDS": max(figures["LDS"] for figures in found.values())}
        lines.append(("  tuned", best | {"setting": setting}))
    return lines


def evaluate_finite(scores, truth):
    """Figures of scores; all of them 0 for a method that failed, or whose scores are not finite."""
    if np.isfinite(scores).all():
        return evaluate(scores, truth)
    return dict.fromkeys(FIGURES, 0.0)


def print_line(task, name, figures):
    """Print a line of the table."""
    seconds = f"{figures['fit_s']:8.1f} {figures['attribute_s']:8.2f}"
    values = f"{figures['LOO']:6.3f} {figures['LDS']:6.3f} {figures['slope']:7.2f}"
    line = f"{task:14s} {name:32s} {values} {figures['r']:6.3f} {seconds}"
    print(f"{line}  {figures.get('setting', '')}".rstrip(), flush=True)


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    quick = [name for name, task in TASKS.items() if not task.slow]
    parser.add_argument("tasks", nargs="*", default=quick)
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--no-ours", action="store_true", help="other libraries alone")
    parser.add_argument("--truth", metavar="FOLDER", help="where outside tasks' truth lies")
    args = parser.parse_args()
    head = "   LOO    LDS   slope      r    fit s   attr s"
    print(f"{'task':14s} {'method':32s} {head}  setting")
    for name in args.tasks:
        outside = args.truth is not None and name in OUTSIDE_TASKS
        task = OUTSIDE_TASKS[name] if outside else TASKS[name]
        problem = load_outside_task(name, args.truth) if outside else load_task(name)
        truth = problem[-1]
        if not args.no_ours:
            print_line(name, f"ours ({task.role})", measure_problem(task, *problem))
            start = measure_problem(task, *problem, max_iter=0)
            print_line(name, "ours, max_iter=0", start)
        for peer in args.peers:
            for line in peer_lines(peer, task, problem, retrainable=not outside):
                print_line(name, *line)
        seconds = float(truth["t_one"]) * (truth["groups"].max() + 1)
        one, lds = float(truth["one_retrain"]), float(truth["lds_of_true_loo"])
        figures = {"LOO": one, "LDS": lds, "slope": np.nan, "r": np.nan, "attribute_s": 0.0}
        print_line(name, "one retraining (LDS: of all)", figures | {"fit_s": seconds})


if __name__ == "__main__":
    main()
