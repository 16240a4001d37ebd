"""Does the attributor stay sound, and say so where it fails, on data and networks of every kind?

    python doc/benchmarks/bench_varied.py              # all, some minutes; the truth is kept
    python doc/benchmarks/bench_varied.py moons

Two features and 784, two classes and ten, a rare class, deep networks, networks that are trained
far too long on wrong labels, hardly at all, or on labels that mean nothing, and batch
normalisation, after one hidden layer and after two; defaults throughout. Truth is real
retraining, see `fidelity_tasks.py`.

LOO, LDS, slope, r  as of `bench_fidelity.py`
one      LOO of retraining every group once with another seed
claimed  rank correlation and slope that `fidelity_` has
warns    whether `fit` warned that attributions agree badly
"""

import argparse
import warnings
from functools import partial

import numpy as np
from _retraining import Recipe
from _task_rows import digits_rows, fashion_rows, scaled_rows, table_rows
from bench_fidelity import WEIGHT_DECAY
from fidelity_tasks import Task, evaluate, load_problem, mlp
from sklearn import datasets
from sklearn.exceptions import ConvergenceWarning
from torch import nn

from sklearn_synset import SynsetAttributor
from sklearn_synset.datasets import flip_labels


def moon_rows(n_train, n_query, seed):
    """Two features: two half circles that reach into each other."""
    X, y = datasets.make_moons(n_train + n_query, noise=0.25, random_state=seed)
    return scaled_rows(X, y, n_train, n_query, seed)


def rare_class_rows(n_train, n_query, seed):
    """Ten features and three classes, one with a twentieth of the rows."""
    X, y = datasets.make_classification(
        n_train + n_query,
        n_features=10,
        n_informative=6,
        n_redundant=2,
        n_classes=3,
        weights=(0.8, 0.15),
        random_state=seed,
    )
    return scaled_rows(X, y, n_train, n_query, seed)


def relabelled_rows(rows, rate, n_train, n_query, seed):
    """Rows of which a share of the training labels is wrong."""
    X, y, X_query, y_query = rows(n_train=n_train, n_query=n_query, seed=seed)
    return X, flip_labels(y, rate=rate, random_state=seed)[0], X_query, y_query


def deep_tanh():
    """Four layers, with tanh."""
    widths = (30, 24, 16, 12)
    layers = [
        layer
        for n_in, n_out in zip(widths[:-1], widths[1:], strict=True)
        for layer in (nn.Linear(n_in, n_out), nn.Tanh())
    ]
    return nn.Sequential(*layers, nn.Linear(widths[-1], 2))


def normalised(*widths):
    """Hidden layers with batch normalisation and ReLU, and a linear one."""
    layers = [
        layer
        for n_in, n_out in zip(widths[:-2], widths[1:-1], strict=True)
        for layer in (nn.Linear(n_in, n_out), nn.BatchNorm1d(n_out), nn.ReLU())
    ]
    return nn.Sequential(*layers, nn.Linear(*widths[-2:]))


def varied(name, rows, make_module, n_train, n_groups, **recipe):
    """Return a task with 100 queries and four seeds."""
    recipe = {"batch_size": 50, "epochs": 60, "learning_rate": 0.1} | recipe
    load = partial(rows, n_train=n_train, n_query=100, seed=1)
    return Task(name, load, make_module, Recipe(**recipe), n_groups, role="report", n_seeds=4)


cancer_rows = partial(table_rows, "breast_cancer")
TASKS = {
    task.name: task
    for task in (
        varied("moons", moon_rows, partial(mlp, 2, 16, 2), 300, 20),
        varied("rare-class", rare_class_rows, partial(mlp, 10, 32, 3), 600, 15),
        varied("deep-tanh", cancer_rows, deep_tanh, 400, 20),
        varied(
            "wrong-labels",
            partial(relabelled_rows, cancer_rows, 0.2),
            partial(mlp, 30, 64, 2),
            300,
            20,
            epochs=300,
        ),
        varied("two-epochs", digits_rows, partial(mlp, 64, 32, 10), 800, 40, epochs=2),
        varied(
            "random-labels",
            partial(relabelled_rows, digits_rows, 0.9),
            partial(mlp, 64, 32, 10),
            500,
            20,
            epochs=150,
        ),
        varied("784-features", fashion_rows, partial(mlp, 784, 32, 10), 600, 20, epochs=40),
        varied(
            "digits-norm",
            digits_rows,
            partial(normalised, 64, 32, 10),
            800,
            20,
            epochs=30,
            learning_rate=0.05,
        ),
        varied(
            "cancer-norm",
            cancer_rows,
            partial(normalised, 30, 32, 2),
            400,
            20,
            epochs=30,
            learning_rate=0.02,
        ),
        varied(
            "deep-norm",
            rare_class_rows,
            partial(normalised, 10, 32, 16, 3),
            600,
            15,
            epochs=30,
            learning_rate=0.05,
        ),
    )
}


def measure(task):
    """Explain a task's network with the defaults; return its figures."""
    module, (X, y, X_query, y_query), truth = load_problem(task)
    attributor = SynsetAttributor(module, weight_decay=WEIGHT_DECAY, random_state=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        attributor.fit(X, y, groups=truth["groups"])
    scores = attributor.attribute(X_query, y_query)
    warned = [str(each.message) for each in caught if each.category is ConvergenceWarning]
    return evaluate(scores, truth) | {
        "one": float(truth["one_retrain"]),
        "fidelity": attributor.fidelity_,
        "warns": any("agree badly" in message for message in warned),
        "is_finite": bool(np.isfinite(scores).all()),
        "fitted": float(truth["train_score"]),
    }


def main():
    """Print a line for each task."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tasks", nargs="*", default=list(TASKS))
    print(
        f"{'task':14s} {'train':>6s} {'LOO':>6s} {'LDS':>6s} {'slope':>6s} {'r':>6s} {'one':>6s} "
        f"{'claimed':>13s}  warns"
    )
    for name in parser.parse_args().tasks:
        found = measure(TASKS[name])
        claimed = found["fidelity"]
        print(
            f"{name:14s} {found['fitted']:6.3f} {found['LOO']:6.3f} {found['LDS']:6.3f} "
            f"{found['slope']:6.2f} {found['r']:6.3f} {found['one']:6.3f} "
            f"{claimed.rank_correlation:6.2f} {claimed.slope:6.2f}  "
            f"{'yes' if found['warns'] else 'no'}" + ("" if found["is_finite"] else "  NOT FINITE"),
            flush=True,
        )


if __name__ == "__main__":
    main()
