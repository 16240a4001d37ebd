"""The one place where it is chosen how groups are left out, and why."""

from dataclasses import dataclass, replace

from sklearn_synset._attribution.choose_probes import ProbePlan, choose_probes
from sklearn_synset._data.training_data import TrainingRows
from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._network.operation_count import convolves, flops_of_gradient
from sklearn_synset._network.recipe import Recipe
from sklearn_synset._retraining.batch_norm import in_training
from sklearn_synset._retraining.linearised_gradient import linearised_layers
from sklearn_synset._retraining.measured_remainder import affordable_steps
from sklearn_synset._retraining.minibatches import n_minibatches
from sklearn_synset._retraining.rewinding import (
    curves_steadily,
    has_normalisation,
    is_single_layer,
    rewound,
)
from sklearn_synset._retraining.synset import Synset

_N_STARTS = 2
_MOST_OPERATIONS = 1e12  # some half a minute of one core
_MOST_OF_A_STEP = 5e6  # of one network: a stack of larger ones saves little
_CONVOLUTION = 3.0  # operations of a product that take as long as one of a convolution
_MOST_WHOLE_ROWS = 10_000
_USUAL_EPOCHS = 30
_AUTO_STEPS, _MOST_DISTILLED = 100, 500
_REWIND, _REWIND_OF_A_LAYER, _REWIND_NORMALISED = 0.5, 0.9, 0.8


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

    probes : ProbePlan
        How the fidelity is measured.

    n_halves : int or None
        Random halves of the groups that effects are regressed from; None leaves out each group.

    rewind : float
        Share of the outputs that is taken away where networks are rewound.

    reasons : tuple of str
        A line for each choice.

    linearised : tuple of str, default=()
        Layers of networks that are rewound and linearised around the one with all groups.

    is_measured : bool, default=False
        Whether what the synset lacks of the rows is measured along the path of rewound networks.

    is_preconditioned : bool, default=False
        Whether groups are left out of a large synset in steps that `preconditioner` scales.
    is_mixed : bool, default=False
        Whether displacements of rewound networks are mixed with those of first order.
    """

    solver: str
    n_starts: int
    is_whole: bool
    max_iter: int
    probes: ProbePlan
    n_halves: int | None
    rewind: float
    reasons: tuple[str, ...]
    linearised: tuple[str, ...] = ()
    is_measured: bool = False
    is_mixed: bool = False
    is_preconditioned: bool = False

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
    rewind: float | str,
) -> Plan:
    """Choose how groups are left out.

    Parameters
    ----------
    models : list of FunctionalModel
        The explained networks, with their recipes.

    rows : TrainingRows
        The training rows.

    solver, synset_size, max_iter, n_probes, rewind
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
    two starts            within those operations, and at most     0.74-0.91 for 0.64-0.89
                          5e6 in a step of a network; else one
    all rows as synset    replay, up to 10,000 rows                0.70-0.91, a quarter of the rows
                                                                   0.63-0.82 in the same time
    usual training, too   classifiers of several layers whose      LOO 0.71, 0.77 for 0.67, 0.70
                          training is unknown
    100 steps of          networks that are only rewound, up to    diabetes 0.73 for 0.62; a
    distillation          500 synset rows                          single layer 0.94 for 0.93
    no distillation       otherwise                                gains 0.00-0.03 of LOO
    rewind by 0.5         networks of several layers; 0.9 for a    LOO 0.68, 0.85, 0.75, 0.67, 0.74
                          single one, 0.8 with normalisation       for 0.67, 0.71, 0.69, 0.35, 0.30
                                                                   without rewinding
    ====================  =======================================  ===============================

    What else is chosen of rewinding depends on the synset, see `choose_rewinding`.
    """
    n_removals = n_halves or len(rows.rows_by_group)
    name, n_starts, reasons = _choose_solver(models, rows, solver, n_removals)
    n_rows, is_replay = len(rows.X), name == "replay"
    is_whole = is_replay and synset_size == "auto" and n_rows <= _MOST_WHOLE_ROWS
    if is_whole:
        reasons.append(
            f"synset: all {n_rows} training rows, as their number does not enter the cost of "
            "replay; synset_size=... compresses them."
        )
        n_synset = n_rows
    elif synset_size == "auto":
        reasons.append("synset: at most a quarter of the training rows.")
        n_synset = n_rows // 4
    else:
        reasons.append(f"synset: synset_size={synset_size} rows a group, as asked for.")
        n_synset = min(n_rows, int(synset_size) * len(rows.rows_by_group))
    is_distilled = not n_starts and n_synset <= _MOST_DISTILLED
    n_iter, reason = _choose_steps(max_iter, is_whole=is_whole, is_distilled=is_distilled)
    probes = _choose_probes(models, rows, n_probes, n_removals, n_starts)
    share = usual_rewind(models[0]) if rewind == "auto" else float(rewind)
    return Plan(
        name,
        n_starts,
        is_whole,
        n_iter,
        probes,
        n_halves,
        share,
        (*reasons, reason, str(probes)),
    )


def usual_rewind(model: FunctionalModel) -> float:
    """Return the share of the outputs that is taken away by default.

    A single layer has no features to lose, and its training starts near zero. The kernels in front
    of normalisations stay as they are.
    """
    if has_normalisation(model):
        return _REWIND_NORMALISED
    return _REWIND_OF_A_LAYER if is_single_layer(model) else _REWIND


def choose_rewinding(plan: Plan, model: FunctionalModel, synset: Synset, seed: int) -> Plan:
    """Choose what remains open until there is a synset; nothing where all is replayed.

    Parameters
    ----------
    plan : Plan
        What was chosen before.

    model : FunctionalModel
        One of the explained networks.

    synset : Synset
        What groups are left out of.

    seed : int
        Of the minibatches that a linearisation is tried on.

    Returns
    -------
    plan : Plan
        With a line more for each thing that is done.

    Notes
    -----
    ==============  ====================================  ==========================================
    choice          when                                  figure
    ==============  ====================================  ==========================================
    linearised      convolutions, several minibatches,    45 to 60 times faster, LOO 0.224 for 0.229
                    if it saves time
    measured        a single layer, or squared loss:      wine 0.952 for 0.909, diabetes 0.684 for
    remainder       the curvature changes little          0.573
    preconditioned  several minibatches and layers, no batch  60,000 rows: a tenth of the time
    steps           normalisation
    mix with first  several layers, one minibatch; each   LDS +0.01 to +0.04, LOO -0.01 to +0.04
    order           group left out alone
    ==============  ====================================  ==========================================

    Gradients of first order see nothing of the statistics of batch normalisation, nor does a
    measured remainder.
    """
    if plan.solver == "replay":
        return plan
    reasons, is_one_batch = list(plan.reasons), n_minibatches(synset) == 1
    live = in_training(model, synset.X)
    linearised: tuple[str, ...] = ()
    if not is_one_batch:
        network = live or model
        linearised = linearised_layers(network, synset, rewound(network, plan.rewind), seed)
    is_plain = live is None
    is_measured = is_plain and curves_steadily(model) and affordable_steps(model, synset) >= 2
    is_deep, is_alone = not is_single_layer(model), plan.n_halves is None
    is_mixed = is_plain and is_deep and is_one_batch and is_alone and plan.rewind > 0
    is_scaled = is_plain and not (is_one_batch or linearised or curves_steadily(model))
    is_preconditioned = is_scaled and plan.rewind > 0
    if is_preconditioned:
        reasons.append("rewinding: steps are preconditioned, as the synset is large.")
    if linearised:
        reasons.append("rewinding: networks are linearised around that with all groups.")
    if is_measured:
        reasons.append("rewinding: what the synset lacks of the rows is measured, to first order.")
    if is_mixed:
        reasons.append("rewinding: mixed with effects of first order, as the synset is small.")
    return replace(
        plan,
        linearised=linearised,
        is_measured=is_measured,
        is_mixed=is_mixed,
        is_preconditioned=is_preconditioned,
        reasons=tuple(reasons),
    )


def _choose_solver(
    models: list[FunctionalModel], rows: TrainingRows, solver: str, n_removals: int
) -> tuple[str, int, list[str]]:
    """Return the solver's name, how many trainings are repeated for a network, and why."""
    recipes = [model.recipe for model in models]
    known = [each for each in recipes if isinstance(each, Recipe)]
    obstacle = next((each.not_rewound for each in known if each.not_rewound), None)
    if solver == "rewind":
        if obstacle is not None:
            raise ValueError(
                f"solver='rewind' imitates the training by descent on its loss, but {obstacle}. "
                "Use solver='replay'."
            )
        return "rewind", 0, ["solver: rewind, as asked for."]
    if len(known) < len(models):
        unknown = next(each for each in recipes if not isinstance(each, Recipe))
        why = unknown or "a bare module does not say how it was trained"
        if solver == "replay":
            raise ValueError(
                f"solver='replay' repeats the training, which cannot be done: {why}. "
                "Use solver='rewind', or wrap the network in a skorch net with its training "
                "(FrozenEstimator(net) if it is trained)."
            )
        if not _may_be_mixed(models, rows, n_removals):
            return "rewind", 0, [f"solver: rewind, as the training cannot be repeated: {why}."]
        reason = (
            f"solver: rewind, mixed with a usual training (descent with momentum) from "
            f"{_N_STARTS} seeds, as the training cannot be repeated: {why}."
        )
        return "mixed", _N_STARTS, [reason]
    once = sum(_operations(model, rows) for model in models) * (n_removals + 1)
    cost = f"{once:.1e} operations for {n_removals + 1} trainings side by side"
    is_small = all(_operations_of_a_step(model, rows) <= _MOST_OF_A_STEP for model in models)
    wanted = -(-_N_STARTS // len(models)) if is_small else 1
    n_starts = int(max(0, min(wanted, _MOST_OPERATIONS // once)))
    if solver == "replay":
        reason = f"solver: replay, as asked for ({cost})."
    elif obstacle is not None and once > _MOST_OPERATIONS:
        reason = f"solver: replay, though it is expensive ({cost}), as {obstacle}."
    elif n_starts:
        reason = f"solver: replay, as the training is known and cheap enough ({cost})."
    else:
        reason = (
            f"solver: rewind, as repeating the training is too expensive ({cost}; at most "
            f"{_MOST_OPERATIONS:.0e}). solver='replay' repeats it all the same."
        )
        return "rewind", 0, [reason]
    n_starts = max(1, n_starts)
    why = "" if is_small else ", as the steps of large networks save little side by side"
    seeds = "new seeds" if known[0].seed is None else "its own seed and new ones"
    return "replay", n_starts, [reason, f"starts: {n_starts} for each network, from {seeds}{why}."]


def _choose_steps(max_iter: int | str, *, is_whole: bool, is_distilled: bool) -> tuple[int, str]:
    """Return the steps of the distillation, and why so many."""
    if max_iter != "auto" and is_whole and max_iter:
        return 0, "distillation: none, as the synset is all rows; set synset_size, too."
    if max_iter != "auto":
        return int(max_iter), f"distillation: {max_iter} steps, as asked for."
    if is_distilled:
        return _AUTO_STEPS, f"distillation: {_AUTO_STEPS} steps, as networks are only rewound."
    return 0, "distillation: none, as it gains little; max_iter=... asks for it."


def _choose_probes(
    models: list[FunctionalModel],
    rows: TrainingRows,
    n_probes: int | str,
    n_removals: int,
    n_starts: int,
) -> ProbePlan:
    """Choose the probes by the cost of one training, which all networks share."""
    model, operations = models[0], None
    is_usual = not all(isinstance(each.recipe, Recipe) for each in models)
    if n_probes == 0:
        operations = None
    elif not is_usual:
        operations = _operations(model, rows)
    elif not is_single_layer(model):
        operations = _USUAL_EPOCHS * len(rows.X) * _operations_per_row(model, rows)
    n_replayed = n_starts * len(models) * (n_removals + 1)
    return choose_probes(
        n_probes,
        len(rows.rows_by_group),
        operations,
        n_replayed * (operations or 0.0),
        is_usual=is_usual,
    )


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


def _operations_of_a_step(model: FunctionalModel, rows: TrainingRows) -> float:
    """Return about how many operations a step of one network takes."""
    assert isinstance(model.recipe, Recipe)
    return model.recipe.batch_size * _operations_per_row(model, rows)


def _operations_per_row(model: FunctionalModel, rows: TrainingRows) -> float:
    """Return the operations of products that take as long as the gradient of one row's loss."""
    return flops_of_gradient(model, rows.X) * (_CONVOLUTION if convolves(model) else 1)
