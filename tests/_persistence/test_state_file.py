"""A state file gives back every bit that was written, or says that it cannot."""

import json
import os
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from safetensors.numpy import save

from sklearn_synset._persistence.state_file import VERSION, _digest, read_state, write_state


def refuse(value):
    raise TypeError(f"{type(value).__name__} cannot be saved.")


def round_trip(path, value):
    write_state(path, {"value": value}, refuse)
    return read_state(path).value("value", {})


def same(a, b):
    """Tell whether two values are equal to the bit, types included."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, (np.ndarray, np.generic)):
        if a.dtype == object:
            return a.shape == b.shape and all(map(same, a.ravel(), b.ravel()))
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return same(list(a.items()), list(b.items()))
    return repr(a) == repr(b)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda parts: (
        st.lists(parts, max_size=3)
        | st.tuples(parts, parts)
        | st.dictionaries(st.text() | st.integers(), parts, max_size=3)
    ),
    max_leaves=8,
)
DTYPES = (
    npst.boolean_dtypes() | npst.integer_dtypes() | npst.unsigned_integer_dtypes()
    | npst.floating_dtypes(sizes=(16, 32, 64)) | npst.complex_number_dtypes(sizes=(64, 128))
    | npst.unicode_string_dtypes() | npst.byte_string_dtypes() | npst.datetime64_dtypes()
)  # fmt: skip
ARRAYS = npst.arrays(DTYPES, npst.array_shapes(min_dims=0, min_side=0, max_dims=3, max_side=3))


@given(PLAIN | ARRAYS | st.lists(PLAIN | ARRAYS, max_size=3))
def test_values_come_back_to_the_bit(tmp_path_factory, value):
    assert same(value, round_trip(tmp_path_factory.getbasetemp() / "state", value))


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool]
)
@pytest.mark.parametrize("shape", [(), (0,), (2, 0), (3, 4)])
def test_tensors_come_back_to_the_bit(tmp_path, dtype, shape):
    tensor = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    assert same(tensor, round_trip(tmp_path / "state", tensor))
    transposed = torch.stack([tensor, tensor], -1).transpose(0, -1)
    assert torch.equal(transposed, round_trip(tmp_path / "state", transposed))


def test_a_random_state_goes_on_where_it_was(tmp_path):
    random_state = np.random.RandomState(3)
    random_state.normal(size=3)
    back = round_trip(tmp_path / "state", random_state)
    np.testing.assert_array_equal(back.normal(size=5), random_state.normal(size=5))


def test_objects_and_numpy_scalars_keep_their_types(tmp_path):
    values = [np.array(["a", 1, 2.5, None], dtype=object), np.float32(0.1), np.str_("x")]
    assert same(values, round_trip(tmp_path / "state", values))


def test_equal_arrays_are_written_once(tmp_path):
    array = np.random.RandomState(0).normal(size=10_000)
    write_state(tmp_path / "one", {"a": array}, refuse)
    write_state(tmp_path / "ten", {"a": [array.copy() for _ in range(10)]}, refuse)
    sizes = [os.path.getsize(tmp_path / name) for name in ("one", "ten")]
    assert sizes[1] < 1.1 * sizes[0]


@pytest.mark.parametrize("value", [{1, 2}, object(), lambda: 0, np.array([object()])])
def test_what_is_no_data_is_refused_and_nothing_is_written(tmp_path, value):
    with pytest.raises(TypeError, match="cannot be saved"):
        write_state(tmp_path / "state", {"value": value}, refuse)
    assert not list(tmp_path.iterdir())


# Damage


@pytest.fixture
def whole(tmp_path):
    """Return the path of a small file, its bytes, and what it holds."""
    state = {"a": [1, 0.5, "text", None], "b": np.arange(3.0), "c": torch.ones(2), "d": (True,)}
    write_state(tmp_path / "state", state, refuse)
    return tmp_path / "state", (tmp_path / "state").read_bytes(), state


def is_harmless(path, state):
    """Tell that a damaged file is read as if it were whole; False if it is refused."""
    try:
        read = read_state(path)
        found = {name: read.value(name, {}) for name in state}
    except ValueError as error:
        assert str(path) in str(error)
        return False
    assert same(found, state), "damage went unnoticed"
    return True


# One bit of each byte in the default run, all eight in the slow one.
@pytest.mark.parametrize("n_bits", [1, pytest.param(8, marks=pytest.mark.slow)])
def test_every_bit_that_flips_is_noticed_or_harmless(whole, n_bits):
    path, content, state = whole
    n_harmless = 0
    for position in range(len(content)):
        for bit in range(position % 8, position % 8 + n_bits):
            damaged = bytearray(content)
            damaged[position] ^= 1 << bit % 8
            path.write_bytes(damaged)
            n_harmless += is_harmless(path, state)
    # Harmless ones would be flips of bits without a meaning, of which there is little.
    assert n_harmless < len(content) / 10


def test_every_truncation_and_extension_is_noticed(whole):
    path, content, state = whole
    for length in range(len(content)):
        path.write_bytes(content[:length])
        assert not is_harmless(path, state)
    for tail in (b"\0", b" ", content):
        path.write_bytes(content + tail)
        assert not is_harmless(path, state)


@given(st.data())
def test_random_damage_is_noticed(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "damaged"
    state = {"a": list(range(20)), "b": np.arange(5.0)}
    write_state(path, state, refuse)
    content = bytearray(path.read_bytes())
    start = data.draw(st.integers(0, len(content) - 1))
    content[start : start + 8] = data.draw(st.binary(min_size=0, max_size=8))
    path.write_bytes(content)
    is_harmless(path, state)


# Other files


def forged(path, nodes, version=str(VERSION), **changes):
    """Write a file with right checksums and any content."""
    text = np.frombuffer(json.dumps(nodes).encode(), dtype=np.uint8)
    header = {"format": "sklearn-synset", "version": version, "sha256": _digest(text)} | changes
    path.write_bytes(save({"state": text}, metadata=header))


def test_a_newer_version_is_refused_by_name(tmp_path):
    forged(tmp_path / "state", {}, version=str(VERSION + 1))
    with pytest.raises(ValueError, match=f"version {VERSION + 1}.*upgrade sklearn-synset"):
        read_state(tmp_path / "state")
    for version in ("0", "-1", "one", ""):
        forged(tmp_path / "state", {}, version=version)
        with pytest.raises(ValueError, match=r"damaged|older"):
            read_state(tmp_path / "state")


def test_files_of_other_kinds_are_refused(tmp_path):
    path = tmp_path / "state"
    for content in (b"", b"x" * 100, save({"a": np.zeros(2)}), save({}, metadata={"format": "pt"})):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"damaged|was not written by"):
            read_state(path)
    with pytest.raises(FileNotFoundError):
        read_state(tmp_path / "none")
    with pytest.raises(OSError):
        read_state(tmp_path)


class Exploit:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("exploited",)


def test_code_in_a_file_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "state"
    path.write_bytes(pickle.dumps(Exploit()))
    with pytest.raises(ValueError, match="damaged"):
        read_state(path)
    torch.save(Exploit(), path)
    with pytest.raises(ValueError, match="damaged"):
        read_state(path)
    array = {"key": "0", "dtype": "|O", "shape": [1]}
    for node in (
        {"eval": "1"},
        {"callable": ["os", "system"]},
        {"__reduce__": []},
        {"array": array},
        {"array": {"key": "0", "dtype": "f8", "shape": [1]}},
        {"tuple": 3},
        {"RandomState": [1]},
        {"float": "x"},
        {},
        {"a": 1, "b": 2},
    ):
        forged(path, {"value": node})
        with pytest.raises(ValueError):
            read_state(path).value("value", {})
    assert not (tmp_path / "exploited").exists()


def test_nesting_without_end_is_refused(tmp_path):
    path = tmp_path / "state"
    text = np.frombuffer(b'{"value":' + b"[" * 100_000 + b"]" * 100_000 + b"}", dtype=np.uint8)
    header = {"format": "sklearn-synset", "version": str(VERSION), "sha256": _digest(text)}
    path.write_bytes(save({"state": text}, metadata=header))
    with pytest.raises(ValueError, match="no state that can be read"):
        read_state(path)


# Writing


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file(whole, monkeypatch, step, error):
    path, content, _ = whole

    def fail(*args):
        raise error

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(type(error)):
        write_state(path, {"a": np.zeros(100)}, refuse)
    assert path.read_bytes() == content
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_write_replaces_what_is_there(whole):
    path, _, _ = whole
    write_state(path, {"a": 1}, refuse)
    assert read_state(path).value("a", {}) == 1
