"""Facts about the model, the data, the cost and the settings, in words."""

from __future__ import annotations

import numpy as np

from sklearn_synset.inspection._plotting import shortened
from sklearn_synset.inspection._report._effects import Effects
from sklearn_synset.inspection._report._sources import Sources

_LONGEST_MODULE = 4000
_LONGEST_VALUE = 100


def model_facts(sources: Sources) -> list[tuple[str, str]]:
    """Return what is explained."""
    attributor = sources.attributor
    network = attributor.estimator_
    module = getattr(network, "module_", network)
    n_weights = sum(weight.numel() for weight in module.parameters())
    facts = [("Network", type(module).__name__), ("Trained weights", f"{n_weights:,}")]
    if module is not network:
        facts.insert(1, ("Trained by", type(network).__name__))
    if len(attributor.estimators_) > 1:
        facts.append(("Networks", f"{len(attributor.estimators_)}, from different seeds"))
    return facts


def module_text(sources: Sources) -> str:
    """Return the layers of the network, as torch prints them."""
    network = sources.attributor.estimator_
    text = repr(getattr(network, "module_", network))
    return text if len(text) <= _LONGEST_MODULE else text[:_LONGEST_MODULE] + "\n…"


def data_facts(sources: Sources) -> list[tuple[str, str]]:
    """Return what it was trained on, and what is explained."""
    sizes = np.bincount(sources.codes)
    facts = [
        ("Training rows", f"{len(sources.attributor.group_labels_):,}"),
        ("Groups", f"{len(sizes)}, of {sizes.min():,} to {sizes.max():,} rows"),
        ("Queries in this report", f"{len(sources.inputs):,}"),
    ]
    if sources.image_shape is not None:
        shape = " × ".join(str(side) for side in sources.image_shape)
        facts.append(("Inputs", f"pictures of {shape} values"))
    elif sources.feature_names is not None:
        facts.append(("Features", f"{len(sources.feature_names):,}"))
    if sources.class_names is not None:
        facts.append(("Classes", shortened(", ".join(sources.class_names), 200)))
    return facts


def cost_facts(sources: Sources, effects: Effects) -> list[tuple[str, str]]:
    """Return what the explanation took."""
    attributor = sources.attributor
    n_queries, n_groups = effects.effects.shape
    return [
        ("Synset", f"{len(attributor.X_synset_):,} rows represent all training rows"),
        ("Distillation", f"{attributor.n_iter_:,} steps, done once"),
        ("Attributing all queries", f"{effects.seconds:.2g} s for {n_queries:,} predictions"),
        ("Instead of", f"{n_groups} trainings, one without each group"),
    ]


def settings(sources: Sources) -> list[tuple[str, str]]:
    """Return the parameters that were set to something else than their defaults.

    Returns
    -------
    parameters : list of (name, text)
        In alphabetical order; the network is left out.
    """
    defaults = type(sources.attributor)().get_params(deep=False)
    chosen = sources.attributor.get_params(deep=False)
    return [
        (name, shortened(repr(value), _LONGEST_VALUE))
        for name, value in sorted(chosen.items())
        if name != "estimator" and repr(value) != repr(defaults.get(name))
    ]


def plan(sources: Sources) -> list[str]:
    """Return what was decided in `fit` and why, if that is known.

    Returns
    -------
    lines : list of str
        A line for each decision; empty if none are known.
    """
    plan = getattr(sources.attributor, "plan_", None)
    return [] if plan is None else str(plan).splitlines()
