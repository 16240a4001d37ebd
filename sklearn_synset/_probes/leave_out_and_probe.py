"""Groups left out of the synset, and some of them out of the real rows to compare with."""

import torch

from sklearn_synset._attribution.choose_plan import Plan, usual_rewind
from sklearn_synset._attribution.leave_out_networks import (
    LeaveOutNetworks,
    leave_groups_out,
    removals,
)
from sklearn_synset._data.training_data import TrainingRows
from sklearn_synset._network.functional_model import FunctionalModel
from sklearn_synset._network.recipe import Recipe
from sklearn_synset._probes.probes import (
    Probes,
    draw_probes,
    probe_blocks,
    replayed_probes,
)
from sklearn_synset._probes.rewound_probes import rewound_probes
from sklearn_synset._replay.generic_recipe import generic_recipe
from sklearn_synset._replay.leave_out import ReplayPlan, replay_plans
from sklearn_synset._retraining.leave_out import LeaveOut
from sklearn_synset._retraining.synset import Synset
from sklearn_synset._runtime.torch_interop import PlanSeeds


def leave_out_and_probe(
    models: list[FunctionalModel],
    rows: TrainingRows,
    synset: Synset,
    plan: Plan,
    leave_out: LeaveOut,
    seeds: PlanSeeds,
) -> tuple[LeaveOutNetworks, Probes]:
    """Leave groups out by a plan, and measure some effects on the real rows.

    Parameters
    ----------
    models : list of FunctionalModel
        The explained networks.

    rows : TrainingRows
        Their training rows.

    synset : Synset
        What groups are left out of.

    plan : Plan
        How.

    leave_out : LeaveOut
        How networks are rewound. For probes they are rewound in the usual way, whatever the
        settings.

    seeds : PlanSeeds
        Of what is random.

    Returns
    -------
    networks : LeaveOutNetworks
        Ready for queries.

    probes : Probes
        The same for any settings of the synset.
    """
    kept = removals(synset, plan.n_halves, seeds.removals)
    generator = torch.Generator().manual_seed(seeds.probes)
    probed = draw_probes(synset.n_groups, plan.probes.n_groups, generator)
    blocks = probe_blocks(probed.to(kept), seeds.probes, plan.probes.n_seeds)
    plans, probing = _plans(models, rows, plan, leave_out, seeds)
    if probing is None:
        reason = plan.probes.reason
        if plan.probes.how == "usual training":
            reason = "neither its training nor a usual one can be repeated"
        usual = LeaveOut(
            usual_rewind(models[0]),
            batch_size=leave_out.batch_size,
            seed=seeds.probes,
            n_jobs=leave_out.n_jobs,
            verbose=leave_out.verbose,
        )
        probes = rewound_probes(models, rows, usual, probed, generator, reason)
    elif not plan.is_whole:
        probes = replayed_probes(models[0], probing, probed, blocks)
    own = plans
    if plans is not None and not plan.is_whole:
        own = [
            each.of_synset(model, synset, has_groups=True)
            for each, model in zip(plans, models, strict=True)
        ]
    networks, found = leave_groups_out(
        models,
        synset,
        leave_out,
        own,
        kept,
        rows,
        plan,
        others=blocks if plan.is_whole else [],
    )
    if plan.is_whole and probing is not None:
        probes = Probes(probed, found)
    return networks, probes


def _plans(
    models: list[FunctionalModel],
    rows: TrainingRows,
    plan: Plan,
    leave_out: LeaveOut,
    seeds: PlanSeeds,
) -> tuple[list[ReplayPlan] | None, ReplayPlan | None]:
    """Return how trainings are repeated on the real rows, for answers and for probes.

    None for networks that are only rewound.
    """
    plans = None
    if plan.solver != "rewind":
        is_generic = plan.solver == "mixed"
        plans = _replay_plans(models, rows, plan.n_starts, leave_out, seeds, is_generic=is_generic)
    if plan.probes.how == "rewinding":
        return plans, None
    if plan.solver != "rewind":
        return plans, None if plans is None else plans[0]
    is_generic = plan.probes.how == "usual training"
    own = _replay_plans(models[:1], rows, 1, leave_out, seeds, is_generic=is_generic)
    return None, None if own is None else own[0]


def _replay_plans(
    models: list[FunctionalModel],
    rows: TrainingRows,
    n_starts: int,
    leave_out: LeaveOut,
    seeds: PlanSeeds,
    *,
    is_generic: bool,
) -> list[ReplayPlan] | None:
    """Return how trainings on the real rows are repeated; None if there is no usual one."""
    recipes: list[Recipe] = []
    for model in models:
        recipe = generic_recipe(model, rows, seeds.starts) if is_generic else model.recipe
        if not isinstance(recipe, Recipe):
            return None
        recipes.append(recipe)
    return replay_plans(
        models,
        recipes,
        rows,
        n_starts,
        seeds.starts,
        leave_out.n_jobs,
        leave_out.verbose,
        is_generic=is_generic,
    )
