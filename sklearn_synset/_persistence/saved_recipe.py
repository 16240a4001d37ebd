"""A training without its code, and how it is read off a net again."""

from typing import Any

import torch
from skorch import NeuralNet

from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._network.recipe import Recipe
from sklearn_synset._replay.generic_recipe import usual_recipe
from sklearn_synset._wrapping.read_recipe import OF_THE_TRAINING, recipe_of_net


def recipe_state(recipe: Recipe, *, is_generic: bool) -> dict[str, Any]:
    """Return all of a recipe that neither the net nor the code holds.

    Parameters
    ----------
    recipe : Recipe
        How a network is trained.
    is_generic : bool
        Whether it is a usual training, and not the network's own.

    Returns
    -------
    state : dict of str to object
        Plain values and arrays.
    """
    if is_generic:
        return {
            "step_size": float(recipe.net.lr),
            "n_rows": len(recipe.is_trained_on),
            "n_epochs": recipe.n_epochs,
        }
    of_the_training = {name: getattr(recipe, name) for name in OF_THE_TRAINING}
    return of_the_training | {"is_soft": recipe.loss.is_soft}


def recipe_from_state(
    network: torch.nn.Module | NeuralNet, model: FunctionalModel, state: dict[str, Any]
) -> Recipe:
    """Return the recipe of a network that was loaded.

    Parameters
    ----------
    network : Module or NeuralNet
        As the attributor keeps it in `estimators_`.
    model : FunctionalModel
        The same network as a function.
    state : dict of str to object
        As `recipe_state` returned it.

    Returns
    -------
    recipe : Recipe
        Trains the same networks to the bit, if the net has the parameters that it had.

    Raises
    ------
    ValueError
        If the net trains in a way that cannot be repeated.
    """
    if "step_size" in state:
        return usual_recipe(model, **state)
    if not isinstance(network, NeuralNet):
        raise ValueError("The file holds the training of a skorch net, and got a module.")
    return recipe_of_net(network, link=model.link, n_outputs=model.n_outputs, **state)
