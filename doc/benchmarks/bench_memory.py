"""What memory do fit and queries take beyond the data, and how long do passes over the rows take?

    python doc/benchmarks/bench_memory.py                          # all cells, an hour
    python doc/benchmarks/bench_memory.py --rows 60000 --groups 100 --sources memmap
    python doc/benchmarks/bench_memory.py stages                   # a minute

Fashion-MNIST, a 784-64-10 network that was trained for two epochs, one thread. Each cell is a
process of its own. It imports, loads the rows (an array in memory, or a read-only memory-mapped
file), trains the network and does everything once on 500 rows, which loads what is imported late
and fills the pools of torch. From then on it is watched by another process: a figure is the most
memory in use that no file backs (RssAnon of /proc, looked at every millisecond), less that before
the call. The rows themselves thus do not count; whatever is kept or copied of them does.

fit       with `--max-iter` steps of distillation (default 20): its steps take the same memory
          however many they are.
attribute `transform` and `attribute` of 1,000 queries
own       `score_samples` of all training rows
samples   `attribute(level="samples")` of 10 queries, 5 at a time
after     what the attributor holds once it is fitted and the calls are done

`stages` prints the seconds of one core that each part of `fit` takes which passes over all 60,000
rows, for 100 groups, and beside them one epoch of training and one pass forward and backward in
batches of 4,096 rows.
"""

import argparse
import functools
import importlib
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from _peak_memory import PeakMemory, allocated, settle
from torch import nn

from sklearn_synset import SynsetAttributor
from sklearn_synset.datasets import load_fashion_mnist

ROWS, GROUPS, SOURCES = (6000, 20000, 60000), (20, 50, 100), ("array", "memmap")
N_QUERIES, N_SAMPLE_QUERIES, AT_ONCE = 1000, 10, 5
CALLS = ("fit", "attribute", "own", "samples")
MIB = 2**20


def training_rows(source, n_rows, folder):
    """Return rows in memory, or rows of a file that are read when they are used."""
    X, y = load_fashion_mnist(n_rows=n_rows, return_X_y=True, random_state=0)
    if source == "array":
        return X, y
    path = Path(folder) / "rows.npy"
    np.save(path, X)
    del X
    return np.load(path, mmap_mode="r"), y


def trained_network(X, y, n_epochs=2, batch_size=100):
    """Train a 784-64-10 network by gradient descent with momentum."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    for _ in range(n_epochs):
        for batch in torch.randperm(len(X)).split(batch_size):
            rows = torch.tensor(X[batch.numpy()])
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(rows), torch.from_numpy(y[batch])).backward()
            optimizer.step()
    return network


def attributor_of(network, n_groups, max_iter):
    return SynsetAttributor(
        network, n_groups=n_groups, weight_decay=1e-4, max_iter=max_iter, random_state=0
    )


def by_samples(attributor, X, y):
    for start in range(0, len(X), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        attributor.attribute(X[part], y[part], level="samples")


def calls(attributor, X, y, Q, y_query):
    """Return what is measured, by name, in order."""
    few = slice(N_SAMPLE_QUERIES)
    return {
        "fit": lambda: attributor.fit(X, y),
        "attribute": lambda: (attributor.transform(Q), attributor.attribute(Q, y_query)),
        "own": lambda: attributor.score_samples(X, y),
        "samples": lambda: by_samples(attributor, Q[few], y_query[few]),
    }


def cell(source, n_rows, n_groups, max_iter, names):
    """Print one line of the table."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    Q, y_query = load_fashion_mnist(
        subset="test", n_rows=N_QUERIES, return_X_y=True, random_state=0
    )
    with tempfile.TemporaryDirectory() as folder:
        X, y = training_rows(source, n_rows, folder)
        network = trained_network(X, y)
        few = [np.array(part[:500]) for part in (X, y, Q, y_query)]
        for call in calls(attributor_of(network, 10, 2), *few).values():
            call()
        settle()
        before = allocated("self")
        columns = []
        attributor = attributor_of(network, n_groups, max_iter)
        named = calls(attributor, X, y, Q, y_query)
        for name in names:
            with PeakMemory() as peak:
                named[name]()
            columns.append(f"{peak.bytes / MIB:7.0f} {peak.seconds:7.2f}")
        settle()
        columns.append(f"{(allocated('self') - before) / MIB:7.0f}")
    print(f"{source:8s} {n_rows:6d} {n_groups:4d}  " + "  ".join(columns), flush=True)


