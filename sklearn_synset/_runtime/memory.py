"""Going on with smaller chunks where memory runs out."""

import warnings
from collections.abc import Callable
from typing import TypeVar

import torch

_Result = TypeVar("_Result")
# How torch says it on the CPU, where it raises a RuntimeError.
_SAID = ("not enough memory", "can't allocate memory", "cannot allocate memory", "out of memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory ran out, on the CPU or on another device."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(said in str(error).lower() for said in _SAID)


def in_smaller_chunks(function: Callable[[int], _Result], size: int, unit: str) -> _Result:
    """Call a function with the largest chunk size that memory allows.

    Parameters
    ----------
    function : callable
        Maps a chunk size to a result that does not depend on it.
    size : int
        The size to try first; halved whenever memory runs out.
    unit : str
        What the size counts, for the warning.

    Returns
    -------
    result : object
        What the function returned.

    Raises
    ------
    MemoryError
        If memory runs out for a single one, with the original error as its cause.

    Warns
    -----
    RuntimeWarning
        When the size is halved.

    Examples
    --------
    >>> import warnings
    >>> from sklearn_synset._runtime.memory import in_smaller_chunks
    >>> def mean(size):
    ...     if size > 3:
    ...         raise MemoryError
    ...     return size
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")
    ...     in_smaller_chunks(mean, 8, "rows")
    2
    """
    while True:
        try:
            return function(size)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if size <= 1:
                raise MemoryError(
                    f"There is not enough memory for one of the {unit}. It says: {error}"
                ) from error
        size = max(1, size // 2)
        warnings.warn(
            f"There is not enough memory for twice {size} {unit} at once; going on with {size}. "
            "A lower batch_size avoids the attempt.",
            RuntimeWarning,
            stacklevel=3,
        )
