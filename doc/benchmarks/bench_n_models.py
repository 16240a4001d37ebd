"""What does averaging over networks of several seeds add?

    python doc/benchmarks/bench_n_models.py                       # the small tasks
    python doc/benchmarks/bench_n_models.py digits-mlp32 --n-models 1 3 5 10
    python doc/benchmarks/bench_n_models.py digits-mlp cancer-mlp --truth FOLDER

A skorch net with a task's recipe goes into the attributor, which trains `n_models` networks from
different seeds and averages their effects. Real retraining is the mean over its seeds, so the noise
of one seed limits what one network can tell. `--truth` names a folder of tasks whose truth was made
elsewhere (see `_outside_tasks.py`). Columns as those of `bench_fidelity.py`, but that slope and r
compare with the mean over seeds, as no network here is that of the truth's seed 0.
"""

import argparse
import math
import time
import warnings

import numpy as np
from _outside_tasks import OUTSIDE_TASKS, load_outside_task
from fidelity_tasks import TASKS, evaluate, load_task
from skorch import NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import LRScheduler
from torch import nn, optim

from sklearn_synset import SynsetAttributor

QUICK = ("digits-mlp32", "wine-mlp", "cancer-mlp16", "diabetes-mlp")


def recipe_net(task, n_rows):
    """Return an untrained skorch net that trains as a task's recipe says."""
    recipe = task.recipe
    n_steps = recipe.epochs * math.ceil(n_rows / recipe.batch_size)
    # A recipe's regression loss is half of MSELoss: twice the decay at half the rate is the same.
    scale = 2 if task.kind == "regression" else 1
    net_class = NeuralNetRegressor if task.kind == "regression" else NeuralNetClassifier
    return net_class(
        task.make_module,
        criterion=nn.MSELoss if task.kind == "regression" else nn.CrossEntropyLoss,
        optimizer=optim.SGD,
        optimizer__momentum=recipe.momentum,
        optimizer__weight_decay=recipe.weight_decay * scale,
        lr=recipe.learning_rate / scale,
        max_epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        iterator_train__shuffle=True,
        train_split=None,
        callbacks=[LRScheduler("CosineAnnealingLR", T_max=n_steps, step_every="batch")],
        verbose=0,
    )


def measure(task, data, truth, n_models, random_state=0):
    """Fit an attributor to a task's recipe; return its figures and its times in s."""
    X, y, X_query, y_query = data
    attributor = SynsetAttributor(
        recipe_net(task, len(X)), n_models=n_models, random_state=random_state
    )
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        attributor.fit(X, y, groups=truth["groups"])
    fit_s = time.perf_counter() - start
    start = time.perf_counter()
    scores = attributor.attribute(X_query, y_query)
    attribute_s = time.perf_counter() - start
    return evaluate(scores, truth | {"effect_seed0": truth["effect_mean"]}) | {
        "share": len(attributor.X_synset_) / len(X),
        "fit_s": fit_s,
        "attribute_s": attribute_s,
    }


def main():
    """Print a line for each task and number of networks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tasks", nargs="*", default=QUICK)
    parser.add_argument("--n-models", nargs="+", type=int, default=(1, 5))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--truth", metavar="FOLDER", help="where outside tasks' truth lies")
    args = parser.parse_args()
    head = " ".join(f"{c:>6s}" for c in ("LOO", "LDS", "slope", "r", "share"))
    print(f"{'task':14s} {'networks':>10s} {head}   fit s  attr s")
    for name in args.tasks:
        if args.truth and name in OUTSIDE_TASKS:
            task, (_, data, truth) = OUTSIDE_TASKS[name], load_outside_task(name, args.truth)
        else:
            task, (_, data, truth) = TASKS[name], load_task(name)
        for n_models in args.n_models:
            figures = measure(task, data, truth, n_models, args.seed)
            print(
                f"{name:14s} {n_models:10d} {figures['LOO']:6.3f} {figures['LDS']:6.3f} "
                f"{figures['slope']:6.2f} {figures['r']:6.3f} {figures['share']:6.2f} "
                f"{figures['fit_s']:7.1f} {figures['attribute_s']:7.2f}",
                flush=True,
            )
        print(f"{name:14s} {'retraining':>10s} {float(truth['one_retrain']):6.3f} {np.nan:6.3f}")


if __name__ == "__main__":
    main()
