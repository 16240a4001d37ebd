"""Weights of networks at evenly spaced moments of their training."""

import torch

_MOST_NUMBERS = 2**26  # weights that are kept


class Course:
    """Keeps the weights after some epochs, evenly spaced up to the end.

    Every second of them is dropped whenever there are twice as many as wanted, so that the number
    of epochs need not be known.

    Parameters
    ----------
    n_networks : int
        R, networks that are trained side by side.
    n_moments : int
        Moments wanted: at least so many (all epochs, if there are fewer), and less than twice.
    """

    def __init__(self, n_networks: int, n_moments: int) -> None:
        self.n_networks, self.n_moments = n_networks, n_moments
        self.moments: list[dict[str, torch.Tensor]] = []
        self._stride, self._n_epochs = 1, 0

    def end_epoch(self, state: dict[str, torch.Tensor], alive: torch.Tensor) -> None:
        """Look at the networks after an epoch.

        Parameters
        ----------
        state : dict of str to Tensor of shape (A, ...)
            Weights and statistics of the networks that go on.
        alive : Tensor of shape (A,)
            Which these are. The others keep their last weights.
        """
        self._n_epochs += 1
        if self._n_epochs % self._stride:
            return
        if len(alive) == self.n_networks:
            moment = {name: value.clone() for name, value in state.items()}
        else:
            moment = {name: value.clone() for name, value in self.moments[-1].items()}
            for name, value in state.items():
                moment[name][alive] = value
        self.moments.append(moment)
        if len(self.moments) >= 2 * self.n_moments:
            self.moments, self._stride = self.moments[1::2], 2 * self._stride


def n_moments_within_memory(wanted: int, n_weights: int) -> int:
    """Return how many moments to keep, of networks with so many weights in all."""
    return max(1, min(wanted, _MOST_NUMBERS // (2 * max(1, n_weights))))
