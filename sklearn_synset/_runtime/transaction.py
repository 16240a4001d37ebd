"""Methods that change an object as a whole or not at all."""

import functools
from collections.abc import Callable
from typing import Any


def all_or_nothing(method: Callable[..., Any]) -> Callable[..., Any]:
    """Put an object's attributes back to what they were when a method raises.

    Parameters
    ----------
    method : callable
        Replaces attributes, and changes none of their values in place.

    Returns
    -------
    method : callable
        The same, undone by any exception, `KeyboardInterrupt` included.

    Examples
    --------
    >>> from sklearn_synset._runtime.transaction import all_or_nothing
    >>> class Account:
    ...     balance = 3
    ...     @all_or_nothing
    ...     def pay(self, price):
    ...         self.balance -= price
    ...         assert self.balance >= 0
    >>> account = Account()
    >>> account.pay(5)
    Traceback (most recent call last):
    AssertionError
    >>> account.balance
    3
    """

    @functools.wraps(method)
    def undone_if_it_raises(self: Any, *args: Any, **kwargs: Any) -> Any:
        before = dict(vars(self))
        try:
            return method(self, *args, **kwargs)
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise

    return undone_if_it_raises
