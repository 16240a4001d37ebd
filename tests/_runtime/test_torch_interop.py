import random

import numpy as np
import pytest
import torch

from sklearn_synset._runtime.torch_interop import (
    as_array,
    as_tensor,
    keep_global_state,
    one_thread_if_small,
    resolve_device,
)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_round_trip_keeps_values_and_dtype(dtype):
    array = np.arange(6, dtype=dtype).reshape(2, 3)
    back = as_array(as_tensor(array))
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, array)


def test_as_tensor_shares_no_memory():
    array, tensor = np.zeros(3), torch.zeros(3)
    as_tensor(array).add_(1)
    as_tensor(tensor).add_(1)
    assert not array.any() and not tensor.any()


def test_as_tensor_takes_read_only_and_reversed_arrays():
    array = np.arange(3.0)
    array.flags.writeable = False
    assert as_tensor(array[::-1], dtype=torch.float32).tolist() == [2.0, 1.0, 0.0]


def test_as_array_is_detached_and_its_own():
    tensor = torch.zeros(3, requires_grad=True)
    array = as_array(tensor)
    array += 1
    assert not tensor.any()


def test_resolve_device_prefers_what_was_asked_for():
    module = torch.nn.Linear(1, 1, device="meta")
    assert resolve_device("cpu", module) == torch.device("cpu")
    assert resolve_device(None, module) == torch.device("meta")
    assert resolve_device(None, torch.nn.ReLU()) == torch.device("cpu")


def global_state():
    return (
        torch.get_rng_state().tolist(),
        np.random.get_state()[1].tolist(),
        random.getstate(),
        torch.get_default_dtype(),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
    )


@pytest.mark.parametrize("error", [None, RuntimeError])
@pytest.mark.parametrize("seed", [None, 0])
def test_global_state_is_restored(error, seed):
    before = global_state()
    try:
        with keep_global_state(seed):
            torch.rand(1), np.random.rand(), random.random()
            torch.set_default_dtype(torch.float64)
            torch.set_num_threads(before[4] + 1)
            torch.set_grad_enabled(False)
            if error:
                raise error
    except RuntimeError:
        pass
    assert global_state() == before


def test_a_seed_decides_all_draws():
    draws = []
    for _ in range(2):
        with keep_global_state(seed=3):
            draws.append((torch.rand(1).item(), np.random.rand(), random.random()))
    assert draws[0] == draws[1]


@pytest.mark.parametrize(("cost", "expected"), [(10**9, 1), (2 * 10**9, 2)])
def test_torch_has_one_thread_where_operations_are_small(cost, expected):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with keep_global_state():
            one_thread_if_small(cost)
            assert torch.get_num_threads() == expected
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
