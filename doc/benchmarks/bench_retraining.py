"""How much faster is `metrics.retraining` side by side than one by one, and does it say the same?

    python doc/benchmarks/bench_retraining.py
    python doc/benchmarks/bench_retraining.py --groups 20 --epochs 10 --batch-norm

The network has one hidden layer of 64 units; it is trained on 800 digits by Adam in minibatches of
32, once on all of them and once without each group. Seconds are by the clock, in one process and on
one thread; the derivatives' compiler, which torch imports at the first of them, is imported before.
"""

import argparse
import os
import platform
import time

import numpy as np
import torch
from _task_rows import digits_rows, group_rows
from skorch import NeuralNetClassifier
from torch import nn

from sklearn_synset.metrics import leave_one_out_correlation, retraining


def network(has_norm):
    """Return a network with a hidden layer, and batch normalisation in it."""
    norm = [nn.BatchNorm1d(64)] if has_norm else []
    return nn.Sequential(nn.Linear(64, 64, bias=not has_norm), *norm, nn.ReLU(), nn.Linear(64, 10))


def main():
    """Print seconds and agreement."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--groups", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch-norm", action="store_true")
    args = parser.parse_args()
    X, y, X_query, y_query = digits_rows(800, 150, seed=5)
    net = NeuralNetClassifier(
        network,
        module__has_norm=args.batch_norm,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=1e-3,
        max_epochs=args.epochs,
        batch_size=32,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    )
    torch.func.grad(torch.sum)(torch.ones(1))
    found = {}
    print(f"{platform.machine()}, {os.cpu_count()} processors, torch {torch.__version__}")
    for is_stacked in (True, False):
        start = time.perf_counter()
        truth = retraining(
            *(net, X, y, X_query, y_query),
            groups=group_rows(X, y, args.groups),
            side_by_side=is_stacked,
            random_state=0,
        )
        found[is_stacked] = truth.effects, time.perf_counter() - start
        print(f"{truth.how:30s} {found[is_stacked][1]:7.1f} s", flush=True)
    (stacked, fast), (alone, slow) = found[True], found[False]
    error = np.abs(stacked - alone).max() / np.abs(alone).max()
    rank = leave_one_out_correlation(alone, stacked.mean(0))
    print(f"{slow / fast:.1f} times faster")
    print(f"largest difference {error:.1e} of the largest effect, LOO {rank:.4f}")


if __name__ == "__main__":
    main()
