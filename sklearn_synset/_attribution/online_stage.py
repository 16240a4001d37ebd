"""The online stage: networks without some groups, and what queries lose by it."""

from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
import torch

from sklearn_synset._attribution.datamodel import datamodel_weights, random_halves
from sklearn_synset._attribution.first_order_displacement import (
    adds_to,
    blended,
    first_order_displacements,
)
from sklearn_synset._attribution.group_effects import effects_by_network
from sklearn_synset._attribution.out_of_fold_scores import own_group_objectives
from sklearn_synset._attribution.row_effects import RowEffects
from sklearn_synset._attribution.rows_left_out import in_two_groups
from sklearn_synset._data.input_checks import finite
from sklearn_synset._data.row_source import RowSource, in_batches
from sklearn_synset._data.training_data import TrainingRows
from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._objective.evaluation import evaluate_objective
from sklearn_synset._objective.objective import Objective
from sklearn_synset._retraining.leave_out import LeaveOut, leave_one_out, loses_a_class
from sklearn_synset._retraining.measured_remainder import can_be_measured, measured_remainder
from sklearn_synset._retraining.removal import Retraining
from sklearn_synset._retraining.row_sample import sample_of_rows
from sklearn_synset._retraining.synset import Synset
from sklearn_synset._runtime.memory import in_smaller_chunks
from sklearn_synset._runtime.torch_interop import as_array, as_tensor

_MEASURED_ROWS = 1000


@dataclass(frozen=True, eq=False)
class OnlineStage:
    """Networks, their synset, and the networks without some of its groups.

    Parameters
    ----------
    models : list of FunctionalModel
        The trained networks.

    synset : Synset
        What groups are left out of.

    leave_out : LeaveOut
        How.

    retrainings : list of Retraining
        The plan for each network.

    kept : Tensor of shape (R, K)
        Groups that are kept, for each of R removals.

    displacements : list of Tensor of shape (R, D)
        How each network's weights move.

    is_datamodel : bool
        Whether the removals are random halves, from which groups' effects are regressed.

    rows : TrainingRows or None
        The training rows; only what single rows do needs them.

    size : float, default=1
        What displacements were multiplied by, see `resized`.
    """

    models: list[FunctionalModel]
    synset: Synset
    leave_out: LeaveOut
    retrainings: list[Retraining]
    kept: torch.Tensor
    displacements: list[torch.Tensor]
    is_datamodel: bool
    rows: TrainingRows | None
    size: float = 1.0

    def __getstate__(self) -> dict[str, object]:
        """Leave out what can be worked out again."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def row_effects(self) -> list[RowEffects]:
        """What single training rows do to each network."""
        if self.rows is None:
            raise ValueError(
                "What single training rows do needs the training rows, and they were dropped; fit "
                "again, or ask for level='groups'."
            )
        plans = [
            # Single rows are told along a path of plain descent.
            plan if plan.preconditioner is None else self.leave_out.plan(model, self.synset)
            for model, plan in zip(self.models, self.retrainings, strict=True)
        ]
        return [
            RowEffects(model, self.rows, self.synset, plan, self.leave_out.seed)
            for model, plan in zip(self.models, plans, strict=True)
        ]

    def resized(self, factor: float) -> "OnlineStage":
        """Return the stage with displacements that are longer by a factor."""
        longer = [factor * displacement for displacement in self.displacements]
        return replace(self, displacements=longer, size=factor * self.size)

    def without_rows(
        self, representative: np.ndarray, group: np.ndarray, removed: np.ndarray
    ) -> list[torch.Tensor]:
        """Return each network's displacement (1, D) without some training rows.

        Parameters
        ----------
        representative, group, removed : ndarray of shape (n,)
            As of `in_two_groups`.

        Returns
        -------
        displacements : list of Tensor of shape (1, D)
            Of a whole group, the one that its effects are of. Of several, what leaving these
            groups out of the synset gives; from further back if with them a class is left out.
        """
        n_removed = np.bincount(group[removed], minlength=self.synset.n_groups)
        size = as_array(self.synset.group_size)
        if not self.is_datamodel and (n_removed > 0).sum() == 1 and (n_removed == size).any():
            return [each[n_removed.argmax()][None] for each in self.displacements]
        synset, plans = self.synset, self.retrainings
        if np.isin(n_removed / size, (0, 1)).all():
            kept = torch.as_tensor(n_removed == 0)[None]
        else:
            share = torch.as_tensor(n_removed / size).to(synset.weight)
            plans = [plan.regrouped(torch.stack([1 - share, share])) for plan in plans]
            synset = in_two_groups(synset, representative, group, removed)
            kept = torch.tensor([[True, False]])
        kept = kept.to(synset.weight)
        if (n_removed > 0).sum() > 1 and loses_a_class(self.models[0], synset, kept[0]):
            plans = [
                self.leave_out.without_a_class(model, synset, plan)
                for model, plan in zip(self.models, plans, strict=True)
            ]
        moves = self.leave_out.displacements_by_network(self.models, synset, kept, plans)
        return [self.size * move for move in moves]

    def own_group_objectives(
        self, X: np.ndarray, target: np.ndarray, own_group: np.ndarray, objective: Objective
    ) -> np.ndarray:
        """Return each query's objective (q,) as `own_group_objectives` does, mean over networks."""
        rows, y = self.rows_of(X), encoded_labels(self.models[0], target)
        groups = as_tensor(own_group, device=rows.device)
        values = [
            own_group_objectives(model, self.synset, self.leave_out, rows, y, groups, objective)
            for model in self.models
        ]
        return as_array(torch.stack(values).double().mean(0))

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
        """Return the codes (q,) of the predicted labels, or the predicted values (q,) or (q, C)."""
        outputs = finite(as_array(torch.stack(self._outputs(X)).mean(0)), "outputs")
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


