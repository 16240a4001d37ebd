"""Probes by restarting: networks from new initial weights, on real rows without some groups."""

import torch
from tqdm.auto import tqdm

from sklearn_synset._data.training_data import TrainingRows
from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._network.operation_count import flops_of_gradient
from sklearn_synset._probes.probes import Probes
from sklearn_synset._probes.restart import MAX_EPOCHS, restartable, restarts
from sklearn_synset._retraining.leave_out import LeaveOut
from sklearn_synset._retraining.rewinding import is_single_layer
from sklearn_synset._retraining.row_sample import sample_of_rows

_MAX_RESTARTED_ROWS = 2000
_MAX_FLOPS = 7e11
_MIN_EPOCHS = 15
_MIN_EPOCHS_NORMALISED = 40  # in minibatches of 100 rows
_N_RESTARTS = 3


def restarted_probes(
    models: list[FunctionalModel],
    rows: TrainingRows,
    leave_out: LeaveOut,
    kept: torch.Tensor,
    generator: torch.Generator,
) -> Probes | None:
    """Train networks on the real rows of the groups that are kept, from new initial weights.

    Parameters
    ----------
    models, rows, kept, generator
        As of `rewound_probes`.

    leave_out : LeaveOut
        Bounds the networks that are trained side by side, and tells whether to show progress.

    Returns
    -------
    probes : Probes or None
        What comes of it, from three initial weights for each network. None if it cannot be done:
        for layers that `restartable` refuses, more than 2,000 rows or too large a network, and
        where the loss does not come down to what it is for the explained network. Also None for a
        single layer, of which rewinding tells as much in less time.
    """
    networks = _networks(models, rows)
    n_probes = _N_RESTARTS * len(models) * len(kept)
    max_epochs = _max_epochs(networks, rows, n_probes)
    if not max_epochs:
        return None
    everything = sample_of_rows(rows, len(rows.X), generator)
    kept = kept.to(everything.weight)
    before: list[torch.Tensor] = []
    theta: list[torch.Tensor] = []
    hidden = not leave_out.verbose
    with tqdm(total=n_probes, desc="Probing", unit="network", disable=hidden) as progress:
        for network in networks:
            found = restarts(
                network,
                everything,
                kept,
                generator,
                n_restarts=_N_RESTARTS,
                max_epochs=max_epochs,
                n_networks=leave_out.n_networks(network, everything),
            )
            if found is None:
                return None
            before.extend(found[0])
            parts = []
            for part in found[1]:
                parts.append(part)
                progress.update(len(part))
            theta.extend(torch.cat(parts).split(len(kept)))
    return Probes(kept, theta, [{} for _ in theta], before)


def _networks(models: list[FunctionalModel], rows: TrainingRows) -> list[FunctionalModel]:
    """Return the networks as they are in training; none if they are not to be restarted."""
    if len(rows.X) > _MAX_RESTARTED_ROWS or is_single_layer(models[0]):
        return []
    networks = [restartable(model, rows.X[:2]) for model in models]
    return [] if None in networks else networks  # type: ignore[return-value]


def _max_epochs(networks: list[FunctionalModel], rows: TrainingRows, n_probes: int) -> int:
    """Return how long so many may be trained; 0 if that is too short to be of use."""
    if not networks or not n_probes:
        return 0
    per_epoch = flops_of_gradient(networks[0], rows.X) * len(rows.X) * n_probes
    n_epochs = min(MAX_EPOCHS, int(_MAX_FLOPS / per_epoch))
    least = _MIN_EPOCHS_NORMALISED if networks[0].live_norms else _MIN_EPOCHS
    return n_epochs if n_epochs >= least else 0
