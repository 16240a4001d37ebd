"""How faithful are attributions to single training rows, and what do they cost?

    python doc/benchmarks/bench_samples.py                       # everything, tens of minutes
    python doc/benchmarks/bench_samples.py lds digits-mlp wine-lr
    python doc/benchmarks/bench_samples.py convex iris
    python doc/benchmarks/bench_samples.py cost

lds     For tasks of `fidelity_tasks.py` and digits-mlp (64-64-10): Spearman correlation over 100
        random halves of the training rows between the sum of the kept rows' scores and the
        objective of the network trained on them (mean over 5 seeds), mean over queries. Beside the
        shares: the rows' first-order effects before they are brought to the groups' scores, and
        the groups' scores shared out equally.
convex  Softmax regression trained to convergence: Spearman correlation over rows between the scores
        and exactly leaving each row out, mean over queries, for the shares and for the first-order
        effects; the slope of the true effect on the share; and the correlation of the groups'
        scores with the sums of their rows' true effects, which the shares have to add up to.
cost    10,000 rows of Fashion-MNIST by 1,000 queries, a 784-64-10 network: time of the call
        on the clock and over all cores, and the most memory that the process holds during it
        (Linux).

additivity is the largest difference between a group's score and the sum of its rows', over the
largest score.
"""

import argparse
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import torch
from _retraining import Recipe, initial_module, train_one
from _row_truth import row_lds, row_truth
from _task_rows import digits_rows, fashion_rows, group_rows, table_rows
from fidelity_tasks import TASKS, Task, mlp
from sklearn.linear_model import LogisticRegression
from torch import nn

from sklearn_synset import SynsetAttributor
from sklearn_synset.metrics import leave_one_out_correlation

WEIGHT_DECAY = 1e-3
LDS_TASKS = {
    name: TASKS[name]
    for name in ("wine-lr", "wine-mlp", "cancer-mlp16", "diabetes-mlp", "digits-mlp32")
}
LDS_TASKS["digits-mlp"] = Task(
    "digits-mlp",
    partial(digits_rows, n_train=1000, n_query=200, seed=0),
    partial(mlp, 64, 64, 10),
    Recipe(batch_size=50, epochs=40, learning_rate=0.2),
    n_groups=50,
    role="report",
)
CONVEX_ROWS = {
    "iris": partial(table_rows, "iris", 100, 50, 0),
    "wine": partial(table_rows, "wine", 120, 50, 0),
    "digits": partial(digits_rows, 300, 50, 0),
}


def quiet_fit(attributor, X, y, groups=None):
    """Fit without warnings; return the attributor."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return attributor.fit(X, y, groups=groups)


def first_order_effects(attributor, X, y):
    """Effects (n_queries, n_rows) of single rows before they are brought to the groups' scores."""
    online = attributor._online
    objective = attributor._objective(online.models[0])
    queries = torch.as_tensor(X, dtype=online.models[0].dtype)
    return online.row_effects[0].effects(queries, torch.as_tensor(y), objective).numpy()


def memberships(attributor):
    """Return the 0/1 matrix (n_rows, n_groups) of the partition."""
    return (attributor.group_labels_[:, None] == attributor.groups_).astype(float)


def additivity(attributor, shares, X, y):
    """Largest error of the sums of rows, over the largest group score."""
    groups = attributor.attribute(X, y).astype(float)
    sums = shares.astype(float) @ memberships(attributor)
    return np.abs(sums - groups).max() / np.abs(groups).max()


def lds_line(task):
    """Measure the linear datamodeling score of a task; return a line of the table."""
    truth = row_truth(task)
    X, y, X_query, y_query = task.load()
    module = initial_module(task.make_module, 0)
    module.load_state_dict(
        {key[2:]: torch.as_tensor(truth[key]) for key in truth if key.startswith("p_")}
    )
    # The regression tasks are trained on (f - y)^2 / 2, half the loss that is assumed for values.
    weight_decay = WEIGHT_DECAY * (2 if task.kind == "regression" else 1)
    attributor = SynsetAttributor(module.eval(), weight_decay=weight_decay, random_state=0)
    quiet_fit(attributor, X, y, group_rows(X, y, task.n_groups))
    start = time.perf_counter()
    shares = attributor.attribute(X_query, y_query, level="samples")
    seconds = time.perf_counter() - start
    effects = first_order_effects(attributor, X_query, y_query)
    members = memberships(attributor)
    equal = attributor.attribute(X_query, y_query) @ (members / members.sum(0)).T
    figures = [row_lds(scores, truth) for scores in (shares, effects, equal)]
    return (
        f"{task.name:14s} {len(X):6d} {figures[0]:7.3f} {figures[1]:12.3f} {figures[2]:7.3f} "
        f"{additivity(attributor, shares, X_query, y_query):11.1e} {seconds:8.1f}"
    )


