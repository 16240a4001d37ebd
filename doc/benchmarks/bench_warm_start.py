"""What going on with a distillation is worth: `warm_start` beside as many steps at once.

Prints for each task the distance between the groups' gradients and the agreement with retraining:
after some steps, after others were added with `warm_start=True`, and after all of them in a single
`fit`. The distance is that of the prediction norm, mean over 24 anchors that all of them share and
none was matched at::

    python doc/benchmarks/bench_warm_start.py cancer-mlp16 digits-mlp32 --steps 400 --added 400

`--schedule` compares ways to go on: "restart", the package's, and "half" are a new cosine over the
added steps, from the whole and from half of the learning rate; "total" is the cosine over all
steps, entered where the steps so far lead to.
"""

import argparse
import copy
import math
import time
import warnings
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from bench_fidelity import WEIGHT_DECAY
from fidelity_tasks import evaluate, load_task

from sklearn_synset import SynsetAttributor
from sklearn_synset._distillation.anchors import draw_anchors
from sklearn_synset._distillation.distil import _norm
from sklearn_synset._distillation.matching import Matching, row_bounds


def restart(share, n_done, matching):
    """Return the learning rate of a cosine over the added steps."""
    n_added = len(matching.loss_curve) - n_done
    return share * cosine(n_added / (matching.max_iter - n_done))


def total(n_done, matching):
    """Return the learning rate of a cosine over all steps."""
    return cosine(len(matching.loss_curve) / matching.max_iter)


def cosine(progress):
    """Return half a cosine from 1 to 0."""
    return (1 + math.cos(math.pi * min(1.0, progress))) / 2


SCHEDULES = {"restart": partial(restart, 1.0), "half": partial(restart, 0.5), "total": total}


@contextmanager
def schedule_of(name, n_done):
    """Let matching go on with a schedule."""

    def set_learning_rate(matching):
        now = matching.learning_rate * SCHEDULES[name](n_done, matching)
        for group in matching._adam.param_groups:
            group["lr"] = now * group["unit"]

    own = Matching._set_learning_rate
    Matching._set_learning_rate = set_learning_rate
    try:
        yield
    finally:
        Matching._set_learning_rate = own


def common_anchors(attributor):
    """Draw anchors along the paths of a fitted synset, other than those it was matched at."""
    online, generator = attributor._online, torch.Generator().manual_seed(12345)
    model, plan = online.models[0], online.retrainings[0]
    norm = _norm("prediction", model, plan, online.rows, generator)
    return draw_anchors(model, online.synset, online.rows, plan, norm, 24, generator)


def figures(attributor, anchors, data, truth):
    """Return the distance at some anchors, and the agreement with retraining."""
    start, *_, reached = attributor._former.distilled.candidates
    model, rows = attributor._online.models[0], attributor._online.rows
    matching = Matching(
        model, start, row_bounds(rows.X, rows.targets, model), 1.0, 1, reached=reached
    )
    groups = torch.arange(start.n_groups)
    distances = [float(matching._distance_at(anchor, groups).detach()) for anchor in anchors]
    found = evaluate(attributor.attribute(data[2], data[3]), truth)
    agreement = [found[name] for name in ("LOO", "LDS", "slope")]
    return [np.mean(distances), *agreement, attributor.score(data[2], data[3])]


def fitted(attributor, data, truth):
    """Fit, and return the seconds of it."""
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        attributor.fit(data[0], data[1], groups=truth["groups"])
    return time.process_time() - start


def print_line(task, label, values, seconds):
    """Print a line of the table."""
    cells = " ".join(f"{value:8.3f}" for value in values)
    print(f"{task:13s} {label:22s} {cells} {seconds:7.1f}", flush=True)


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tasks", nargs="*", default=["cancer-mlp16", "digits-mlp32"])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--added", type=int, default=400)
    parser.add_argument("--schedule", nargs="*", choices=list(SCHEDULES), default=["restart"])
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    columns = ("distance", "LOO", "LDS", "slope", "score")
    print(f"{'task':13s} {'':22s} " + " ".join(f"{c:>8s}" for c in columns) + "   fit s")
    n_all = args.steps + args.added
    for name in args.tasks:
        module, data, truth = load_task(name)
        params = {"weight_decay": WEIGHT_DECAY, "random_state": args.seed, "n_probes": 8}
        first = SynsetAttributor(module, max_iter=args.steps, **params)
        seconds = fitted(first, data, truth)
        anchors = common_anchors(first)
        print_line(name, f"{args.steps}", figures(first, anchors, data, truth), seconds)
        for schedule in args.schedule:
            more = copy.deepcopy(first).set_params(max_iter=n_all, warm_start=True)
            with schedule_of(schedule, args.steps):
                seconds = fitted(more, data, truth)
            label = f"{args.steps} + {args.added}, {schedule}"
            print_line(name, label, figures(more, anchors, data, truth), seconds)
        whole = SynsetAttributor(module, max_iter=n_all, **params)
        seconds = fitted(whole, data, truth)
        print_line(name, f"{n_all} at once", figures(whole, anchors, data, truth), seconds)


if __name__ == "__main__":
    main()
