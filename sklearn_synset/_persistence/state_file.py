"""A file of plain data: nested values and arrays, checked, versioned, and free of code."""

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

FORMAT = "sklearn-synset"
VERSION = 4
_STATE = "state"
_DIGEST = "sha256"
# What safetensors stores as it is; of other arrays it stores the bytes.
_STORED_KINDS = "fiub"
_RAW_KINDS = "fiubcmMSU"

Encoder = Callable[[object], tuple[str, object]]
Decoders = dict[str, Callable[[Any], object]]


def write_state(path: str | os.PathLike, state: dict[str, object], encode_other: Encoder) -> None:
    """Write values to a file that is either whole or not there.

    Parameters
    ----------
    path : str or path-like
        Where to; a file that is there is replaced in one step.
    state : dict of str to object
        None, booleans, integers, floats, strings, arrays, tensors, RandomState, and lists, tuples
        and dicts of them.
    encode_other : callable
        Maps any other value to its kind and its content, which is encoded in its place. It raises
        a TypeError if there is none.

    Notes
    -----
    A safetensors file. Every array is stored once, under the SHA-256 digest of its bytes. The rest
    is JSON, the array "state", whose digest is in the header.
    """
    arrays: dict[str, np.ndarray] = {}
    nodes = {name: _encode(value, arrays, encode_other) for name, value in state.items()}
    text = json.dumps(nodes, allow_nan=False).encode()
    arrays[_STATE] = np.frombuffer(text, dtype=np.uint8)
    header = {"format": FORMAT, "version": str(VERSION), _DIGEST: _digest(arrays[_STATE])}
    _write_whole(Path(path), save(arrays, metadata=header))


