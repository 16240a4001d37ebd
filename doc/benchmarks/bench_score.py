"""Does `score`, which retrains nothing, find the settings that are most faithful to retraining?

    python doc/benchmarks/bench_score.py                             # four small tasks
    python doc/benchmarks/bench_score.py wine-mlp --net              # of networks of known training
    python doc/benchmarks/bench_score.py --undistilled digits-mlp32  # in less time
    python doc/benchmarks/bench_score.py --hopeless                  # random labels
    python doc/benchmarks/bench_score.py --search                    # a grid search, twice

For each task of `fidelity_tasks.py` an attributor is fitted with each of 22 settings of the
distillation and of leaving out, to the stored network of seed 0 (with `--net` to a skorch net of
the same recipe, trained from the attributor's own seed); with `--undistilled` 19 settings that
distil nothing. A setting's `score` on the held-out rows is then compared with its true LOO on
them, which `bench_fidelity.py` defines.

range     lowest and highest true LOO over the settings
rank      Spearman correlation of score and true LOO over the settings
lost      true LOO of the best setting, less that of the setting with the highest score
slope     of the true effects (seed 0; with `--net` the mean over seeds) on the predicted ones, for
          the first setting, and `fidelity_.slope` with its interval beside it
within    share of settings whose `fidelity_.slope` is within 25% of the true slope

`--hopeless` fits networks that were trained on random labels, and prints what `fidelity_` says.
`--search` searches over 12 settings on digits-mlp32 with one worker and with two. The stored
network has seen its training rows, so there is a single split: fitted on those, scored on the
held-out ones.
"""

import argparse
import time
import warnings

import numpy as np
import torch
from bench_n_models import recipe_net
from fidelity_tasks import TASKS, evaluate, load_task
from scipy.stats import spearmanr
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from skorch import NeuralNetClassifier
from torch import nn, optim
from tqdm import tqdm

from sklearn_synset import SynsetAttributor

TASK_NAMES = ("wine-lr", "wine-mlp", "cancer-mlp16", "digits-mlp32")
WEIGHT_DECAY = 1e-3
SHORT = {"max_iter": 40}
REAL = {"max_iter": 0}
SETTINGS = (
    {"max_iter": 100},
    REAL,
    REAL | {"initialization": "random"},
    REAL | {"synset_size": 1},
    REAL | {"synset_size": 2},
    REAL | {"synset_size": 8},
    REAL | {"synset_size": 1, "initialization": "random"},
    REAL | {"synset_size": 2, "initialization": "random"},
    REAL | {"synset_size": 8, "initialization": "random"},
    REAL | {"rewind": 0.0},
    REAL | {"rewind": 0.25},
    REAL | {"rewind": 0.95},
    REAL | {"n_steps": 10},
    REAL | {"synset_size": 1, "rewind": 0.0},
    REAL | {"synset_size": 2, "initialization": "random", "n_steps": 20},
    SHORT | {"synset_size": 2},
    SHORT | {"initialization": "random"},
    SHORT | {"initialization": "random", "synset_size": 1},
    SHORT | {"distance": "squared_error"},
    SHORT | {"distance": "cosine"},
    SHORT | {"learning_rate": 0.5},
    SHORT | {"learning_rate": 0.5, "initialization": "random", "synset_size": 2},
)
UNDISTILLED = (
    *(params for params in SETTINGS if params["max_iter"] == 0),
    REAL | {"synset_size": 3},
    REAL | {"synset_size": 3, "initialization": "random"},
    REAL | {"synset_size": 5, "initialization": "random"},
    REAL | {"synset_size": 1, "n_steps": 10},
    REAL | {"synset_size": 2, "rewind": 0.75},
)


