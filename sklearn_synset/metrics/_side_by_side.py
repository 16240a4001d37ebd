"""All trainings of a net from one seed, side by side as one stack of networks."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from torch.utils.data import default_collate

from sklearn_synset._data.training_data import TrainingRows
from sklearn_synset._network.operation_count import widest_output
from sklearn_synset._network.recipe import Recipe
from sklearn_synset._network.training_loss import one_hot_targets
from sklearn_synset._objective.objective import Objective
from sklearn_synset._replay.leave_out import ReplayPlan
from sklearn_synset._replay.rows import replayed_training_rows
from sklearn_synset._runtime.torch_interop import as_tensor
from sklearn_synset._wrapping.default_network import keep_batch
from sklearn_synset._wrapping.module_rows import own_ways, row_dtype
from sklearn_synset._wrapping.wrapped_model import FunctionalModel, untrained_model
from sklearn_synset.metrics._retrained_objective import diverged
from sklearn_synset.metrics._training import TrainingProblem

_MOST_OUTPUTS = 2**25
_BATCH_SIZE = 4096


class NotSideBySideError(ValueError):
    """Trainings that have to run one by one; its message is the reason, without a full stop."""


@dataclass(frozen=True, eq=False)
class Stack:
    """Trainings of one seed that can run side by side.

    Parameters
    ----------
    problem : TrainingProblem
        A net, and its training rows.
    model : FunctionalModel
        The net before its training.
    plan : ReplayPlan
        How it is trained from the seed.
    """

    problem: TrainingProblem
    model: FunctionalModel
    plan: ReplayPlan

    def n_at_once(self, X_query: Any) -> int:
        """Return how many trainings to run side by side within the memory that is meant."""
        rows = _tensor(X_query, self.model)
        n_outputs = len(rows) * widest_output(self.model, rows)
        return max(1, min(self.plan.n_at_once(self.model), _MOST_OUTPUTS // max(1, n_outputs)))

    def objectives(
        self, kept: np.ndarray, X_query: Any, y_query: np.ndarray, objective: Objective
    ) -> np.ndarray:
        """Train without some groups, and return what that does to queries.

        Parameters
        ----------
        kept : ndarray of shape (n_sets, n_groups), dtype bool
            Groups to train on.
        X_query : array-like of shape (n_queries, n_features...)
            Queries.
        y_query : ndarray of shape (n_queries,)
            Codes of their labels, or values.
        objective : callable
            Maps outputs (n_queries, n_outputs) and labels to values (n_queries,), as tensors.

        Returns
        -------
        values : ndarray of shape (n_sets, n_queries)
            float64, in the objective's unit.

        Raises
        ------
        ValueError
            If a training diverges.
        """
        weight = torch.from_numpy(kept).to(self.model.theta)
        try:
            ((_, outputs),) = self.plan.networks(self.model, weight, _tensor(X_query, self.model))
        except FloatingPointError as error:
            raise ValueError(diverged(self.problem.estimator)) from error
        with torch.no_grad():
            labels = torch.as_tensor(y_query.copy())
            values = [objective(each, labels) for each in outputs.double().cpu()]
            return torch.stack(values).double().numpy()


def stack_of_trainings(problem: TrainingProblem, codes: np.ndarray, seed: int) -> Stack:
    """Prepare the trainings of a seed to run side by side; to be called within `reproducibly`.

    Parameters
    ----------
    problem : TrainingProblem
        What is trained.
    codes : ndarray of shape (n_rows,)
        Group of each row.
    seed : int
        Of the initial weights and the order of the rows.

    Raises
    ------
    NotSideBySideError
        If the trainings have to run one by one; the message says why.
    """
    net = problem.net
    if net is None:
        name = getattr(problem.estimator, "__name__", type(problem.estimator).__name__)
        raise NotSideBySideError(f"{name} is not a skorch net")
    if net is not problem.estimator:
        raise NotSideBySideError("the net is part of a pipeline, which is fitted each time")
    _check_rows(problem, net)
    y, classes = problem.y, problem.classes
    is_soft = classes is not None and y.ndim == 2 and y.shape[1] > 1
    target = y if classes is None or is_soft else problem.label_codes
    assert target is not None
    try:
        model = untrained_model(
            problem.seeded(seed), problem.X, target, classes=classes, seed=seed, loss=problem.loss
        )
    except (TypeError, ValueError) as error:
        raise NotSideBySideError(str(error).rstrip(".")) from error
    if not isinstance(model.recipe, Recipe):
        raise NotSideBySideError(str(model.recipe))
    is_coded = model.loss == "cross_entropy" and not is_soft
    targets = as_tensor(target, dtype=torch.long if is_coded else model.dtype, device=model.device)
    if not is_soft:
        targets = one_hot_targets(model, targets)
    order = torch.from_numpy(np.argsort(codes, kind="stable")).to(model.device)
    rows_by_group = list(order.split(np.bincount(codes).tolist()))
    weight = None
    if problem.sample_weight is not None:
        weight = as_tensor(problem.sample_weight, dtype=model.dtype, device=model.device)
    rows = TrainingRows(_tensor(problem.X, model), targets, rows_by_group, _BATCH_SIZE, weight)
    replayed = replayed_training_rows(model, model.recipe, rows)
    plan = ReplayPlan(model.recipe, (seed,), replayed, lifted_X=rows.X[:0])
    return Stack(problem, model, plan)


def _check_rows(problem: TrainingProblem, net: NeuralNet) -> None:
    """Refuse a net whose module is given something else than the rows."""
    if isinstance(net.module, torch.nn.Module):
        raise NotSideBySideError("the net holds a module instance; pass the module's class")
    if not isinstance(problem.X, np.ndarray) or problem.X.dtype.kind not in "fiu":
        kind = getattr(problem.X, "dtype", type(problem.X).__name__)
        raise NotSideBySideError(f"X is no array of numbers ({kind})")
    ways = own_ways(net)
    collate = net.get_params_for("iterator_train").get("collate_fn")
    if collate not in (None, default_collate, keep_batch):
        ways.append("iterator_train__collate_fn")
    if ways:
        raise NotSideBySideError(f"the net has its own {', '.join(ways)}")


def _tensor(X: Any, model: FunctionalModel) -> torch.Tensor:
    rows = np.asarray(X)
    return as_tensor(rows, dtype=row_dtype(rows, model.dtype), device=model.device)
