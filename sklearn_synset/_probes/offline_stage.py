"""The offline stage, from the training rows to a synset."""

from dataclasses import dataclass

import torch

from sklearn_synset._data.training_data import TrainingRows
from sklearn_synset._distillation.distil import Distilled
from sklearn_synset._distillation.distilled_synset import Distillation, distil_synset
from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._objective.objective import Objective
from sklearn_synset._probes.candidate_choice import choose_candidate
from sklearn_synset._probes.probes import Probes
from sklearn_synset._retraining.leave_out import LeaveOut
from sklearn_synset._retraining.synset import Synset


@dataclass(frozen=True, eq=False)
class OfflineStage:
    """Outcome of the offline stage.

    Parameters
    ----------
    synset : Synset
        The synset.

    distilled : Distilled
        The stages that it was chosen of, and the way there.
    """

    synset: Synset
    distilled: Distilled


def run_offline_stage(
    models: list[FunctionalModel],
    rows: TrainingRows,
    y: torch.Tensor,
    leave_out: LeaveOut,
    distillation: Distillation,
    probes: Probes,
    objective: Objective,
    generator: torch.Generator,
    former: Distilled | None = None,
) -> OfflineStage:
    """Distil a synset.

    Parameters
    ----------
    models : list of FunctionalModel
        The trained networks.

    rows : TrainingRows
        The training rows.

    y : Tensor of shape (n,) or (n, C)
        Their codes or values, as the objective takes them.

    leave_out : LeaveOut
        How groups are left out.

    distillation : Distillation
        How the synset is made.

    probes : Probes
        What the stage of the distillation to keep is chosen by.

    objective : callable
        What the probes are judged by.

    generator : torch.Generator
        On the CPU.

    former : Distilled, default=None
        A distillation of the same rows to go on with; starts anew if None.

    Returns
    -------
    stage : OfflineStage
        The synset, and how it came about.
    """
    distilled = distil_synset(models, rows, leave_out, distillation, generator, former)
    synset = choose_candidate(models, distilled, probes, leave_out, rows.X, y, objective, generator)
    return OfflineStage(synset, distilled)
