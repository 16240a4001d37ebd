"""Training data: rows, targets and the groups that the rows are in."""

from dataclasses import dataclass

import torch

from sklearn_synset._data.row_source import Rows


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
    """

    X: Rows
    targets: torch.Tensor
    rows_by_group: list[torch.Tensor]
    batch_size: int

    @property
    def group(self) -> torch.Tensor:
        """Group (n,) of each row, in [0, K)."""
        codes = torch.empty(len(self.X), dtype=torch.long, device=self.targets.device)
        for code, members in enumerate(self.rows_by_group):
            codes[members] = code
        return codes
