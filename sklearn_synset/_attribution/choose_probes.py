"""How many groups are left out of the real rows to measure the fidelity, by which training."""

from dataclasses import dataclass

_N_TRAINED, _N_REWOUND = 8, 12
_N_SEEDS = 2
_FEWEST = 3  # groups that an interval needs
_FEWEST_FROM_TWO_SEEDS = 4
_OPERATIONS = 1e11  # some three seconds of one core
_MOST_OPERATIONS = 1e12
_SHARE_OF_REPLAY, _SHARE_OF_RETRAINING = 1 / 4, 1 / 12


@dataclass(frozen=True)
class ProbePlan:
    """How the probes are made.

    Parameters
    ----------
    how : {"training", "usual training", "rewinding"}
        Whether the network's training is repeated on the real rows without the groups, a usual
        training in its place, or the trained network is rewound.

    n_groups : int
        Groups to leave out, at most.

    n_seeds : int
        Trainings of each kind.

    reason : str, default=""
        Why these probes do not measure the fidelity; empty if they do.
    """

    how: str
    n_groups: int
    n_seeds: int = 1
    reason: str = ""

    def __str__(self) -> str:
        if not self.n_groups:
            return f"fidelity: not measured, as {self.reason}."
        where = f"from up to {self.n_groups} groups"
        seeds = f"{self.n_seeds} new seed{'s' * (self.n_seeds > 1)}"
        if self.how == "training":
            return f"fidelity: {where}, by repeating the training on the real rows, {seeds}."
        if self.how == "usual training":
            return f"fidelity: {where}, by a usual training on the real rows, {seeds}."
        if not self.reason:
            return (
                f"fidelity: {where}, by rewinding on the real rows, which for a single layer is "
                "training."
            )
        return (
            f"fidelity: not measured, as {self.reason}. score compares with up to {self.n_groups} "
            "groups by rewinding on the real rows."
        )


def choose_probes(
    n_probes: int | str,
    n_groups: int,
    operations: float | None,
    replayed_operations: float,
    *,
    is_usual: bool,
) -> ProbePlan:
    """Choose the probes, within a budget.

    Parameters
    ----------
    n_probes : int or "auto"
        As of the estimator; a number is made whatever it costs.

    n_groups : int
        Groups of training rows.

    operations : float or None
        Operations of one training; None if rewinding finds the minimum that any training ends
        at, as of a single layer of unknown training.

    replayed_operations : float
        Operations of all trainings that leave groups out; 0 if networks are only rewound.

    is_usual : bool
        Whether that is a usual training, as the network's own is not known.

    Returns
    -------
    plan : ProbePlan
        Eight groups from two seeds, or as many as the budget allows: 1e11 operations, or more
        where leaving out takes more: a quarter of the repeated trainings, and three groups at
        least; where networks are only rewound, a twelfth of retraining once without each group,
        at most 1e12 operations.
    """
    if n_probes == 0:
        return ProbePlan("rewinding", 0, reason="n_probes=0 asks for none")
    is_auto = n_probes == "auto"
    n_rewound = _N_REWOUND if is_auto else int(n_probes)
    if operations is None:
        return ProbePlan("rewinding", n_rewound)
    how = "usual training" if is_usual else "training"
    share = min(_MOST_OPERATIONS, operations * (n_groups + 1) * _SHARE_OF_RETRAINING)
    if replayed_operations:
        share = replayed_operations * _SHARE_OF_REPLAY
    budget = max(_OPERATIONS, share)
    n_networks = max(int(budget / operations), (_FEWEST + 1) * bool(replayed_operations))
    wanted = _N_TRAINED if is_auto else int(n_probes)
    from_two_seeds = min(wanted, n_networks // _N_SEEDS - 1)
    if from_two_seeds >= min(wanted, _FEWEST_FROM_TWO_SEEDS):
        return ProbePlan(how, from_two_seeds if is_auto else wanted, _N_SEEDS)
    if not is_auto:
        return ProbePlan(how, wanted)
    if n_networks > _FEWEST:
        return ProbePlan(how, min(wanted, n_networks - 1))
    return ProbePlan(
        "rewinding",
        n_rewound,
        reason=(
            f"repeating {'a usual' if is_usual else 'the'} training takes {operations:.1e} "
            f"operations, and the budget of probes is {budget:.1e}; "
            f"n_probes={_N_TRAINED} measures it all the same"
        ),
    )
