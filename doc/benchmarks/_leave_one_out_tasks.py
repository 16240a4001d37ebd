"""Tasks of the benchmark of leaving every group out: Fashion-MNIST, up to all of its rows.

As a script it makes the truths of the named tasks and prints a line for each::

    python doc/benchmarks/_leave_one_out_tasks.py mlp-60000-100

The truth is that of `fidelity_tasks.py`, with 1,000 queries of the test set, two seeds (trained at
once) and 40 random halves.
"""

import argparse
from functools import partial

from _retraining import Recipe
from _task_rows import fashion_rows
from fidelity_tasks import Task, cached_truth, convolutional_network, mlp, table_line

N_QUERIES = 1000
SIZES = (2000, 10_000, 60_000)
N_GROUPS = (20, 100)

# By the truth alone, see `fidelity_tasks.py`: rates that fit the rows, at which one retraining
# still agrees with another.
RECIPES = {
    ("mlp", 2000): Recipe(batch_size=100, epochs=40, learning_rate=0.05),
    ("mlp", 10_000): Recipe(batch_size=100, epochs=20, learning_rate=0.02),
    ("mlp", 60_000): Recipe(batch_size=100, epochs=15, learning_rate=0.005),
    ("cnn", 2000): Recipe(batch_size=100, epochs=20, learning_rate=0.05),
    ("cnn", 10_000): Recipe(batch_size=100, epochs=10, learning_rate=0.02),
    ("cnn", 60_000): Recipe(batch_size=100, epochs=5, learning_rate=0.01),
}
NETWORKS = {
    "mlp": (partial(mlp, 784, 64, 10), {}),
    "cnn": (convolutional_network, {"image_shape": (1, 28, 28)}),
}


def leave_one_out_task(network, n_rows, n_groups):
    """Return the task of a network ("mlp" or "cnn"), a number of rows and of groups."""
    make_module, options = NETWORKS[network]
    return Task(
        f"{network}-{n_rows}-{n_groups}",
        partial(fashion_rows, n_train=n_rows, n_query=N_QUERIES, seed=1, **options),
        make_module,
        RECIPES[network, n_rows],
        n_groups=n_groups,
        role="report",
        slow=True,
        n_seeds=2,
        n_subsets=40,
    )


TASKS = {
    task.name: task
    for task in (
        leave_one_out_task(network, n_rows, n_groups)
        for network, n_rows in RECIPES
        for n_groups in N_GROUPS
    )
}


def main():
    """Make the truths of the tasks named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", choices=TASKS, metavar="name")
    parser.add_argument("--n-jobs", type=int, default=2, help="seeds to train at once")
    args = parser.parse_args()
    for name in args.names:
        print(table_line(TASKS[name], cached_truth(TASKS[name], n_jobs=args.n_jobs)), flush=True)


if __name__ == "__main__":
    main()
