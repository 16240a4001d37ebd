"""The minibatches of a training: which rows are seen together, and when."""

from collections.abc import Iterator
from itertools import islice

import torch
from torch.utils.data import DataLoader

from sklearn_synset._network.recipe import Recipe

_KNOWN_PARAMS = ("shuffle", "sampler", "drop_last", "generator")


def epochs_of_training(recipe: Recipe) -> Iterator[list[torch.Tensor]]:
    """Yield, for each epoch, the minibatches of training rows that the net's loader makes.

    Parameters
    ----------
    recipe : Recipe
        Says which rows, and how they are shuffled.

    Yields
    ------
    batches : list of Tensor of shape (b,), dtype long
        Positions of training rows. What is random about them is drawn from torch's global
        generator as torch's loader and skorch draw it.
    """
    params = recipe.net.get_params_for("iterator_train")
    params = {name: value for name, value in params.items() if name in _KNOWN_PARAMS}
    positions = torch.from_numpy(recipe.is_trained_on.nonzero()[0]).to(recipe.net.device)
    loader: DataLoader = DataLoader(
        range(len(positions)),  # type: ignore[arg-type]
        batch_size=recipe.batch_size,
        **params,
    )
    while True:
        _draw_seed_of_a_pass(loader.generator)
        yield [positions[batch] for batch in loader.batch_sampler or ()]
        if recipe.has_validation:
            _draw_seed_of_a_pass(None)


def _draw_seed_of_a_pass(generator: torch.Generator | None) -> None:
    """Draw what each pass of a loader over its rows draws first."""
    torch.empty((), dtype=torch.int64).random_(generator=generator)


def epochs_of_synset(recipe: Recipe, n_rows: int) -> Iterator[list[torch.Tensor]]:
    """Yield as many minibatches for each epoch as the training has, of the rows of a synset.

    Parameters
    ----------
    recipe : Recipe
        Says how many, and of how many rows each.

    n_rows : int
        Rows of the synset.

    Yields
    ------
    batches : list of Tensor of shape (b,), dtype long
        Positions of synset rows: all of them in random order, again and again.
    """
    size, rows = min(recipe.batch_size, n_rows), _shuffled(n_rows)
    while True:
        yield [
            torch.tensor(list(islice(rows, size)), device=recipe.net.device)
            for _ in range(recipe.n_steps_per_epoch)
        ]


def _shuffled(n_rows: int) -> Iterator[int]:
    while True:
        yield from torch.randperm(n_rows).tolist()
