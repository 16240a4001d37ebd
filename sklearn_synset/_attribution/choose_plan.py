"""The one place where it is chosen how groups are left out, and why."""

from dataclasses import dataclass

from sklearn_synset._data.training_data import TrainingRows
from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._network.operation_count import convolves, flops_of_gradient
from sklearn_synset._network.recipe import Recipe
from sklearn_synset._retraining.rewinding import is_single_layer

_N_STARTS = 2
_MOST_OPERATIONS = 1e12  # some half a minute of one core
_CONVOLUTION = 3.0  # operations of a product that take as long as one of a convolution
_MOST_WHOLE_ROWS = 10_000
_USUAL_EPOCHS = 30
_AUTO_STEPS, _MOST_DISTILLED = 100, 500
_N_REPLAYED_PROBES, _N_REWOUND_PROBES = 8, 12


@dataclass(frozen=True)
class Plan:
    """How groups are left out; printing it tells why.

    Parameters
    ----------
    solver : {"replay", "rewind", "mixed"}
        Whether the training is repeated without the groups, the network is rewound, or both, with
        a usual training in the place of the unknown one.

    n_starts : int
        Trainings that are repeated, for each network that is explained.

    is_whole : bool
        Whether the synset is all training rows, one by one.

    max_iter : int
        Steps of the distillation.

    n_probes : int
        Groups that are left out of the real rows to measure the fidelity.

    n_halves : int or None
        Random halves of the groups that effects are regressed from; None leaves out each group.

    reasons : tuple of str
        A line for each choice.
    """

    solver: str
    n_starts: int
    is_whole: bool
    max_iter: int
    n_probes: int
    n_halves: int | None
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(self.reasons)


