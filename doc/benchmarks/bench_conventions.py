"""Are effects right for class weights, sample weights, soft targets and the like?

    python doc/benchmarks/bench_conventions.py              # all, some minutes
    python doc/benchmarks/bench_conventions.py "class weights" Huber

Each line is a skorch net of two layers and one convention, on 400 digits in 20 groups (k-means
within classes) or, for values, 340 rows of diabetes in 20 groups; explained with defaults. The
control has the same network, rows and optimizer, and no convention. Truth is real retraining
without each group, mean over 8 seeds that are none of the attributor's.

LOO      mean over queries of the Spearman correlation over groups with the true effects
control  that of the control
one      that of one real retraining with the mean of the others
slope    least-squares slope of the true effect on the predicted one
ok       LOO at most 0.03 below the control or below one, and the slope between 0.8 and 1.25
"""

import argparse
import warnings
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from _regime_tasks import mlp
from _task_rows import digits_rows, group_rows, table_rows
from bench_regimes import rank_correlation
from skorch import NeuralNet, NeuralNetClassifier, NeuralNetRegressor
from torch import nn
from torch.utils.data import WeightedRandomSampler

from sklearn_synset import SynsetAttributor
from sklearn_synset.metrics import retraining

N, N_GROUPS, N_SEEDS = 400, 20, 8
BELOW, SLOPES = 0.03, (0.8, 1.25)
DIGITS = partial(digits_rows, n_train=N, n_query=100, seed=3)
DIABETES = partial(table_rows, "diabetes", n_train=340, n_query=100, seed=3)
_RNG = np.random.RandomState(0)
_WEIGHT = _RNG.choice([0.2, 1.0, 3.0], N)


@dataclass(frozen=True)
class Convention:
    """How a net is trained, and on what.

    Parameters
    ----------
    params : dict
        Parameters of the net, beyond those of the control.
    fit : dict
        Further arguments of `fit` and of the retraining.
    targets : callable, default=None
        Maps labels to what the net is trained on.
    is_values : bool, default=False
        Whether the task is the regression.
    net : type, default=NeuralNetClassifier
        Of skorch.
    control : str, default="none"
        Name of the control.
    """

    params: dict = field(default_factory=dict)
    fit: dict = field(default_factory=dict)
    targets: object = None
    is_values: bool = False
    net: type = NeuralNetClassifier
    control: str = "none"
    n_outputs: int = 10


def soft(y):
    """Return probabilities: of a tenth of the rows, two labels are as likely."""
    targets = np.eye(10, dtype=np.float32)[y]
    other = np.eye(10, dtype=np.float32)[np.random.RandomState(1).randint(10, size=len(y))]
    return 0.8 * targets + 0.2 * other


def several(y):
    """Return three labels of a digit: even, above four, prime."""
    return np.stack([y % 2 == 0, y > 4, np.isin(y, (2, 3, 5, 7))], axis=1).astype(np.float32)


CONVENTIONS = {
    "none": Convention(),
    "class weights": Convention(
        {"criterion__weight": torch.linspace(0.3, 3, 10)},
    ),
    "sample weights": Convention(fit={"sample_weight": _WEIGHT}),
    "label smoothing": Convention({"criterion__label_smoothing": 0.1}),
    "ignored index": Convention({"criterion__ignore_index": 9}),
    "sampler": Convention(
        {
            "iterator_train__shuffle": False,
            "iterator_train__sampler": WeightedRandomSampler(_WEIGHT, N),
        }
    ),
    "decoupled decay": Convention({"optimizer": torch.optim.AdamW, "optimizer__weight_decay": 0.3}),
    "soft targets": Convention(targets=soft),
    "several labels": Convention(
        {"criterion": nn.BCEWithLogitsLoss}, targets=several, net=NeuralNet, n_outputs=3
    ),
    "values": Convention(is_values=True, net=NeuralNetRegressor),
    "Huber": Convention(
        {"criterion": nn.HuberLoss}, is_values=True, net=NeuralNetRegressor, control="values"
    ),
}


def task_of(name):
    """Return the net, training rows with targets and groups, and queries with theirs."""
    own = CONVENTIONS[name]
    X, y, X_query, y_query = (DIABETES if own.is_values else DIGITS)()
    groups = group_rows(X, y, N_GROUPS)
    widths = (10, 32, 1) if own.is_values else (64, 32, own.n_outputs)
    settings = {"criterion": nn.CrossEntropyLoss} if own.net is NeuralNetClassifier else {}
    settings |= {"optimizer": torch.optim.Adam, "lr": 3e-3, "max_epochs": 30, "batch_size": 32}
    settings |= {"train_split": None, "verbose": 0, "iterator_train__shuffle": True}
    net = own.net(partial(mlp, *widths), **settings | own.params)
    if own.is_values:
        y, y_query = y[:, None], y_query[:, None]
    if own.targets is not None:
        y = own.targets(y)
    if own.targets is several:
        y_query = several(y_query)
    return net, (X, y, groups), (X_query, y_query)


def measure(name):
    """Return LOO, one and slope."""
    net, (X, y, groups), (X_query, y_query) = task_of(name)
    extra = CONVENTIONS[name].fit
    truth = retraining(
        *(net, X, y, X_query, y_query),
        groups=groups,
        n_seeds=N_SEEDS,
        random_state=1,
        **extra,
    ).effects
    attributor = SynsetAttributor(net, n_probes=0, random_state=0).fit(X, y, groups, **extra)
    found, mean = attributor.attribute(X_query, y_query), truth.mean(0)
    ones = [
        rank_correlation(truth[seed], np.delete(truth, seed, axis=0).mean(0))
        for seed in range(N_SEEDS)
    ]
    slope = np.polyfit(np.ravel(found), mean.ravel(), 1)[0]
    return rank_correlation(found, mean), float(np.mean(ones)), float(slope)


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="name", help="all by default")
    names = parser.parse_args().names or list(CONVENTIONS)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    controls = {}
    print(f"{'convention':16} {'LOO':>6} {'control':>7} {'one':>6} {'slope':>6}  ok")
    for name in names:
        control = CONVENTIONS[name].control if name != "values" else "values"
        if control not in controls:
            controls[control] = measure(control)
        loo, one, slope = controls[name] if name in controls else measure(name)
        reference = controls[control][0]
        is_right = loo >= min(reference, one) - BELOW and SLOPES[0] <= slope <= SLOPES[1]
        print(
            f"{name:16} {loo:6.3f} {reference:7.3f} {one:6.3f} {slope:6.2f}  "
            f"{'yes' if is_right else 'no'}",
            flush=True,
        )


if __name__ == "__main__":
    main()
