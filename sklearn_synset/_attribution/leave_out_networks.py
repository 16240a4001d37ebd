"""Networks without some groups, and the effects of these groups on queries."""

import threading
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import torch

from sklearn_synset._attribution.choose_plan import Plan
from sklearn_synset._attribution.datamodel import datamodel_weights, random_halves
from sklearn_synset._attribution.group_effects import effects_by_network
from sklearn_synset._attribution.rewound_networks import plan_and_leave_out
from sklearn_synset._attribution.row_effects import RowEffects
from sklearn_synset._data.input_checks import finite, result_dtype
from sklearn_synset._data.row_source import RowSource, in_batches
from sklearn_synset._data.training_data import TrainingRows
from sklearn_synset._labels.fold_scores import fold_log_posterior, fold_objectives
from sklearn_synset._labels.folds import Folds, leave_folds_out
from sklearn_synset._labels.out_of_fold_scores import (
    own_group_objectives,
    rewound_log_posterior,
)
from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._network.training_loss import encoded_labels
from sklearn_synset._objective.evaluation import evaluate_objective
from sklearn_synset._objective.network_set import NetworkSet
from sklearn_synset._objective.objective import Objective
from sklearn_synset._replay.leave_out import ReplayPlan
from sklearn_synset._retraining.leave_out import LeaveOut, leave_one_out, loses_a_class
from sklearn_synset._retraining.removal import Retraining
from sklearn_synset._retraining.rows_left_out import in_two_groups
from sklearn_synset._retraining.synset import Synset
from sklearn_synset._runtime.memory import in_smaller_chunks
from sklearn_synset._runtime.torch_interop import as_array, as_tensor

Plans = ReplayPlan | Retraining
# A repeated training draws from torch's global generator: queries in threads take turns.
_TURN = threading.RLock()


