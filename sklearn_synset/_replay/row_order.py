"""The minibatches of a training: which rows are seen together, and when."""

from collections.abc import Iterator
from itertools import islice

import torch
from torch.utils.data import DataLoader, Dataset

from sklearn_synset._network.recipe import Recipe


class _Positions(Dataset):
    """Positions of rows, in the place of the rows."""

    def __init__(self, positions: torch.Tensor) -> None:
        self.positions = positions

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.positions[index]

    def __getitems__(self, indices: list[int]) -> torch.Tensor:
        return self.positions[indices]


def epochs_of_training(recipe: Recipe) -> Iterator[Iterator[torch.Tensor]]:
    """Yield, for each epoch, the minibatches of training rows that the net's loader makes.

    Parameters
    ----------
    recipe : Recipe
        Says which rows, and how they are shuffled.

    Yields
    ------
    batches : iterator of Tensor of shape (b,), dtype long
        Positions of training rows. They are drawn from torch's global generator, in the order in
        which skorch draws from it: an epoch's batches are to be used up before the next one's.
    """
    params = recipe.net.get_params_for("iterator_train")
    params = {name: value for name, value in params.items() if name in _KNOWN_PARAMS}
    params["batch_size"] = recipe.batch_size
    positions = torch.from_numpy(recipe.is_trained_on.nonzero()[0])
    loader = DataLoader(_Positions(positions), collate_fn=_as_it_comes, **params)
    while True:
        yield iter(loader)
        if recipe.has_validation:
            # A pass over validation rows draws one seed.
            torch.empty((), dtype=torch.int64).random_()


_KNOWN_PARAMS = ("shuffle", "sampler", "drop_last", "generator")


def _as_it_comes(batch: torch.Tensor) -> torch.Tensor:
    return batch


def epochs_of_synset(recipe: Recipe, n_rows: int) -> Iterator[Iterator[torch.Tensor]]:
    """Yield as many minibatches for each epoch as the training has, of the rows of a synset.

    Parameters
    ----------
    recipe : Recipe
        Says how many, and of how many rows each.

    n_rows : int
        Rows of the synset.

    Yields
    ------
    batches : iterator of Tensor of shape (b,), dtype long
        Positions of synset rows: all of them in random order, again and again.
    """
    size, rows = min(recipe.batch_size, n_rows), _shuffled(n_rows)

    def batch() -> torch.Tensor:
        return torch.tensor(list(islice(rows, size)))

    while True:
        yield (batch() for _ in range(recipe.n_steps_per_epoch))


def _shuffled(n_rows: int) -> Iterator[int]:
    while True:
        yield from torch.randperm(n_rows).tolist()
