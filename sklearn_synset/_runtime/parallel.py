"""The same computation, to the bit, in this process or in any that joblib sends it to."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from sklearn.utils.parallel import Parallel, delayed

from sklearn_synset._runtime.torch_interop import keep_global_state

_TURN = threading.Lock()
_THREAD = threading.local()


def in_parallel(
    function: Callable, jobs: Iterable[tuple], *, n_jobs: int | None, is_worth_it: bool = True
) -> Iterator[Any]:
    """Call a function with the arguments of each job, and yield what it returns in their order.

    Parameters
    ----------
    function : callable
        Called as it would be in a loop here. In another process it has to pickle.
    jobs : iterable of tuple
        Arguments of each call.
    n_jobs : int or None
        How many to run at once, as joblib understands it: None means one, unless in a
        :func:`joblib.parallel_config`.
    is_worth_it : bool, default=True
        If not, all jobs run here, whatever `n_jobs` and joblib's settings.

    Notes
    -----
    What a result depends on besides its arguments goes along: torch's number of threads, default
    dtype, gradient mode, use of deterministic algorithms and precision of float32 products. Sums
    over another number of threads are added up in another order. The other process gets its own
    settings and random generators back. All of them belong to a whole process, so jobs that run in
    several threads of one take turns; one that starts jobs itself runs these in its own thread.

    Examples
    --------
    >>> from sklearn_synset._runtime.parallel import in_parallel
    >>> list(in_parallel(pow, [(2, 3), (3, 2)], n_jobs=None))
    [8, 9]
    """
    if not is_worth_it or getattr(_THREAD, "has_turn", False):
        return (function(*job) for job in jobs)
    settings = _Settings.current()
    calls = (delayed(_call)(function, settings, *job) for job in jobs)
    return Parallel(n_jobs=n_jobs, return_as="generator")(calls)


@dataclass(frozen=True)
class _Settings:
    """Settings of a process that torch's results depend on."""

    n_threads: int
    dtype: torch.dtype
    is_grad_enabled: bool
    is_deterministic: bool
    only_warns: bool
    precision: str

    @classmethod
    def current(cls) -> "_Settings":
        """Return those of this process."""
        return cls(
            torch.get_num_threads(),
            torch.get_default_dtype(),
            torch.is_grad_enabled(),
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.get_float32_matmul_precision(),
        )

    def use(self) -> None:
        """Make them those of this process."""
        if torch.get_num_threads() != self.n_threads:
            torch.set_num_threads(self.n_threads)
        torch.set_default_dtype(self.dtype)
        torch.set_grad_enabled(self.is_grad_enabled)
        torch.use_deterministic_algorithms(self.is_deterministic, warn_only=self.only_warns)
        torch.set_float32_matmul_precision(self.precision)


@contextmanager
def _own_turn() -> Iterator[None]:
    """Keep other threads of this process from running a job."""
    with _TURN:
        _THREAD.has_turn = True
        try:
            yield
        finally:
            _THREAD.has_turn = False


def _call(function: Callable, settings: _Settings, *args: Any) -> Any:
    """Call a function that finds the settings that its caller has."""
    with _own_turn(), keep_global_state():
        before = _Settings.current()
        try:
            settings.use()
            return function(*args)
        finally:
            before.use()