@dataclass(frozen=True, eq=False)
class LeaveOutNetworks:
    """Explained networks, what groups are left out of, and the networks without each.

    Parameters
    ----------
    models : list of FunctionalModel
        The explained networks.

    synset : Synset
        What groups are left out of.

    leave_out : LeaveOut
        How networks are rewound, where they are.

    plans : list of ReplayPlan or Retraining
        How groups are left out of each network.

    kept : Tensor of shape (R, K)
        Groups that are kept, for each of R removals.

    displacements : list of Tensor of shape (R, D)
        How each network's weights move.

    is_datamodel : bool
        Whether the removals are random halves, from which groups' effects are regressed.

    rows : TrainingRows or None
        The training rows; only the effects of single rows need them.
    """

    models: list[FunctionalModel]
    synset: Synset
    leave_out: LeaveOut
    plans: list[Plans]
    kept: torch.Tensor
    displacements: list[torch.Tensor]
    is_datamodel: bool
    rows: TrainingRows | None

    def __getstate__(self) -> dict[str, object]:
        """Leave out what can be computed anew."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def training_rows(self) -> TrainingRows:
        """The training rows; a ValueError if they were dropped."""
        if self.rows is None:
            raise ValueError(
                "Effects of single training rows need the training rows, and they were dropped; "
                "fit again, or ask for level='groups'."
            )
        return self.rows

    @cached_property
    def row_effects(self) -> list[RowEffects]:
        """First-order effects of single training rows on each network."""
        found, rows = [], self.training_rows
        for model, plan in zip(self.models, self.plans, strict=True):
            if isinstance(plan, ReplayPlan) or plan.preconditioner is not None:
                plan = self.leave_out.plan(model, self.synset)
            found.append(RowEffects(model, rows, self.synset, plan, self.leave_out.seed))
        return found

    @cached_property
    def folds(self) -> list[Folds]:
        """Networks that were trained without each of several folds of the synset rows."""
        return [
            leave_folds_out(
                model, plan, self.synset, self.leave_out.seed, self.leave_out.batch_size
            )
            for model, plan in zip(self.models, self.plans, strict=True)
            if isinstance(plan, ReplayPlan)
        ]

    def without_rows(
        self,
        representative: np.ndarray,
        group: np.ndarray,
        removed: np.ndarray,
        weight: np.ndarray | None = None,
    ) -> list[torch.Tensor]:
        """Return each network's displacement (1, D) without some training rows.

        Parameters
        ----------
        representative, group, removed, weight : ndarray of shape (n,)
            As of `in_two_groups`.

        Returns
        -------
        displacements : list of Tensor of shape (1, D)
            Of a whole group, the one that its effects are of.
        """
        n_removed = np.bincount(group[removed], minlength=self.synset.n_groups)
        size = np.bincount(group, minlength=self.synset.n_groups)
        if not self.is_datamodel and (n_removed > 0).sum() == 1 and (n_removed == size).any():
            return [each[n_removed.argmax()][None] for each in self.displacements]
        is_of_groups = np.isin(n_removed / size, (0, 1)).all()
        kept = torch.as_tensor(n_removed == 0)[None].to(self.synset.weight)
        if is_of_groups:
            return [
                self._moves(model, self.synset, kept, plan, n_removed)
                for model, plan in zip(self.models, self.plans, strict=True)
            ]
        own = np.ones(len(group)) if weight is None else weight
        lost = np.bincount(group, own * removed) / np.bincount(group, own)
        share = torch.as_tensor(lost).to(self.synset.weight)
        parted = in_two_groups(self.synset, representative, group, removed, weight)
        kept, found = kept.new_tensor([[1.0, 0.0]]), []
        for model, plan in zip(self.models, self.plans, strict=True):
            if isinstance(plan, Retraining):
                own_plan: Plans = plan.regrouped(torch.stack([1 - share, share]))
            elif plan.rows.is_training_data:
                own_plan = plan.of_groups(as_tensor(removed.astype(int), device=model.device))
            else:
                own_plan = plan.of_synset(model, parted)
            found.append(self._moves(model, parted, kept, own_plan, n_removed))
        return found

    def _moves(
        self,
        model: FunctionalModel,
        synset: Synset,
        kept: torch.Tensor,
        plan: Plans,
        n_removed: np.ndarray,
    ) -> torch.Tensor:
        """Return the displacement (1, D) of one network."""
        if isinstance(plan, Retraining):
            return self._rewound(model, synset, kept, plan, n_removed)
        rewound = None
        if plan.is_generic:
            rewound = self._rewound(model, synset, kept, self._retraining(model), n_removed)
        with _TURN:
            return plan.displacements(model, kept, rewound=rewound)

    def _retraining(self, model: FunctionalModel) -> Retraining:
        """Return how a network is trained from rewound weights on the synset."""
        return self.leave_out.plan_for_groups(model, self.synset)

    def _rewound(
        self,
        model: FunctionalModel,
        synset: Synset,
        kept: torch.Tensor,
        plan: Retraining,
        n_removed: np.ndarray,
    ) -> torch.Tensor:
        """Return the displacement (1, D); from further back if a class is lost with the groups."""
        if (n_removed > 0).sum() > 1 and loses_a_class(model, synset, kept[0]):
            plan = self.leave_out.without_a_class(model, synset, plan)
        return self.leave_out.displacements_by_network([model], synset, kept, [plan])[0]

    def out_of_fold_objectives(
        self, X: np.ndarray, target: np.ndarray, own_group: np.ndarray, objective: Objective
    ) -> np.ndarray:
        """Return each query's objective (q,) under networks without its like, mean over networks.

        Parameters
        ----------
        X : ndarray of shape (q, d...)
            Queries.

        target : ndarray of shape (q,) or (q, C)
            Their codes or values.

        own_group : ndarray of shape (q,)
            Group that each falls in.

        objective : callable
            What is evaluated.
        """
        rows, y = self.rows_of(X), encoded_labels(self.models[0], target)
        groups = as_tensor(own_group, device=rows.device)
        size = self.leave_out.batch_size
        with _TURN:
            all_folds = self.folds
        if all_folds:
            values = [
                fold_objectives(folds, model, self.synset, rows, y, groups, objective, size)
                for model, folds in zip(self.models, all_folds, strict=True)
            ]
        else:
            values = [
                own_group_objectives(model, self.synset, self.leave_out, rows, y, groups, objective)
                for model in self.models
            ]
        return as_array(torch.stack(values).double().mean(0)).astype(result_dtype(X))

    def label_posterior(
        self, X: np.ndarray, target: np.ndarray, own_group: np.ndarray
    ) -> np.ndarray:
        """Return how likely each class is a query's true label (q, C), mean over networks.

        Parameters
        ----------
        X, target, own_group
            As of `out_of_fold_objectives`; the targets are codes.

        Notes
        -----
        Where networks were rewound, the label noise is estimated from the queries.
        """
        rows, y = self.rows_of(X), encoded_labels(self.models[0], target)
        groups = as_tensor(own_group, device=rows.device)
        size = self.leave_out.batch_size
        with _TURN:
            all_folds = self.folds
        found = []
        for i, model in enumerate(self.models):
            if all_folds:
                log_p = fold_log_posterior(all_folds[i], model, self.synset, rows, y, groups, size)
            else:
                log_p = rewound_log_posterior(model, self.synset, self.leave_out, rows, y, groups)
            found.append(np.exp(as_array(log_p)))
        return np.mean(found, axis=0)

    def attributions(self, X: np.ndarray, target: np.ndarray, objective: Objective) -> np.ndarray:
        """Return the effect (q, K) of each group on each query, mean over networks."""
        return self.attributions_by_network(X, target, objective).mean(0)

    def attributions_by_network(
        self, X: np.ndarray, target: np.ndarray, objective: Objective
    ) -> np.ndarray:
        """Return the effect (M, q, K) of each group on each query, for each of M networks."""
        size, y = self.leave_out.batch_size, encoded_labels(self.models[0], target)
        effects = effects_by_network(
            self.models, self.displacements, self.rows_of(X), y, objective, size
        )
        finite(effects.swapaxes(0, 1), "effects")
        return effects @ as_array(datamodel_weights(self.kept)) if self.is_datamodel else effects

    def objectives(self, X: np.ndarray, target: np.ndarray, objective: Objective) -> np.ndarray:
        """Return each query's objective (q,) with nothing left out, mean over networks."""
        rows, y = self.rows_of(X), encoded_labels(self.models[0], target)
        size = self.leave_out.batch_size
        values = [
            evaluate_objective(model, model.theta, rows, y, objective, size)
            for model in self.models
        ]
        return finite(as_array(torch.stack(values).double().mean(0)), "objectives")

    def predictions(self, X: np.ndarray) -> np.ndarray:
        """Return codes (q,) of predicted labels, 0 and 1 (q, L) of several, or predicted values."""
        outputs = finite(as_array(torch.stack(self._outputs(X)).mean(0)), "outputs")
        if self.models[0].loss == "binary_cross_entropy":
            return (outputs > 0).astype(outputs.dtype)
        if self.models[0].loss == "cross_entropy":
            threshold = self.models[0].threshold
            if outputs.shape[1] == 2 and threshold != 0.5:
                # Of log-odds, so that a threshold of 0 or 1 is none.
                with np.errstate(divide="ignore"):
                    bound = np.log(threshold) - np.log1p(-threshold)
                return (outputs[:, 1] - outputs[:, 0] > bound).astype(np.int64)
            return outputs.argmax(1)
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs

    def rows_of(self, X: np.ndarray) -> RowSource:
        """Return queries (q, d...) as the networks take them."""
        return RowSource.to_read(X, self.models[0].dtype, self.models[0].device)

    @torch.no_grad()
    def _outputs(self, X: np.ndarray) -> list[torch.Tensor]:
        rows = self.rows_of(X)

        def of_network(model: FunctionalModel, size: int) -> torch.Tensor:
            return in_batches(lambda part: model(model.theta, rows[part]), len(X), size)

        def evaluate(size: int) -> list[torch.Tensor]:
            return [of_network(model, size) for model in self.models]

        return in_smaller_chunks(evaluate, min(self.leave_out.batch_size, len(X)), "rows")


