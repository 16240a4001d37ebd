"""What networks are trained on again, as their training takes it."""

from dataclasses import dataclass, replace

import torch

from sklearn_synset._data.row_source import Rows
from sklearn_synset._data.training_data import TrainingRows
from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._network.recipe import Recipe
from sklearn_synset._retraining.synset import Synset
from sklearn_synset._runtime.torch_interop import as_tensor

_IN_NO_GROUP = -1


@dataclass(frozen=True, eq=False)
class ReplayedRows:
    r"""Rows to train on, and rows that trainings are judged by.

    Parameters
    ----------
    X : Tensor or RowSource of shape (s, d...)
        Inputs.

    targets : Tensor of shape (s, C)
        Targets in the order of the module's outputs.

    weight : Tensor of shape (s,)
        Rows that each represents, also in the statistics of batch normalisations.

    group : Tensor of shape (s,)
        Group of each row.

    is_training_data : bool
        Whether these are the training rows, one by one and in their order: they are then seen in
        the order that the net's loader gives them.

    input_shape : tuple of int or None
        Shape that flat rows are given.

    valid_X, valid_targets, valid_group : Tensor or None
        Validation rows; group -1 for those that are in none. None without any.

    sample_weight : Tensor of shape (s,) or None
        Weight of each row's loss, beyond `weight`; None if all are 1.
    """

    X: Rows
    targets: torch.Tensor
    weight: torch.Tensor
    group: torch.Tensor
    is_training_data: bool
    input_shape: tuple[int, ...] | None = None
    valid_X: torch.Tensor | None = None
    valid_targets: torch.Tensor | None = None
    valid_group: torch.Tensor | None = None
    sample_weight: torch.Tensor | None = None

    def shaped(self, X: torch.Tensor) -> torch.Tensor:
        r"""Return rows (b, d...) as the module takes them, (b, \*input_shape)."""
        if self.input_shape is None or X.ndim != 2:
            return X
        return X.reshape(len(X), *self.input_shape)


def replayed_training_rows(
    model: FunctionalModel, recipe: Recipe, rows: TrainingRows
) -> ReplayedRows:
    """Return the training rows, one by one.

    Parameters
    ----------
    model : FunctionalModel
        The explained network.

    recipe : Recipe
        How it was trained.

    rows : TrainingRows
        Its training rows.

    Returns
    -------
    replayed : ReplayedRows
        In their order, with the validation rows of the training.
    """
    group = rows.group
    targets = _in_output_order(model, rows.targets)
    whole = ReplayedRows(
        *(rows.X, targets, targets.new_ones(len(targets)), group, True, model.input_shape),
        sample_weight=rows.sample_weight,
    )
    if recipe.valid_rows is not None:
        held = as_tensor(recipe.valid_rows, device=model.device)
        return replace(
            whole, valid_X=rows.X[held], valid_targets=targets[held], valid_group=group[held]
        )
    if recipe.valid_data is not None:
        inputs, labels = recipe.valid_data
        y = as_tensor(labels, device=model.device)
        if model.loss == "cross_entropy":
            # As the net saw them: they are in the order of its outputs.
            y = torch.nn.functional.one_hot(y.reshape(len(y)).long(), model.n_outputs)
        return replace(
            whole,
            valid_X=as_tensor(inputs, dtype=rows.X[:1].dtype, device=model.device),
            valid_targets=y.to(targets).reshape(len(y), -1),
            valid_group=in_no_group(len(y), group),
        )
    return whole


def rows_of_synset(model: FunctionalModel, synset: Synset) -> ReplayedRows:
    """Return the rows of a synset, without validation rows."""
    targets = _in_output_order(model, synset.y)
    return ReplayedRows(synset.X, targets, synset.weight, synset.group, False, model.input_shape)


def replayed_synset(
    model: FunctionalModel, training_rows: ReplayedRows, synset: Synset
) -> ReplayedRows:
    """Return a synset in the place of the training rows, and the same validation rows."""
    own = rows_of_synset(model, synset)
    return replace(
        own,
        valid_X=training_rows.valid_X,
        valid_targets=training_rows.valid_targets,
        valid_group=training_rows.valid_group,
    )


def in_no_group(n_rows: int, like: torch.Tensor) -> torch.Tensor:
    """Return the group (n,) of rows that are in none, on the device of other groups."""
    return torch.full((n_rows,), _IN_NO_GROUP, device=like.device)


def _in_output_order(model: FunctionalModel, targets: torch.Tensor) -> torch.Tensor:
    """Return targets (n, C) with a column for each output of the module."""
    if model.output_order is None:
        return targets
    ordered = torch.empty_like(targets)
    ordered[:, list(model.output_order)] = targets
    return ordered
