"""Training data: rows, targets and the groups that the rows are in."""

from dataclasses import dataclass

import torch

from sklearn_synset._data.row_source import Rows

_LEAST_WEIGHT = 1e-9


@dataclass(frozen=True, eq=False)
class TrainingRows:
    """The training rows, and the groups they are in.

    Parameters
    ----------
    X : Tensor or RowSource of shape (n, d...)
        Inputs.
    targets : Tensor of shape (n, C)
        Targets.
    rows_by_group : list of K Tensors
        Row indices of each group.
    batch_size : int
        Most rows to evaluate at once.
    sample_weight : Tensor of shape (n,), default=None
        Weight of each row's loss, with mean 1; all ones if None.
    """

    X: Rows
    targets: torch.Tensor
    rows_by_group: list[torch.Tensor]
    batch_size: int
    sample_weight: torch.Tensor | None = None

    @property
    def weight(self) -> torch.Tensor:
        """Weight (n,) of each row's loss."""
        own = self.sample_weight
        return self.targets.new_ones(len(self.targets)) if own is None else own

    @property
    def group(self) -> torch.Tensor:
        """Group (n,) of each row, in [0, K)."""
        codes = torch.empty(len(self.X), dtype=torch.long, device=self.targets.device)
        for code, members in enumerate(self.rows_by_group):
            codes[members] = code
        return codes

    @property
    def positive_weight(self) -> torch.Tensor:
        """Weight (n,) of each row, at least 1e-9, as synset rows need it."""
        return self.weight.clamp(min=_LEAST_WEIGHT)

    @property
    def group_weight(self) -> torch.Tensor:
        """Sum (K,) of the positive weights of each group's rows."""
        total = self.weight.new_zeros(len(self.rows_by_group))
        return total.index_add(0, self.group, self.positive_weight)
