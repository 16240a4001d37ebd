"""The explained networks: one, or several that are trained from different seeds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from sklearn.base import clone
from sklearn.utils import check_random_state
from skorch import NeuralNet
from tqdm.auto import tqdm

from sklearn_synset._data.target import column_order
from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._network.new_weights import starts_anew
from sklearn_synset._runtime.parallel import in_parallel
from sklearn_synset._runtime.torch_interop import draw_seed
from sklearn_synset._wrapping.wrapped_model import wrap


def networks_from_seeds(
    estimator: object,
    X: np.ndarray,
    y: np.ndarray,
    classes: np.ndarray | None,
    random_state: np.random.RandomState,
    *,
    n_models: int,
    input_shape: Sequence[int] | None,
    weight_decay: float | None,
    task: str,
    device: torch.device | str | None,
    n_jobs: int | None,
    verbose: int,
    class_order: object,
    sample_weight: np.ndarray | None,
    loss: str,
) -> tuple[list[torch.nn.Module | NeuralNet], list[FunctionalModel]]:
    """Train or take the networks to explain.

    Parameters
    ----------
    estimator, X, y, classes
        As of `wrap`.
    random_state : RandomState
        Source of one seed for each.
    n_models : int
        Networks; above 1 only where they are trained.
    input_shape, weight_decay, task, device
        Parameters of the estimator.
    n_jobs : int or None
        Trainings to run at once; a single one runs here.
    verbose : int
        Shows a progress bar if positive: over the networks, or the epochs of a single one.
    class_order : array-like or None
        The classes in the order of a trained network's outputs.
    sample_weight, loss
        As of `wrap`.

    Returns
    -------
    estimators, models : list
        What `wrap` returns, the same to the bit for any `n_jobs`.

    Raises
    ------
    ValueError
        If `n_models` is above 1 and nothing is trained.
    """
    is_net, is_single = isinstance(estimator, NeuralNet), n_models == 1
    if not (is_single or is_net or estimator is None):
        raise ValueError(
            f"n_models={n_models} needs a network that is trained in fit, a skorch net or None; "
            f"got {type(estimator).__name__}."
        )
    # Without what a former fit left: other processes are sent no weights to train from.
    untrained = clone(estimator) if is_net else estimator
    anew = is_net and starts_anew(estimator, several=not is_single)
    wrap_one = partial(
        wrap,
        untrained,
        X,
        y,
        classes=classes,
        input_shape=None if input_shape is None else tuple(input_shape),
        weight_decay=weight_decay,
        device=device,
        output_order=None if classes is None else column_order(class_order),
        is_task_given=task != "auto",
        anew=anew,
        sample_weight=sample_weight,
        loss=loss,
    )
    seeds = [draw_seed(random_state) for _ in range(n_models)]
    jobs = [(wrap_one, seed, verbose if is_single else 0) for seed in seeds]
    results = map(_unpacked, in_parallel(_wrap_one, jobs, n_jobs=n_jobs, is_worth_it=not is_single))
    hidden = not verbose or is_single
    bar = tqdm(results, total=len(jobs), desc="Training", unit="network", disable=hidden)
    estimators, models = zip(*bar, strict=True)
    return list(estimators), list(models)


def _wrap_one(wrap_one: Callable, seed: int, verbose: int) -> tuple:
    network, model = wrap_one(random_state=check_random_state(seed), verbose=verbose)
    if not isinstance(network, NeuralNet):
        return network, model
    return _Packed(type(network), dict(vars(network))), model


@dataclass(frozen=True, eq=False)
class _Packed:
    """A net on its way between processes: skorch's own pickling refuses classes of a script."""

    cls: type[NeuralNet]
    state: dict


def _unpacked(pair: tuple) -> tuple[torch.nn.Module | NeuralNet, FunctionalModel]:
    """Return a network as `wrap` returned it."""
    packed, model = pair
    if not isinstance(packed, _Packed):
        return packed, model
    network = object.__new__(packed.cls)
    vars(network).update(packed.state)
    return network, model