def choose_plan(
    models: list[FunctionalModel],
    rows: TrainingRows,
    *,
    solver: str,
    synset_size: int | str,
    max_iter: int | str,
    n_probes: int | str,
    n_halves: int | None,
) -> Plan:
    """Choose how groups are left out.

    Parameters
    ----------
    models : list of FunctionalModel
        The explained networks, with their recipes.

    rows : TrainingRows
        The training rows.

    solver, synset_size, max_iter, n_probes
        As of the estimator.

    n_halves : int or None
        As of `Plan`.

    Returns
    -------
    plan : Plan
        The choices.

    Raises
    ------
    ValueError
        If the training is to be repeated and cannot be.

    Notes
    -----
    What is chosen, and the figure that supports it (`doc/benchmarks/bench_regimes.py`):

    ====================  =======================================  ===============================
    choice                when                                     figure
    ====================  =======================================  ===============================
    replay                the training is known, and repeating it  LOO of eight everyday trainings
                          takes at most 1e12 operations            0.70-0.91, rewinding 0.39-0.70
    two starts            within those operations; else one        0.74-0.91 for 0.64-0.89
    all rows as synset    replay, up to 10,000 rows                0.70-0.91, a quarter of the rows
                                                                   0.63-0.82 in the same time
    usual training, too   classifiers of several layers whose      LOO 0.71, 0.77 for 0.67, 0.70
                          training is unknown
    100 steps of          networks that are only rewound, up to    diabetes 0.73 for 0.62; a
    distillation          500 synset rows                          single layer 0.94 for 0.93
    no distillation       otherwise                                gains 0.00-0.03 of LOO
    ====================  =======================================  ===============================
    """
    n_removals = n_halves or len(rows.rows_by_group)
    reasons: list[str] = []
    recipes = [model.recipe for model in models]
    unknown = next((each for each in recipes if not isinstance(each, Recipe)), None)
    n_starts, is_replay = 0, False
    known = [each for each in recipes if isinstance(each, Recipe)]
    obstacle = next((each.not_rewound for each in known if each.not_rewound), None)
    if solver == "rewind":
        if obstacle is not None:
            raise ValueError(
                f"solver='rewind' imitates the training by descent on its loss, but {obstacle}. "
                "Use solver='replay'."
            )
        reasons.append("solver: rewind, as asked for.")
    elif not all(isinstance(each, Recipe) for each in recipes):
        why = unknown or "a bare module does not say how it was trained"
        if solver == "replay":
            raise ValueError(
                f"solver='replay' repeats the training, which cannot be done: {why}. "
                "Use solver='rewind', or wrap the network in a skorch net with its training "
                "(FrozenEstimator(net) if it is trained)."
            )
        usual = _may_be_mixed(models, rows, n_removals)
        if usual:
            n_starts = _N_STARTS
            reasons.append(
                f"solver: rewind, mixed with a usual training (descent with momentum) from "
                f"{_N_STARTS} seeds, as the training cannot be repeated: {why}."
            )
        else:
            reasons.append(f"solver: rewind, as the training cannot be repeated: {why}.")
    else:
        once = sum(_operations(model, rows) for model in models) * (n_removals + 1)
        n_wanted = -(-_N_STARTS // len(models))
        n_starts = int(max(0, min(n_wanted, _MOST_OPERATIONS // once)))
        is_replay = solver == "replay" or n_starts > 0 or obstacle is not None
        cost = f"{once:.1e} operations for {n_removals + 1} trainings side by side"
        n_starts = max(int(is_replay), n_starts)
        if solver == "replay":
            reasons.append(f"solver: replay, as asked for ({cost}).")
        elif obstacle is not None and once > _MOST_OPERATIONS:
            reasons.append(f"solver: replay, though it is expensive ({cost}), as {obstacle}.")
        elif is_replay:
            reasons.append(f"solver: replay, as the training is known and cheap enough ({cost}).")
        else:
            reasons.append(
                f"solver: rewind, as repeating the training is too expensive ({cost}; at most "
                f"{_MOST_OPERATIONS:.0e}). solver='replay' repeats it all the same."
            )
        if is_replay:
            is_own = isinstance(recipes[0], Recipe) and recipes[0].seed is not None
            seeds = "its own seed and new ones" if is_own else "new seeds"
            reasons.append(f"starts: {n_starts} for each network, from {seeds}.")
    n_rows = len(rows.X)
    is_whole = is_replay and synset_size == "auto" and n_rows <= _MOST_WHOLE_ROWS
    if is_whole:
        reasons.append(
            f"synset: all {n_rows} training rows, as their number does not enter the cost of "
            "replay; synset_size=... compresses them."
        )
    elif synset_size == "auto":
        reasons.append("synset: at most a quarter of the training rows.")
    else:
        reasons.append(f"synset: synset_size={synset_size} rows a group, as asked for.")
    n_iter = 0 if max_iter == "auto" else int(max_iter)
    if synset_size == "auto":
        n_synset = n_rows // 4
    else:
        n_synset = min(n_rows, int(synset_size) * len(rows.rows_by_group))
    if max_iter == "auto" and not n_starts and n_synset <= _MOST_DISTILLED:
        n_iter = _AUTO_STEPS
    if is_whole and n_iter:
        n_iter = 0
        reasons.append("distillation: none, as the synset is all rows; set synset_size, too.")
    elif max_iter == "auto" and n_iter:
        reasons.append(f"distillation: {n_iter} steps, as networks are only rewound.")
    elif max_iter == "auto":
        reasons.append("distillation: none, as it gains little; max_iter=... asks for it.")
    else:
        reasons.append(f"distillation: {n_iter} steps, as asked for.")
    if n_probes == "auto":
        probes = _N_REPLAYED_PROBES if n_starts else _N_REWOUND_PROBES
    else:
        probes = int(n_probes)
    if is_replay:
        how = "repeating the training on the real rows"
    else:
        how = "a usual training on the real rows" if n_starts else "rewinding on the real rows"
    reasons.append(f"fidelity: from up to {probes} groups, by {how}.")
    name = "replay" if is_replay else "mixed" if n_starts else "rewind"
    return Plan(name, n_starts, is_whole, n_iter, probes, n_halves, tuple(reasons))


def _may_be_mixed(models: list[FunctionalModel], rows: TrainingRows, n_removals: int) -> bool:
    """Tell whether a usual training of the networks helps, and is cheap enough.

    It does not for a single layer and for regression, for which rewinding knows the curvature, nor
    for several labels a row (0.47 for 0.79, `tests/test_several_labels.py`).
    """
    if is_single_layer(models[0]) or models[0].loss != "cross_entropy":
        return False
    n_rows = _USUAL_EPOCHS * len(rows.X) * _N_STARTS * len(models) * (n_removals + 1)
    return n_rows * _operations_per_row(models[0], rows) <= _MOST_OPERATIONS


def _operations(model: FunctionalModel, rows: TrainingRows) -> float:
    """Return about how many operations one training of a network takes."""
    recipe = model.recipe
    assert isinstance(recipe, Recipe)
    return float(recipe.n_rows_seen) * _operations_per_row(model, rows)


def _operations_per_row(model: FunctionalModel, rows: TrainingRows) -> float:
    """Return the operations of products that take as long as the gradient of one row's loss."""
    return flops_of_gradient(model, rows.X) * (_CONVOLUTION if convolves(model) else 1)
