"""Between numpy and torch: arrays, devices, random generators, and the global state of both."""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch

_SMALL_OPERATION = 1e9
_ATTENTION_TURN = threading.RLock()


def as_tensor(
    array: object,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> torch.Tensor:
    """Copy an array into a tensor that shares no memory with it.

    Parameters
    ----------
    array : array-like or Tensor
        The values; read-only and negatively strided arrays are accepted.
    dtype : torch.dtype, default=None
        The dtype of the result; the array's own if None.
    device : torch.device or str, default=None
        Where the result lives; the CPU (for a tensor, where it is) if None.

    Examples
    --------
    >>> import torch
    >>> from sklearn_synset._runtime.torch_interop import as_tensor
    >>> as_tensor([1.0, 2.0], dtype=torch.float32)
    tensor([1., 2.])
    """
    if isinstance(array, torch.Tensor):
        return array.detach().to(device=device, dtype=dtype, copy=True)
    return torch.tensor(np.ascontiguousarray(array), dtype=dtype, device=device)


def as_array(tensor: torch.Tensor) -> np.ndarray:
    """Copy a tensor into a CPU array of its own memory, off the autograd graph.

    Examples
    --------
    >>> import torch
    >>> from sklearn_synset._runtime.torch_interop import as_array
    >>> as_array(torch.ones(2, requires_grad=True))
    array([1., 1.], dtype=float32)
    """
    return tensor.detach().cpu().numpy().copy()


def draw_seed(random_state: np.random.RandomState) -> int:
    """Draw a seed that numpy, torch and Python all accept."""
    return int(random_state.randint(np.iinfo(np.int32).max))


class PlanSeeds(NamedTuple):
    """Seeds of what a fit draws: none depends on the settings of another."""

    probes: int
    synset: int
    starts: int
    removals: int
    queries: int


def draw_plan_seeds(random_state: np.random.RandomState) -> PlanSeeds:
    """Draw the seeds of a fit; advances `random_state` by one draw for each."""
    return PlanSeeds(*(draw_seed(random_state) for _ in PlanSeeds._fields))


def resolve_device(
    device: torch.device | str | None, module: torch.nn.Module | None = None
) -> torch.device:
    """Return the device that was asked for, or the one the module is on.

    Parameters
    ----------
    device : torch.device, str or None
        The device that was asked for.
    module : Module, default=None
        Read when `device` is None.

    Returns
    -------
    device : torch.device
        The CPU when neither `device` nor a parameter of `module` says otherwise.

    Examples
    --------
    >>> import torch
    >>> from sklearn_synset._runtime.torch_interop import resolve_device
    >>> resolve_device(None, torch.nn.Linear(1, 1, device="meta"))
    device(type='meta')
    """
    if device is not None:
        return check_device(device)
    parameter = None if module is None else next(module.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


def check_device(device: torch.device | str) -> torch.device:
    """Return a device that tensors can be put on.

    Raises
    ------
    ValueError
        If there is no such device, or it holds no values.
    """
    try:
        float(torch.zeros((), device=device))
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"device={str(device)!r} cannot be used: {error}") from error
    return torch.device(device)


@contextmanager
def plain_attention() -> Iterator[None]:
    """Compute attention without fused kernels, which have no second derivatives.

    Notes
    -----
    torch has one switch for all threads: they take turns here, so that each finds it as it was.
    """
    with _ATTENTION_TURN:
        flash = torch.backends.cuda.flash_sdp_enabled()
        efficient = torch.backends.cuda.mem_efficient_sdp_enabled()
        try:
            torch.backends.cuda.enable_flash_sdp(False)
            torch.backends.cuda.enable_mem_efficient_sdp(False)
            yield
        finally:
            torch.backends.cuda.enable_flash_sdp(flash)
            torch.backends.cuda.enable_mem_efficient_sdp(efficient)


@contextmanager
def keep_global_state(seed: int | None = None) -> Iterator[None]:
    """Put every global setting that training may move back to where it was.

    These are the generators of torch (on every device in use), numpy and Python, and torch's
    default dtype, number of threads and gradient mode.

    Parameters
    ----------
    seed : int, default=None
        Seeds the three generators inside the block; they start where they are if None.

    Examples
    --------
    >>> import torch
    >>> from sklearn_synset._runtime.torch_interop import keep_global_state
    >>> before = torch.get_rng_state()
    >>> with keep_global_state(seed=0):
    ...     _ = torch.randn(3)
    >>> torch.equal(before, torch.get_rng_state())
    True
    """
    numpy_state, python_state = np.random.get_state(), random.getstate()
    dtype, n_threads = torch.get_default_dtype(), torch.get_num_threads()
    # An unused CUDA must stay so: starting it here would cost memory and break forked workers.
    cuda_devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with (
        torch.random.fork_rng(devices=list(cuda_devices)),
        torch.set_grad_enabled(torch.is_grad_enabled()),
    ):
        try:
            if seed is not None:
                _seed_generators(seed, with_cuda=bool(cuda_devices))
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)
            torch.set_default_dtype(dtype)
            if torch.get_num_threads() != n_threads:
                torch.set_num_threads(n_threads)


def one_thread_if_small(n_multiplications: float) -> None:
    """Keep torch to one thread where more would mostly wait for each other.

    Parameters
    ----------
    n_multiplications : float
        Multiplications of a typical operation; up to a billion take one thread.

    Notes
    -----
    To be called within `keep_global_state`, which puts the number back. On two cores with other
    work, two threads make small operations about ten times slower.
    """
    if n_multiplications <= _SMALL_OPERATION:
        torch.set_num_threads(1)


def _seed_generators(seed: int, *, with_cuda: bool) -> None:
    torch.default_generator.manual_seed(seed)
    if with_cuda:
        torch.cuda.manual_seed_all(seed)
    np.random.seed(seed)
    random.seed(seed)
