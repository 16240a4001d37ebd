"""Does it pay from 2,000 to 20,000 rows, where most studies are?

    python doc/benchmarks/bench_middle.py --quick              # 2,000 rows, 20 groups: 3 minutes
    python doc/benchmarks/bench_middle.py                      # up to 10,000 rows: an hour
    python doc/benchmarks/bench_middle.py --rows 20000 --groups 50 100 --networks mlp
    python doc/benchmarks/bench_middle.py --set solver=replay

Fashion-MNIST (of the Debian package dataset-fashion-mnist), an MLP, a small CNN with batch
normalisation, and a residual network with layer normalisation, trained by Adam as untrained skorch
nets. `SynsetAttributor` fits with defaults, its training of the net included, and attributes 1,000
test rows. The rivals in the same run are retraining the net without each group, one after the
other, and side by side by `metrics.retraining`. Of both some trainings are timed, and scaled to K.
Seconds are of the processor, on one thread.

one s    seconds of one training of the net
fit s    seconds of `fit`, and of `attribute` for 1,000 queries
x one    `fit` and `attribute` together in trainings
x seq    how often they go into K retrainings one after the other
x side   how often they go into all K side by side, from one seed
MiB      most memory of `fit` and `attribute` beyond the data
LOO      rank correlation over some groups with the effects of one retraining, mean over two seeds
two      the same of the retraining from the other seed
slope    of the mean effects of the two retrainings on the predicted ones
claimed  `fidelity_.rank_correlation`, which is that with the mean of four retrainings
"""

import argparse
import time
import warnings
from functools import partial

import numpy as np
import torch
from _peak_memory import PeakMemory
from _regime_tasks import mlp, residual
from _task_rows import fashion_rows, group_rows
from bench_regimes import parse_value, rank_correlation
from sklearn.base import clone
from skorch import NeuralNetClassifier
from torch import nn

from sklearn_synset import SynsetAttributor
from sklearn_synset.metrics import retraining

N_QUERIES, N_SEEDS = 1000, 2
HEAD = (
    f"{'network':9s} {'rows':>6s} {'K':>4s} {'one s':>6s} {'fit s':>12s} {'x one':>6s} "
    f"{'x seq':>6s} {'x side':>6s} {'MiB':>5s} {'LOO':>6s} {'two':>6s} {'slope':>6s} "
    f"{'claimed':>8s}  solver"
)


def small_cnn():
    """Convolution, batch normalisation, rectified linear units and pooling, twice."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 28, 28)),
        *(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(784, 10)),
    )


# Module, epochs.
NETWORKS = {
    "mlp": (partial(mlp, 784, 64, 10), 10),
    "cnn": (small_cnn, 4),
    "residual": (partial(residual, 784, 64, 10), 10),
}


def net_of(network):
    """Return the untrained skorch net."""
    make_module, n_epochs = NETWORKS[network]
    return NeuralNetClassifier(
        make_module,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=1e-3,
        batch_size=64,
        max_epochs=n_epochs,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    )


def seconds(call):
    """Return what a call returns, and how long it took the processor."""
    start = time.process_time()
    found = call()
    return found, time.process_time() - start


def measure(network, n_rows, n_groups, n_measured, params):
    """Return the line of a task."""
    X, y, X_query, y_query = fashion_rows(n_train=n_rows, n_query=N_QUERIES, seed=1)
    y, y_query = y.astype(np.int64), y_query.astype(np.int64)
    groups, net = group_rows(X, y, n_groups), net_of(network)
    one = seconds(lambda: clone(net).fit(X, y))[1]
    attributor = SynsetAttributor(net, random_state=0, **params)
    with PeakMemory() as memory:
        fit = seconds(lambda: attributor.fit(X, y, groups=groups))[1]
        scores, attribute = seconds(lambda: attributor.attribute(X_query, y_query))
    chosen = np.random.RandomState(0).permutation(n_groups)[:n_measured]
    kept = np.ones((n_measured, n_groups), dtype=bool)
    kept[np.arange(n_measured), chosen] = False
    again = partial(retraining, net, X, y, X_query, y_query, groups=groups, random_state=0)
    truth, side = seconds(lambda: again(leave_one_out=False, subsets=kept, n_seeds=N_SEEDS))
    side *= (n_groups + 1) / (N_SEEDS * (n_measured + 1))
    effects = (truth.full_outputs[:, None] - truth.outputs).swapaxes(1, 2)
    scores, ours = np.asarray(scores, float)[:, chosen], fit + attribute
    return (
        f"{network:9s} {n_rows:6d} {n_groups:4d} {one:6.1f} {fit:6.1f}+{attribute:5.2f} "
        f"{ours / one:6.1f} {one * n_groups / ours:6.1f} {side / ours:6.2f} "
        f"{memory.bytes / 2**20:5.0f} "
        f"{np.mean([rank_correlation(scores, each) for each in effects]):6.3f} "
        f"{rank_correlation(*effects):6.3f} "
        f"{np.polyfit(scores.ravel(), effects.mean(0).ravel(), 1)[0]:6.2f} "
        f"{attributor.fidelity_.rank_correlation:8.2f}  {attributor.plan_.solver}, {truth.how}"
    )


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="2,000 rows, 20 groups")
    parser.add_argument("--rows", type=int, nargs="+", default=[2000, 5000, 10_000])
    parser.add_argument("--groups", type=int, nargs="+", default=[20, 50])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--measured", type=int, default=8, help="groups to retrain without")
    parser.add_argument("--set", action="append", default=[], metavar="PARAM=VALUE")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    torch.func.grad(torch.sum)(torch.ones(1))  # torch imports its compiler at the first derivative
    params = {k: parse_value(v) for k, v in (item.split("=", 1) for item in args.set)}
    print(HEAD, flush=True)
    for n_rows in [2000] if args.quick else args.rows:
        for n_groups in [20] if args.quick else args.groups:
            for network in args.networks:
                print(measure(network, n_rows, n_groups, args.measured, params), flush=True)


if __name__ == "__main__":
    main()