def measure(name, is_net, params, random_state):
    """Fit a task's network with some settings; return its figures."""
    module, (X, y, X_query, y_query), truth = load_task(name)
    if is_net:
        network, weight_decay = recipe_net(TASKS[name], len(X)), None
        truth = truth | {"effect_seed0": truth["effect_mean"]}
    else:
        network, weight_decay = module, WEIGHT_DECAY
    attributor = SynsetAttributor(
        network, weight_decay=weight_decay, random_state=random_state, **params
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        attributor.fit(X, y, groups=truth["groups"])
    figures = evaluate(attributor.attribute(X_query, y_query), truth)
    score = attributor.score(X_query, y_query)
    return figures | {"score": score, "fidelity": attributor.fidelity_}


def print_task(name, settings, is_net, random_state):
    """Print a line for each setting, and the line of a task."""
    found = []
    for params in tqdm(settings, desc=name, leave=False):
        figures = measure(name, is_net, params, random_state)
        found.append(figures)
        tqdm.write(
            f"  LOO {figures['LOO']:6.3f}  score {figures['score']:6.3f}  slope "
            f"{figures['slope']:5.2f}  claimed {figures['fidelity'].slope:5.2f}  {params}"
        )
    true, score = (np.array([figures[key] for figures in found]) for key in ("LOO", "score"))
    ratio = np.array([figures["fidelity"].slope / figures["slope"] for figures in found])
    claimed = found[0]["fidelity"]
    print(
        f"{name:14s} {true.min():6.3f} - {true.max():5.3f} {spearmanr(score, true).statistic:6.2f} "
        f"{true.max() - true[score.argmax()]:7.3f} {found[0]['slope']:7.2f} {claimed.slope:6.2f} "
        f"({claimed.slope_interval[0]:.2f} to {claimed.slope_interval[1]:.2f}) "
        f"{np.mean(np.abs(ratio - 1) <= 0.25):8.2f}",
        flush=True,
    )


def print_hopeless():
    """Print the fidelity of networks that no method can explain."""
    rng = np.random.RandomState(0)
    X, y = rng.randn(300, 20).astype(np.float32), rng.randint(3, size=300)
    net = NeuralNetClassifier(
        lambda: nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 3)),
        criterion=nn.CrossEntropyLoss,
        optimizer=optim.SGD,
        optimizer__momentum=0.9,
        lr=0.1,
        batch_size=30,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    )
    print(f"{'random labels':24s} rank correlation and slope of fidelity_")
    for epochs in (1, 30):
        attributor = SynsetAttributor(net.set_params(max_epochs=epochs), random_state=0)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            claimed = attributor.fit(X, y).fidelity_
        low, high = claimed.rank_correlation_interval
        warned = "warned" if any("Attributions" in str(w.message) for w in caught) else ""
        print(
            f"{epochs:3d} epochs {'':13s} {claimed.rank_correlation:5.2f} "
            f"({low:.2f} to {high:.2f}) {claimed.slope:5.2f} {warned}",
            flush=True,
        )


def print_search():
    """Print what a grid search takes, and whether two workers find the same bits as one."""
    module, (X, y, X_query, y_query), _ = load_task("digits-mlp32")
    grid = {
        "synset_size": [2, 5, 10],
        "initialization": ["centroid", "random"],
        "max_iter": [0, 40],
    }
    base = SynsetAttributor(module, n_groups=50, weight_decay=WEIGHT_DECAY, random_state=0)
    rows, labels = np.concatenate([X, X_query]), np.concatenate([y, y_query])
    split = [(np.arange(len(X)), np.arange(len(X), len(rows)))]
    scores = []
    for n_jobs in (1, 2):
        search = GridSearchCV(base, grid, cv=split, refit=False, n_jobs=n_jobs)
        start, start_cpu = time.perf_counter(), time.process_time()
        search.fit(rows, labels)
        scores.append(search.cv_results_["mean_test_score"])
        seconds = f"{time.perf_counter() - start:6.1f} s"
        cpu = f" ({time.process_time() - start_cpu:.1f} s of a processor)" if n_jobs == 1 else ""
        print(f"n_jobs={n_jobs}: {seconds}{cpu}, best {search.best_params_}", flush=True)
    print("bit-equal" if np.array_equal(*scores) else "DIFFERENT", np.round(scores[0], 3))


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tasks", nargs="*", default=TASK_NAMES)
    parser.add_argument("--net", action="store_true", help="networks of known training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--undistilled", action="store_true", help="settings that take less time")
    parser.add_argument("--hopeless", action="store_true")
    parser.add_argument("--search", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.hopeless:
        return print_hopeless()
    if args.search:
        return print_search()
    print(f"{'task':14s} {'range of LOO':>14s}   rank    lost   slopeclaimed (interval)   within")
    for name in args.tasks:
        print_task(name, UNDISTILLED if args.undistilled else SETTINGS, args.net, args.seed)


if __name__ == "__main__":
    main()
