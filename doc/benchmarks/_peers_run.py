"""Run one method of another library on one task; started in their environment by `_peers.py`.

    python _peers_run.py PROBLEM PEER OUT [SETTING ...]

PROBLEM is a file that `_peers.write_problem` wrote, PEER a key of `_peers_settings.PEERS`, SETTING
the label of a setting. Scores are summed within groups and kept in OUT after every setting, under
`LABEL/scores` (n_queries, n_groups), `LABEL/seconds` (fit, attribute; of the processor) and
`LABEL/wall` (all, by the clock). Where a method fails, the scores are NaN and the reason is
printed. The environment's `PEER_THREADS` is the number of threads, 1 by default; where
`PEER_MEMORY` is set, `LABEL/peak` is the most bytes that the method held beyond the problem.
"""

import importlib
import os
import sys
import time
import warnings
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from _peak_memory import PeakMemory
from _peers_settings import LARGE_PEERS, PEERS, label
from torch import nn


@dataclass
class Problem:
    """A trained network, the rows that it was trained on, and queries.

    Parameters
    ----------
    module : nn.Module
        In evaluation mode.
    X : Tensor of shape (n_rows, ...)
        Training rows.
    y : Tensor of shape (n_rows,)
        Their labels or targets.
    queries : tuple of Tensor
        Rows and labels of the queries.
    groups : ndarray of shape (n_rows,)
        Group of each training row.
    checkpoints : list of tuple
        State dicts on the way to the trained network and their learning rates.
    """

    module: nn.Module
    X: torch.Tensor
    y: torch.Tensor
    queries: tuple
    groups: np.ndarray
    checkpoints: list


def read_problem(path):
    """Read a problem from a file of our own making."""
    content = torch.load(path, weights_only=False)
    # One method looks for layers inside the module only, so a single layer is put into another.
    module = nn.Sequential(content["module"]).eval()
    for parameter in module.parameters():
        parameter.requires_grad_(True)
    checkpoints = [
        ({f"0.{name}": value for name, value in state.items()}, rate)
        for state, rate in content["checkpoints"]
    ]
    return Problem(
        module,
        content["X"],
        content["y"],
        (content["X_query"], content["y_query"]),
        content["groups"],
        checkpoints,
    )


def sum_groups(scores, groups):
    """Sum scores (n_rows, n_queries) within groups, to (n_queries, n_groups)."""
    sums = np.zeros((groups.max() + 1, scores.shape[1]))
    np.add.at(sums, groups, scores)
    return sums.T


def run(adapter, path, setting):
    """Return what is kept of one setting: its group scores, and what it took."""
    torch.manual_seed(0)
    problem = read_problem(path)
    module_name, function = adapter.split(":")
    adapter = getattr(importlib.import_module(module_name), function)
    watch = PeakMemory() if "PEER_MEMORY" in os.environ else nullcontext()
    start = time.perf_counter()
    try:
        with watch:
            scores, *seconds = adapter(problem, **setting)
        wall = time.perf_counter() - start
        found = {"scores": sum_groups(scores, problem.groups), "seconds": seconds, "wall": wall}
        return found | ({"peak": watch.bytes} if "PEER_MEMORY" in os.environ else {})
    except Exception as error:
        # A library that fails on a task is a result, and must not hide the other settings.
        print(f"{function} {label(setting)}: {type(error).__name__}: {error}", file=sys.stderr)
        shape = len(problem.queries[0]), problem.groups.max() + 1
        return {"scores": np.full(shape, np.nan), "seconds": (np.nan, np.nan), "wall": np.nan}


def main():
    """Run the settings named on the command line."""
    problem, name, out, *labels = sys.argv[1:]
    warnings.simplefilter("ignore")
    torch.set_num_threads(int(os.environ.get("PEER_THREADS", "1")))
    peer, out = (PEERS | LARGE_PEERS)[name], Path(out)
    arrays = dict(np.load(out)) if out.exists() else {}
    for setting in ({}, *peer.grid):
        if label(setting) in labels:
            found = run(peer.adapter, problem, setting)
            arrays |= {f"{label(setting)}/{key}": np.array(part) for key, part in found.items()}
            partial = out.with_suffix(".partial.npz")
            np.savez_compressed(partial, **arrays)
            partial.replace(out)


if __name__ == "__main__":
    main()