def table(sources, rows, groups, max_iter, names):
    """Run the cells one after the other, each in a fresh process."""
    print("source        n    K  " + "  ".join(f"{name:>15s}" for name in names) + "    after")
    print(" " * 22 + "  ".join(["    MiB       s"] * len(names)) + "      MiB", flush=True)
    for source in sources:
        for n_rows in rows:
            for n_groups in groups:
                values = (source, n_rows, n_groups, max_iter, *names)
                command = [sys.executable, __file__, "cell", *map(str, values)]
                subprocess.run(command, check=True)


STAGES = {
    "sklearn_synset._synset_attributor": (
        *("training_data", "class_wise_kmeans", "networks_from_seeds", "training_rows"),
        *("choose_plan", "leave_out_and_probe", "representatives_of", "group_centres"),
    ),
    "sklearn_synset._distillation.distilled_synset": ("residual_norm", "starting_rows"),
    "sklearn_synset._distillation.distil": ("row_bounds",),
    "sklearn_synset._distillation.anchors": ("training_gradients",),
}


def found(name):
    """Return a module or class by its full name."""
    parts = name.split(".")
    if parts[-1][0].isupper():
        return getattr(importlib.import_module(".".join(parts[:-1])), parts[-1])
    return importlib.import_module(".".join(parts))


def timed(function, seconds):
    @functools.wraps(function)
    def call(*args, **kwargs):
        start = time.process_time()
        try:
            return function(*args, **kwargs)
        finally:
            seconds.append(time.process_time() - start)

    return call


def stages(n_rows=60000, n_groups=100):
    """Print what each pass over the rows takes."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    X, y = load_fashion_mnist(n_rows=n_rows, return_X_y=True, random_state=0)
    start = time.process_time()
    network = trained_network(X, y, n_epochs=1)
    print(f"{'one epoch of training':24s} {time.process_time() - start:6.2f} s")
    rows, labels = torch.from_numpy(X), torch.from_numpy(y)
    start = time.process_time()
    for batch in torch.arange(n_rows).split(4096):
        nn.functional.cross_entropy(network(rows[batch]), labels[batch]).backward()
    print(f"{'forward and backward':24s} {time.process_time() - start:6.2f} s")
    times = {}
    for place, names in STAGES.items():
        for name in names:
            owner = found(place)
            setattr(owner, name, timed(getattr(owner, name), times.setdefault(name, [])))
    attributor = attributor_of(network, n_groups, 4).fit(X, y)
    for name, seconds in times.items():
        print(f"{name:24s} {sum(seconds):6.2f} s" + f" in {len(seconds)}" * (len(seconds) > 1))
    total = sum(sum(seconds) for name, seconds in times.items() if name != "gradients")
    print(f"{'all but gradients':24s} {total:6.2f} s")
    start = time.process_time()
    attributor.score_samples(X, y)
    print(f"{'score_samples':24s} {time.process_time() - start:6.2f} s")


def main():
    if sys.argv[1:] == ["stages"]:
        stages()
        return
    if sys.argv[1:2] == ["cell"]:
        source, *numbers = sys.argv[2:6]
        cell(source, *map(int, numbers), sys.argv[6:])
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    parser.add_argument("--groups", type=int, nargs="+", default=GROUPS)
    parser.add_argument("--sources", nargs="+", choices=SOURCES, default=SOURCES)
    parser.add_argument("--max-iter", type=int, default=20)
    parser.add_argument("--calls", nargs="+", choices=CALLS, default=CALLS, help="with fit first")
    args = parser.parse_args()
    table(args.sources, args.rows, args.groups, args.max_iter, args.calls)


if __name__ == "__main__":
    main()