def encoded_labels(model: FunctionalModel, target: np.ndarray) -> torch.Tensor:
    """Return codes or values as a tensor that the model's objectives take."""
    dtype = torch.long if model.loss == "cross_entropy" else model.dtype
    return as_tensor(target, dtype=dtype, device=model.device)


def run_online_stage(
    models: list[FunctionalModel],
    synset: Synset,
    leave_out: LeaveOut,
    n_halves: int | None,
    generator: torch.Generator,
    rows: TrainingRows | None = None,
) -> OnlineStage:
    """Leave each group, or random halves of the groups, out of the synset.

    Parameters
    ----------
    models : list of FunctionalModel
        The trained networks.

    synset : Synset
        What groups are left out of.

    leave_out : LeaveOut
        How.

    n_halves : int or None
        Number of random halves; None leaves out each group alone.

    generator : torch.Generator
        Draws the halves; on the CPU.

    rows : TrainingRows, default=None
        Training rows to keep for what single rows do; they also tell what the synset lacks, see
        `measured_remainder`, and what groups do to first order, see `first_order_displacements`.

    Returns
    -------
    stage : OnlineStage
        Ready for queries.
    """
    if n_halves is None:
        kept = leave_one_out(synset)
    else:
        kept = random_halves(n_halves, synset.n_groups, generator).to(synset.weight)
    retrainings = [_plan(model, synset, leave_out, kept, rows) for model in models]
    displacements = leave_out.displacements_by_network(
        models, synset, kept, retrainings, "Leaving out"
    )
    is_datamodel = n_halves is not None
    if not is_datamodel and rows is not None and leave_out.solver == "gradient_descent":
        displacements = [
            _with_first_order(model, synset, leave_out, rows, retraining, displacement)
            for model, retraining, displacement in zip(
                models, retrainings, displacements, strict=True
            )
        ]
    return OnlineStage(
        models, synset, leave_out, retrainings, kept, displacements, is_datamodel, rows
    )


def _with_first_order(
    model: FunctionalModel,
    synset: Synset,
    leave_out: LeaveOut,
    rows: TrainingRows,
    retraining: Retraining,
    displacement: torch.Tensor,
) -> torch.Tensor:
    """Return displacements (K, D) mixed with those of first order, where that is of use."""
    if not adds_to(model, synset, retraining):
        return displacement
    generator = torch.Generator().manual_seed(leave_out.seed)
    sample = sample_of_rows(rows, _MEASURED_ROWS, generator)
    first = first_order_displacements(model, synset, rows, sample, retraining, generator)
    return blended(displacement, first)


def _plan(
    model: FunctionalModel,
    synset: Synset,
    leave_out: LeaveOut,
    kept: torch.Tensor,
    rows: TrainingRows | None,
) -> Retraining:
    """Plan a retraining; as long as the rows take, and with what the synset lacks of them."""
    retraining = leave_out.plan_for_groups(model, synset)
    if rows is None or retraining.has_live_norms or not can_be_measured(model, synset):
        return retraining
    generator = torch.Generator().manual_seed(leave_out.seed)
    sample = sample_of_rows(rows, _MEASURED_ROWS, generator)
    if retraining.rewind:
        retraining = retraining.as_long_as(leave_out.plan(model, sample), leave_out.n_steps)
    moves = leave_out.displacements(model, synset, kept, retraining)
    remainder = measured_remainder(model, synset, rows, sample, retraining, moves, generator)
    return retraining.with_remainder(remainder)