def leave_groups_out(
    models: list[FunctionalModel],
    synset: Synset,
    leave_out: LeaveOut,
    replays: list[ReplayPlan] | None,
    kept: torch.Tensor,
    rows: TrainingRows,
    plan: Plan,
    *,
    others: list[tuple[int, torch.Tensor]] | None = None,
) -> tuple[LeaveOutNetworks, list[NetworkSet]]:
    """Leave each group, or random halves of the groups, out of the synset.

    Parameters
    ----------
    models : list of FunctionalModel
        The explained networks.

    synset : Synset
        What groups are left out of.

    leave_out : LeaveOut
        How networks are rewound, where they are.

    replays : list of ReplayPlan or None
        How the trainings are repeated; None to rewind.

    kept : Tensor of shape (R, K)
        Groups that are kept.

    rows : TrainingRows
        The training rows.

    plan : Plan
        What was chosen.

    others : list of tuple, default=None
        Networks to train beside, as of `ReplayPlan.blocks`; once, whatever the number of explained
        networks, as their trainings differ by the seed alone.

    Returns
    -------
    networks : LeaveOutNetworks
        Ready for queries.

    others : list of NetworkSet
        The networks that were trained beside, block by block.
    """
    beside: list[NetworkSet] = []
    plans: list[Plans] = list(replays or [])
    rewound: list = [None] * len(models)
    if replays is None or replays[0].is_generic:
        retrainings, rewound = plan_and_leave_out(models, synset, leave_out, kept, rows, plan)
        plans, displacements = plans or list(retrainings), rewound
    if replays is not None:
        displacements = []
        for model, replay, other in zip(models, replays, rewound, strict=True):
            displacement, found = replay.displacements_and_others(
                model, kept, (not displacements and others) or [], "Leaving out", other
            )
            displacements.append(displacement)
            beside += found
    networks = LeaveOutNetworks(
        models, synset, leave_out, plans, kept, displacements, plan.n_halves is not None, rows
    )
    return networks, beside


def removals(synset: Synset, n_halves: int | None, seed: int) -> torch.Tensor:
    """Return the groups (R, K) that are kept, for each removal.

    Parameters
    ----------
    synset : Synset
        What groups are left out of.

    n_halves : int or None
        Number of random halves; None leaves out each group alone.

    seed : int
        Of the halves.
    """
    if n_halves is None:
        return leave_one_out(synset)
    generator = torch.Generator().manual_seed(seed)
    return random_halves(n_halves, synset.n_groups, generator).to(synset.weight)
