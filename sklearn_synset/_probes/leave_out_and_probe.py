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
    no_probes,
    probe_block,
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
    probed = draw_probes(synset.n_groups, plan.n_probes, generator)
    plans = _replay_plans(models, rows, plan, leave_out, seeds)
    if plans is None:
        usual = LeaveOut(
            usual_rewind(models[0]),
            batch_size=leave_out.batch_size,
            seed=seeds.probes,
            n_jobs=leave_out.n_jobs,
            verbose=leave_out.verbose,
        )
        probes = rewound_probes(models, rows, usual, probed, generator)
        networks, _ = leave_groups_out(models, synset, leave_out, None, kept, rows, plan)
        return networks, probes
    block = probe_block(probed.to(kept), seeds.probes)
    own = plans
    if not plan.is_whole:
        probes = replayed_probes(models, plans, probed, block)
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
        others=block if plan.is_whole else [],
    )
    if plan.is_whole:
        probes = Probes(probed, found) if block else no_probes(probed, models)
    return networks, probes


def _replay_plans(
    models: list[FunctionalModel],
    rows: TrainingRows,
    plan: Plan,
    leave_out: LeaveOut,
    seeds: PlanSeeds,
) -> list[ReplayPlan] | None:
    """Return how trainings on the real rows are repeated; None if networks are only rewound."""
    if plan.solver == "rewind":
        return None
    is_generic = plan.solver == "mixed"
    recipes: list[Recipe] = []
    for model in models:
        recipe = model.recipe
        if is_generic:
            recipe = generic_recipe(model, rows, seeds.starts)
        if not isinstance(recipe, Recipe):
            return None
        recipes.append(recipe)
    return replay_plans(
        models,
        recipes,
        rows,
        plan.n_starts,
        seeds.starts,
        leave_out.n_jobs,
        leave_out.verbose,
        is_generic=is_generic,
    )