@dataclass(frozen=True)
class StateFile:
    """What a file holds, undecoded.

    Parameters
    ----------
    path : Path
        Where it was read.
    nodes : dict of str to JSON
        The values by name.
    arrays : dict of str to ndarray
        The arrays by digest.
    """

    path: Path
    nodes: dict[str, object]
    arrays: dict[str, np.ndarray]

    def value(self, name: str, decode_other: Decoders) -> Any:
        """Decode a value; executes nothing that is in the file.

        Parameters
        ----------
        name : str
            Its key in the state that was written.
        decode_other : dict of str to callable
            For each kind that `encode_other` may have named: what makes a value of its content.

        Returns
        -------
        value : object
            Equal to what was written, tensors on the CPU.

        Raises
        ------
        ValueError
            If it is not there, or not what `write_state` writes.
        """
        try:
            return _decode(self.nodes[name], self.arrays, decode_other)
        except (KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
            raise ValueError(f"{self.path} holds no {name} that can be read: {error!r}") from error


def read_state(path: str | os.PathLike) -> StateFile:
    """Read what `write_state` wrote, and check that every byte of it is there.

    Raises
    ------
    OSError
        If there is no such file, or it cannot be read.
    ValueError
        If it is another kind of file, of a newer version, or damaged.
    """
    path = Path(path)
    arrays, text = _read_checked(path)
    try:
        return StateFile(path, dict(json.loads(text)), arrays)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} holds no state that can be read: {error!r}") from error


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file next to the target, and only when it is on the disk put it in its place."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
    try:
        with open(partial, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _read_checked(path: Path) -> tuple[dict[str, np.ndarray], bytes]:
    """Return the arrays by digest, and the JSON text, if every digest is right."""
    path.stat()  # a missing file is no damaged file
    try:
        with safe_open(path, framework="np") as file:
            header = file.metadata() or {}
            _check_version(path, header)
            stored = {key: np.array(file.get_tensor(key)) for key in file.keys()}
    except (SafetensorError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged, or is no safetensors file: {error}") from error
    state = stored.pop(_STATE, None)
    if state is None or _digest(state) != header.get(_DIGEST):
        raise ValueError(f"{path} is damaged: the checksum of its state is wrong.")
    if any(_digest(array) != key for key, array in stored.items()):
        raise ValueError(f"{path} is damaged: the checksum of an array is wrong.")
    return stored, state.tobytes()


def _check_version(path: Path, header: dict[str, str]) -> None:
    if header.get("format") != FORMAT:
        raise ValueError(f"{path} was not written by SynsetAttributor.save.")
    version = header.get("version", "")
    if not version.isascii() or not version.isdigit():
        raise ValueError(f"{path} is damaged: its format version is {version!r}.")
    if int(version) != VERSION:
        is_newer = int(version) > VERSION
        raise ValueError(
            f"{path} has format version {version}, and only {VERSION} can be read; "
            + ("upgrade sklearn-synset." if is_newer else "it is of an older one; fit again.")
        )


def _digest(array: np.ndarray) -> str:
    """Return the checksum of an array's dtype, shape and bytes."""
    described = f"{array.dtype.str} {array.shape} ".encode()
    return hashlib.sha256(described + array.tobytes()).hexdigest()


def _store(array: np.ndarray, arrays: dict[str, np.ndarray]) -> dict[str, object]:
    """Put an array among the stored ones; return what tells how to take it out again."""
    dtype = array.dtype
    if dtype.kind not in _RAW_KINDS:
        raise TypeError(f"Arrays of dtype {dtype} cannot be saved.")
    is_stored_as_it_is = dtype.kind in _STORED_KINDS and dtype.isnative and dtype.itemsize <= 8
    raw = np.ascontiguousarray(array).reshape(array.shape)
    if not is_stored_as_it_is:
        raw = np.frombuffer(raw.tobytes(), dtype=np.uint8)
    key = _digest(raw)
    arrays[key] = raw
    return {"key": key, "dtype": dtype.str, "shape": list(array.shape)}


def _take(stored: dict[str, np.ndarray], key: str, dtype: str, shape: list[int]) -> np.ndarray:
    """Return a copy of a stored array."""
    kind = np.dtype(dtype)
    if kind.kind not in _RAW_KINDS:
        raise TypeError(f"arrays of dtype {dtype}")
    raw = stored[key]
    if raw.dtype != kind:
        raw = np.frombuffer(raw.tobytes(), dtype=kind)
    return raw.reshape(shape).copy()


def _encode(value: object, arrays: dict[str, np.ndarray], encode_other: Encoder) -> object:
    """Return JSON for a value: plain ones as they are, others as a dict with a single key."""

    def encoded(part: object) -> object:
        return _encode(part, arrays, encode_other)

    def pairs(items: Iterable[tuple[object, object]]) -> list:
        return [[encoded(key), encoded(part)] for key, part in items]

    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return value if np.isfinite(value) else {"float": repr(value)}
    if type(value) is list:
        return [encoded(part) for part in value]
    if type(value) is tuple:
        return {"tuple": [encoded(part) for part in value]}
    if type(value) is dict:
        return {"dict": pairs(value.items())}
    if isinstance(value, np.random.RandomState):
        return {"RandomState": encoded(value.get_state(legacy=True))}
    if isinstance(value, np.ndarray) and value.dtype == object:
        return {"objects": [list(value.shape), [encoded(part) for part in value.ravel()]]}
    if isinstance(value, np.ndarray):
        return {"array": _store(value, arrays)}
    if isinstance(value, np.generic):
        return {"scalar": _store(np.asarray(value), arrays)}
    if isinstance(value, torch.Tensor):
        plain = value.detach().cpu().contiguous()
        if plain.dtype == torch.bfloat16:
            return {"bfloat16": _store(plain.view(torch.int16).numpy(), arrays)}
        return {"tensor": _store(plain.numpy(), arrays)}
    kind, content = encode_other(value)
    return {kind: encoded(content)}


def _decode(node: object, stored: dict[str, np.ndarray], decode_other: Decoders) -> object:
    """Return the value that a piece of JSON encodes."""
    if isinstance(node, list):
        return [_decode(part, stored, decode_other) for part in node]
    if not isinstance(node, dict):
        return node
    ((kind, content),) = node.items()
    if kind in ("array", "scalar", "tensor", "bfloat16"):
        return _OF_ARRAY[kind](_take(stored, **content))
    return (decode_other | _OF_PARTS)[kind](_decode(content, stored, decode_other))


def _random_state(state: tuple) -> np.random.RandomState:
    random_state = np.random.RandomState()
    random_state.set_state(state)
    return random_state


def _objects(parts: list) -> np.ndarray:
    shape, values = parts
    flat = np.empty(len(values), dtype=object)
    flat[:] = values
    return flat.reshape(shape)


# A clone has the alignment that torch gives its own tensors, on which rounding may depend.
_OF_ARRAY: Decoders = {
    "array": lambda array: array,
    "scalar": lambda array: array[()],
    "tensor": lambda array: torch.from_numpy(array).clone(),
    "bfloat16": lambda array: torch.from_numpy(array).view(torch.bfloat16).clone(),
}
_OF_PARTS: Decoders = {
    "float": float,
    "tuple": tuple,
    "dict": dict,
    "RandomState": _random_state,
    "objects": _objects,
}
