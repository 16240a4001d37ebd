"""Going on where the former fit stopped: what it leaves for that, and whether it still fits."""

import hashlib
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator

from sklearn_synset._data.row_source import at_once, row_slices
from sklearn_synset._distillation.distil import Distilled, n_steps
from sklearn_synset._probes.probes import Probes

# What is taken over was made by these.
_SETTINGS = (
    "n_groups",
    "synset_size",
    "initialization",
    "weight_decay",
    "task",
    "classes",
    "n_models",
    "n_probes",
    "probe",
    "input_shape",
    "device",
)


@dataclass(frozen=True, eq=False)
class FormerFit:
    """What a fit leaves for the next one to go on from.

    Parameters
    ----------
    distilled : Distilled
        The stages of the synset, and the way there.

    probes : Probes
        Those that the stage to keep is chosen by.

    seed : int
        What further random numbers are drawn from, with the number of steps so far.

    made_of : dict of str to str
        Digests of the data, and of the settings, that all of this was made of.
    """

    distilled: Distilled
    probes: Probes
    seed: int
    made_of: dict[str, str]

    @property
    def n_iter(self) -> int:
        """Steps that the distillation took."""
        return len(self.distilled.loss_curve)

    @property
    def random_state(self) -> np.random.RandomState:
        """Generator for what comes next, whatever the `random_state` of the next fit."""
        return np.random.RandomState([self.seed, self.n_iter])

    def check(self, made_of: Mapping[str, str], max_iter: int | str) -> None:
        """Raise unless a fit can go on from here.

        Parameters
        ----------
        made_of : dict of str to str
            Of the next fit.

        max_iter : int or "auto"
            Steps that the distillation is to have taken in the end.

        Raises
        ------
        ValueError
            If the data or a setting changed, or more steps were taken already.

        Warns
        -----
        UserWarning
            If there are no steps left.
        """
        changed = [name for name, digest in self.made_of.items() if made_of[name] != digest]
        if changed:
            raise ValueError(
                "warm_start=True goes on from the former fit, but since then "
                f"{', '.join(changed)} changed; to start anew, fit with warm_start=False."
            )
        max_iter = n_steps(max_iter, len(self.distilled.candidates[0].weight))
        if max_iter < self.n_iter:
            raise ValueError(
                f"warm_start=True goes on from the {self.n_iter} steps of the former fit, so "
                f"max_iter has to be larger; got {max_iter}."
            )
        if max_iter == self.n_iter:
            warnings.warn(
                f"warm_start=True, but all max_iter={max_iter} steps are taken: groups are only "
                "left out again. To go on with the distillation, raise max_iter.",
                UserWarning,
                stacklevel=4,
            )


def made_of(
    attributor: BaseEstimator,
    X: np.ndarray,
    target: np.ndarray,
    classes: np.ndarray | None,
    groups: np.ndarray | None,
) -> dict[str, str]:
    """Return digests of the data and of the settings that a fit starts from.

    Parameters
    ----------
    attributor : SynsetAttributor
        Whose parameters count.

    X : ndarray of shape (n, d...)
        Training rows; read once, a batch at a time.

    target : ndarray of shape (n,) or (n, t)
        Codes of their labels, or values.

    classes : ndarray of shape (C,) or None
        The labels.

    groups : ndarray of shape (n,) or None
        Groups as they were given.

    Returns
    -------
    digests : dict of str to str
        By the names of what they are of.
    """
    parts = {"X": digest(X), "y": digest(target) + digest(classes), "groups": digest(groups)}
    return parts | made_with(attributor, ("estimator", *_SETTINGS))


def made_with(attributor: BaseEstimator, names: tuple[str, ...]) -> dict[str, str]:
    """Return what tells the values of some parameters; of others than those, nothing."""
    params = attributor.get_params(deep=False)
    known = [name for name in ("estimator", *_SETTINGS) if name in names]
    return {name: _told(params[name]) for name in known}


def digest(array: np.ndarray | None) -> str:
    """Return what tells an array's values, dtype and shape.

    Parameters
    ----------
    array : ndarray or None
        In memory, or in a file.

    Returns
    -------
    digest : str
        The same on every machine; empty for None.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_synset._persistence.warm_start import digest
    >>> digest(np.arange(3)) == digest(np.arange(6)[:3]) != digest(np.arange(3.0))
    True
    """
    if array is None:
        return ""
    found = hashlib.blake2b(f"{array.dtype} {array.shape}".encode(), digest_size=16)
    if array.dtype.kind == "O":
        found.update(repr(array.tolist()).encode())
    else:
        for rows in row_slices(len(array), at_once(array)):
            found.update(np.ascontiguousarray(array[rows]).tobytes())
    return found.hexdigest()


def _told(value: object) -> str:
    """Return what tells a parameter: networks by their weights, functions by their names."""
    if isinstance(value, FrozenEstimator):
        return "frozen " + _told(getattr(value.estimator, "module_", None))
    if isinstance(value, torch.nn.Module):
        tensors = [*value.named_parameters(), *value.named_buffers()]
        return f"{type(value).__qualname__} {[(name, _bytes_told(each)) for name, each in tensors]}"
    if isinstance(value, np.ndarray):
        return digest(value)
    if isinstance(value, torch.Tensor):
        return _bytes_told(value)
    if hasattr(value, "get_params") and not isinstance(value, type):
        params = value.get_params(deep=True)
        return f"{type(value).__qualname__} {[(k, _told(params[k])) for k in sorted(params)]}"
    if isinstance(value, list | tuple):
        return str([_told(each) for each in value])
    # Without where it is in memory.
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))


def _bytes_told(tensor: torch.Tensor) -> str:
    """Return the digest of a tensor of any dtype."""
    if torch.nn.parameter.is_lazy(tensor):
        return "not initialised"
    # numpy does not know them all, but their bytes.
    flat = tensor.detach().cpu().reshape(-1).contiguous()
    return f"{tensor.dtype} {tuple(tensor.shape)} " + digest(flat.view(torch.uint8).numpy())
