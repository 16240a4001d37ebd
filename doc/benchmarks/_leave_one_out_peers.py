"""Other libraries' methods on the tasks of `bench_leave_one_out.py`."""

import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch
from _peers import HERE, environment_python, label

# Defaults (but for TRAK, whose are no better than chance) and what did well on smaller tasks.
PEER_SETTINGS = {
    "EK-FAC": ("EK-FAC", {}),
    "EK-FAC damped": ("EK-FAC", {"damping_factor": 1e-3, "use_empirical_fisher": False}),
    "TRAK": ("TRAK", {"proj_dim": 512, "relative_ridge": 1.0}),
    "CG": (
        "conjugate gradient in batches",
        {"regularization": 1e-2, "n_hessian": 2000, "n_queries": 100},
    ),
}


def peer_result(name, task, module, data, groups, n_threads, *, again=False):
    """Run another library's method with one setting, or read what it gave.

    Parameters
    ----------
    name : str
        Key of `PEER_SETTINGS`.
    task : Task
        The task, whose truth's file name is part of the result's.
    module : nn.Module
        Its trained network.
    data : tuple of ndarray
        `X_train, y_train, X_query, y_query`.
    groups : ndarray of shape (n_rows,)
        Group of each training row.
    n_threads : int
        Threads that it may use.
    again : bool, default=False
        Whether to run it although its result is there.

    Returns
    -------
    dict of ndarray
        `scores` (n_queries, n_groups), `seconds` (offline, online; of the processor), `wall` (both,
        by the clock) and `peak`, bytes beyond the network and the rows; without `peak` if it
        failed.
    """
    peer, setting = PEER_SETTINGS[name]
    file = f"large-peers-{task.path.stem}-{name.replace(' ', '-')}-{n_threads}.npz"
    out = HERE / "cache" / file
    if again:
        out.unlink(missing_ok=True)
    if not out.exists():
        with tempfile.TemporaryDirectory() as folder:
            problem = Path(folder) / "problem.pt"
            names = ("X", "y", "X_query", "y_query")
            content = dict(zip(names, map(torch.from_numpy, data), strict=True))
            checkpoints = [(module.state_dict(), 1.0)]
            torch.save(
                content | {"module": module, "groups": groups, "checkpoints": checkpoints}, problem
            )
            run(n_threads, problem, peer, out, label(setting))
    with np.load(out) as stored:
        return {key.rsplit("/")[-1]: stored[key] for key in stored.files}


def run(n_threads, *arguments):
    """Start `_peers_run.py` in the other libraries' environment."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"PEER_MEMORY": "1", "PEER_THREADS": str(n_threads), "TQDM_DISABLE": "1"}
    environment["OMP_NUM_THREADS"] = str(n_threads)
    command = [environment_python(), HERE / "_peers_run.py", *arguments]
    subprocess.run([str(part) for part in command], check=True, env=environment)
