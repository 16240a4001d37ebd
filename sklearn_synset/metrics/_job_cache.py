"""Finished jobs on disk, so that an interrupted run goes on where it stopped."""

import json
import os
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import joblib
import numpy as np
import torch

_MANIFEST = "manifest.json"
_UNFINISHED = ".tmp"


@dataclass(frozen=True)
class JobCache:
    """A directory that holds one npz file for every finished job.

    Parameters
    ----------
    directory : Path
        As :func:`open_cache` made it.
    """

    directory: Path

    def load(self, name: str, shape: tuple[int, ...]) -> np.ndarray | None:
        """Return what a job found.

        Parameters
        ----------
        name : str
            Of the job.
        shape : tuple of int
            Of its result.

        Returns
        -------
        values : ndarray or None
            None if the job is not finished, or its file is damaged.
        """
        try:
            # Opened here, as np.load does not close a file that it cannot read.
            with open(self._path(name), "rb") as file, np.load(file) as stored:
                values = stored["values"]
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
            return None
        return values if values.shape == shape else None

    def save(self, name: str, values: np.ndarray) -> None:
        """Write what a job found, at once or not at all."""
        with _replacing(self._path(name)) as file:
            np.savez(file, values=values)

    def _path(self, name: str) -> Path:
        return self.directory / f"{name}.npz"


def open_cache(directory: str | os.PathLike, ingredients: dict[str, object]) -> JobCache:
    """Open a directory of finished jobs, or make it.

    Parameters
    ----------
    directory : path-like
        Where.
    ingredients : dict
        Everything that a result depends on, by name; hashed.

    Raises
    ------
    ValueError
        If the directory holds jobs of other ingredients, or files of another kind, or an
        ingredient cannot be hashed.
    """
    path = Path(directory)
    hashes = {name: fingerprint(value, name) for name, value in ingredients.items()}
    path.mkdir(parents=True, exist_ok=True)
    manifest = path / _MANIFEST
    if manifest.exists():
        known = json.loads(manifest.read_text(encoding="utf-8"))
        changed = sorted(k for k in known.keys() | hashes.keys() if known.get(k) != hashes.get(k))
        if changed:
            raise ValueError(
                f"cache_dir={str(path)!r} holds retrainings that differ in {', '.join(changed)}; "
                "give another directory, or delete this one."
            )
    elif any(file.suffix != _UNFINISHED for file in path.iterdir()):
        raise ValueError(
            f"cache_dir={str(path)!r} holds files, but no retrainings; give an empty or a new "
            "directory."
        )
    else:
        with _replacing(manifest) as file:
            file.write(json.dumps(hashes, indent=1).encode())
    return JobCache(path)


def fingerprint(value: object, name: str) -> str:
    """Hash a value by its content.

    Parameters
    ----------
    value : object
        An array, an estimator, or anything that pickles.
    name : str
        For the message.

    Returns
    -------
    digest : str
        The same for equal content, in any process.

    Raises
    ------
    ValueError
        If the value does not pickle.
    """
    try:
        return joblib.hash(_by_content(value))
    except Exception as error:
        raise ValueError(
            f"cache_dir needs everything to be hashed, but {name} cannot be: {error} Functions and "
            "classes have to be defined at the top of a module, not as lambdas."
        ) from error


def _by_content(value: Any) -> object:
    """Replace what hashes by identity: tensors, modules, and what holds them."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().numpy()
    if isinstance(value, torch.nn.Module):
        return repr(value), _by_content(value.state_dict())
    if hasattr(value, "get_params") and not isinstance(value, type):
        return type(value), _by_content(value.get_params(deep=False))
    if isinstance(value, dict):
        return [(str(key), _by_content(value[key])) for key in sorted(value, key=str)]
    if isinstance(value, list | tuple):
        return [_by_content(each) for each in value]
    return value


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file that takes another's place once it is whole."""
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=_UNFINISHED, delete=False) as file:
        try:
            yield file
        except BaseException:
            os.unlink(file.name)
            raise
    os.replace(file.name, path)
