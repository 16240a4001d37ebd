"""Run other libraries' methods on a task, in an environment of their own."""

import math
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import numpy as np
import torch
from _peers_settings import PEERS, label
from _retraining import initial_module, row_losses

__all__ = ["PEERS", "group_scores", "label"]

HERE = Path(__file__).parent
ENVIRONMENT = HERE / "cache" / "peers-environment"
REQUIREMENTS = (
    *("torch==2.13.0", "numpy==2.4.6", "scipy==1.17.1", "tqdm==4.70.1"),
    *("accelerate==1.15.0", "safetensors==0.8.0", "einconv==0.1.0", "einops==0.8.2"),
    *("opt_einsum==3.4.0", "pyyaml==6.0.3", "matplotlib==3.11.2", "packaging==26.3"),
)
# These name packages that the methods do not use: torchvision, readers of MIDI files.
WITHOUT_DEPENDENCIES = ("captum==0.9.0", "dattri==0.3.0", "kronfluence==1.0.1", "traker==0.3.2")


def environment_python():
    """Return the interpreter of the other libraries' environment, made if it is not there."""
    python = ENVIRONMENT / "bin" / "python"
    stamp, wanted = ENVIRONMENT / "installed.txt", "\n".join(REQUIREMENTS + WITHOUT_DEPENDENCIES)
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"Making the other libraries' environment in {ENVIRONMENT}", file=sys.stderr)
        venv.create(ENVIRONMENT, with_pip=True, clear=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, *REQUIREMENTS], check=True)
        subprocess.run([*install, "--no-deps", *WITHOUT_DEPENDENCIES], check=True)
        stamp.write_text(wanted)
    return python


def training_checkpoints(task, X, y, n_checkpoints=10):
    """Train the network of seed 0 again and keep its state at even distances.

    Parameters
    ----------
    task : Task
        The task.
    X : Tensor of shape (n_rows, ...)
        Training rows.
    y : Tensor of shape (n_rows,)
        Labels or targets.
    n_checkpoints : int, default=10
        Number of states, the last after the last epoch.

    Returns
    -------
    list of tuple
        State dict, and learning rate of the step that led to it.
    """
    recipe, module = task.recipe, initial_module(task.make_module, 0)
    optimizer = torch.optim.SGD(
        module.parameters(), recipe.learning_rate, recipe.momentum, weight_decay=recipe.weight_decay
    )
    n_batches = math.ceil(len(y) / recipe.batch_size)
    kept_steps = np.linspace(0, recipe.epochs, n_checkpoints + 1)[1:].round() * n_batches
    checkpoints = []
    module.train()
    for step, (rate, rows) in enumerate(recipe.steps(len(y), seed=0), start=1):
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        row_losses(module(X[rows]), y[rows]).mean().backward()
        optimizer.step()
        if step in kept_steps:
            state = {name: value.clone() for name, value in module.state_dict().items()}
            checkpoints.append((state, rate))
    return checkpoints


def write_problem(path, task, module, data, truth, retrainable):
    """Write what `_peers_run.read_problem` reads."""
    X, y, X_query, y_query = (torch.from_numpy(part) for part in data)
    # Where the truth's initial weights are not known, the trained network is the only checkpoint.
    states = training_checkpoints(task, X, y) if retrainable else [(None, 1.0)]
    checkpoints = [*states[:-1], (module.state_dict(), states[-1][1])]
    content = {"module": module, "X": X, "y": y, "X_query": X_query, "y_query": y_query}
    torch.save(content | {"groups": truth["groups"], "checkpoints": checkpoints}, path)


def group_scores(peer_name, task, module, data, truth, *, retrainable=True):
    """Scores of one method with all its settings, from the cache or made now.

    Parameters
    ----------
    peer_name : str
        Key of `PEERS`.
    task : Task
        The task.
    module : nn.Module
        Its trained network.
    data : tuple of ndarray
        `X_train, y_train, X_query, y_query`.
    truth : mapping of ndarray
        With the `groups`.
    retrainable : bool, default=True
        Whether seed 0 of the task's recipe leads to `module`.

    Returns
    -------
    dict
        Label of each setting -> scores (n_queries, n_groups) and seconds (fit, attribute); empty
        if the network has too many weights for the method.
    """
    peer = PEERS[peer_name]
    n_weights = sum(weight.numel() for weight in module.parameters())
    if peer.max_weights is not None and n_weights > peer.max_weights:
        return {}
    origin = task.path.stem if retrainable else f"outside-{task.name}"
    out = HERE / "cache" / f"peers-{origin}-{peer_name.replace(' ', '-').replace(',', '')}.npz"
    labels = [label(setting) for setting in peer.settings(len(data[0]), n_weights)]
    stored = dict(np.load(out)) if out.exists() else {}
    if missing := [name for name in labels if f"{name}/scores" not in stored]:
        with tempfile.TemporaryDirectory() as folder:
            problem = Path(folder) / "problem.pt"
            write_problem(problem, task, module, data, truth, retrainable)
            command = [environment_python(), HERE / "_peers_run.py", problem, peer_name, out]
            environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
            subprocess.run(
                [str(part) for part in (*command, *missing)],
                check=True,
                env=environment | {"TQDM_DISABLE": "1"},
            )
        stored = dict(np.load(out))
    return {name: (stored[f"{name}/scores"], stored[f"{name}/seconds"]) for name in labels}