def margins(coefficients, X, y):
    """Correct logit minus logsumexp of the others, for weights (C, d) with the shift last."""
    logits = np.column_stack([X, np.ones(len(X))]) @ coefficients.T
    correct = logits[np.arange(len(y)), y].copy()
    logits[np.arange(len(y)), y] = -np.inf
    return correct - np.logaddexp.reduce(logits, axis=1)


def softmax_regression(X, y, weight_decay, start=None):
    """Weights (C, d + 1) that minimise mean cross-entropy plus weight_decay / 2 |weights|^2."""
    model = LogisticRegression(
        C=1 / (len(y) * weight_decay),
        fit_intercept=False,
        solver="newton-cholesky",
        tol=1e-10,
        max_iter=200,
        warm_start=True,
    )
    if start is not None:
        model.coef_, model.intercept_ = start.copy(), np.zeros(len(start))
        model.classes_ = np.arange(len(start))
    return model.fit(np.column_stack([X, np.ones(len(X))]), y).coef_


def convex_line(name, weight_decay):
    """Leave each row out of a softmax regression, and compare; return a line of the table."""
    X, y, X_query, y_query = CONVEX_ROWS[name]()
    X, X_query = X.astype(np.float64), X_query.astype(np.float64)
    full = softmax_regression(X, y, weight_decay)
    before = margins(full, X_query, y_query)
    truth = np.empty((len(y_query), len(y)))
    for row in range(len(y)):
        rest = np.arange(len(y)) != row
        without = softmax_regression(X[rest], y[rest], weight_decay, full)
        truth[:, row] = before - margins(without, X_query, y_query)
    module = nn.Linear(X.shape[1], len(full)).double().eval()
    with torch.no_grad():
        module.weight.copy_(torch.as_tensor(full[:, :-1]))
        module.bias.copy_(torch.as_tensor(full[:, -1]))
    attributor = quiet_fit(
        SynsetAttributor(module, weight_decay=weight_decay, random_state=0), X, y
    )
    shares = attributor.attribute(X_query, y_query, level="samples")
    effects = first_order_effects(attributor, X_query, y_query)
    groups = attributor.attribute(X_query, y_query)
    sums = truth @ memberships(attributor)
    return (
        f"{name:8s} {weight_decay:6g} {len(y):5d} {groups.shape[1]:4d} "
        f"{leave_one_out_correlation(truth, shares):7.3f} "
        f"{leave_one_out_correlation(truth, effects):12.3f} "
        f"{(shares * truth).sum() / np.square(shares).sum():6.2f} "
        f"{np.corrcoef(groups.ravel(), sums.ravel())[0, 1]:6.3f} "
        f"{additivity(attributor, shares, X_query, y_query):11.1e}"
    )


def peak_memory(reset=False):
    """Most memory that the process has held since the last reset, in GiB (Linux)."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 2**20


def cost_lines():
    """Time the attributions of 1,000 queries to 10,000 rows, and to the ten that matter most."""
    X, y, X_query, y_query = fashion_rows(10_000, 1_000, seed=1)
    module = initial_module(partial(mlp, 784, 64, 10), 0)
    recipe = Recipe(batch_size=100, epochs=20, learning_rate=0.02)
    everything = torch.ones(len(y), dtype=torch.bool)
    train_one(module, recipe, torch.from_numpy(X), torch.from_numpy(y), everything, 0)
    # A short fit: the call takes as long after a long one.
    settings = {"max_iter": 0, "n_probes": 0, "n_steps": 20, "random_state": 0}
    attributor = SynsetAttributor(module, weight_decay=WEIGHT_DECAY, **settings)
    quiet_fit(attributor, X, y)
    calls = {
        "attribute": lambda: attributor.attribute(X_query, y_query, level="samples"),
        "attribute again": lambda: attributor.attribute(X_query, y_query, level="samples"),
        "most_influential_rows": lambda: attributor.most_influential_rows(
            X_query, y_query, n_rows=10
        ),
    }
    for name, call in calls.items():
        peak_memory(reset=True)
        start, processor = time.perf_counter(), time.process_time()
        answer = call()
        seconds, processor = time.perf_counter() - start, time.process_time() - processor
        memory = peak_memory()
        error = ""
        if name == "attribute":
            error = f"{additivity(attributor, answer, X_query, y_query):11.1e}"
        yield f"{name:22s} {seconds:8.1f} {processor:8.1f} {memory:9.2f} {error}"


def main():
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", nargs="?", choices=["lds", "convex", "cost"])
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    if args.part in (None, "lds"):
        print("task             rows  shares  first-order   equal  additivity  seconds")
        for name in args.names or LDS_TASKS:
            print(lds_line(LDS_TASKS[name]), flush=True)
    if args.part in (None, "convex"):
        print("rows      decay     n    K  shares  first-order  slope      r  additivity")
        for name in args.names or CONVEX_ROWS:
            for weight_decay in (1e-3, 1e-2):
                print(convex_line(name, weight_decay), flush=True)
    if args.part in (None, "cost"):
        print("call                    seconds    cpu s  peak GiB  additivity")
        for line in cost_lines():
            print(line, flush=True)


if __name__ == "__main__":
    main()
