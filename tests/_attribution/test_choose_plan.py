"""How groups are left out, by what is known of the training and by cost."""

import dataclasses

import pytest
import torch
from torch import nn

from sklearn_synset._attribution.choose_plan import choose_plan, choose_rewinding
from sklearn_synset._data.training_data import TrainingRows
from sklearn_synset._retraining.synset import Synset
from tests._retraining.test_linearised_gradient import problem as linearised_problem
from tests.problems import classification_model, regression_model
from tests.replayed import small_net, trained_model


def module():
    return classification_model(60)[0]


def layer():
    return classification_model(60, module=nn.Linear(4, 3).double())[0]


def known(**params):
    return trained_model(*small_net(**params))[0]


def long_training():
    model = known()
    return dataclasses.replace(model, recipe=dataclasses.replace(model.recipe, n_epochs=10**8))


def refused():
    return dataclasses.replace(module(), recipe="the sampler Mine is not known")


def large_steps():
    return known(module=lambda: nn.Sequential(nn.Linear(4, 30_000), nn.Linear(30_000, 3)).double())


REPLAY = ("replay", 2, True)
# Networks, training rows, settings: solver, starts and whether all rows are the synset; a reason.
TABLE = {
    "known": (known, 60, {}, REPLAY, "the training is known and cheap enough"),
    "own seed": (known, 60, {}, REPLAY, "from its own seed and new ones"),
    "many rows": (known, 20_000, {}, ("replay", 2, False), "at most a quarter of the training"),
    "known, compressed": (
        known, 60, {"synset_size": 3}, ("replay", 2, False), "synset_size=3 rows a group, as asked"
    ),
    "expensive": (long_training, 60, {}, ("rewind", 0, False), "too expensive"),
    "expensive, asked for": (
        long_training, 60, {"solver": "replay"}, ("replay", 1, True), "replay, as asked for"
    ),
    "large steps": (large_steps, 60, {}, ("replay", 1, True), "steps of large networks save"),
    "known, rewound": (known, 60, {"solver": "rewind"}, ("rewind", 0, False), "as asked for"),
    "module": (module, 60, {}, ("mixed", 2, False), "a bare module does not say how"),
    "large module": (module, 10**9, {}, ("rewind", 0, False), "cannot be repeated"),
    "single layer": (layer, 60, {}, ("rewind", 0, False), "cannot be repeated"),
    "refused": (refused, 60, {}, ("mixed", 2, False), "the sampler Mine is not known"),
    "steps without use": (known, 60, {"max_iter": 5}, REPLAY, "none, as the synset is all rows"),
    "steps": (
        known, 60, {"max_iter": 5, "synset_size": 2}, ("replay", 2, False), "5 steps, as asked for"
    ),
    "probes": (known, 60, {"n_probes": 3}, REPLAY, "from up to 3 groups, by repeating the"),
    "probes of modules": (module, 60, {}, ("mixed", 2, False), "by a usual training on the real"),
    "probes rewound": (layer, 60, {}, ("rewind", 0, False), "which for a single layer is training"),
    "no probes": (known, 60, {"n_probes": 0}, REPLAY, "not measured, as n_probes=0 asks for none"),
    "expensive probes": (
        long_training, 60, {}, ("rewind", 0, False), "n_probes=8 measures it all the same"
    ),
}  # fmt: skip


def rows_of(n_rows):
    """Return rows of which there are none in memory."""
    X = torch.zeros(1, 4, dtype=torch.float64).expand(n_rows, 4)
    return TrainingRows(X, torch.zeros(1, 3).expand(n_rows, 3), [torch.zeros(0)] * 10, 100)


def chosen(models, n_rows, **settings):
    names = ("solver", "synset_size", "max_iter", "n_probes", "rewind")
    defaults = {name: "auto" for name in names} | {"n_halves": 10}
    return choose_plan(models, rows_of(n_rows), **defaults | settings)


@pytest.mark.parametrize("name", TABLE)
def test_a_plan_says_what_was_chosen_and_why(name):
    build, n_rows, settings, expected, reason = TABLE[name]
    plan = chosen([build()], n_rows, **settings)
    assert (plan.solver, plan.n_starts, plan.is_whole) == expected
    assert reason in str(plan) and str(plan).splitlines() == list(plan.reasons)
    starts = [line.split(":")[0] for line in plan.reasons]
    assert starts[0] == "solver" and starts[-3:] == ["synset", "distillation", "fidelity"]
    by_default = 100 if plan.solver == "rewind" and n_rows < 10**6 else 0
    expected = 0 if plan.is_whole else settings.get("max_iter", by_default)
    assert plan.max_iter == expected


def test_networks_share_the_starts():
    models = [known() for _ in range(2)]
    assert chosen(models, 60).n_starts == 1


def test_what_cannot_be_repeated_is_refused_by_name_if_asked_for():
    with pytest.raises(ValueError, match="cannot be done: the sampler Mine is not known"):
        chosen([refused()], 60, solver="replay")
    with pytest.raises(ValueError, match="imitates the training by descent on its loss, but"):
        weighted = {"criterion__weight": torch.arange(1, 4).double()}
        chosen([known(**weighted)], 60, solver="rewind")


def test_what_cannot_be_rewound_is_replayed_at_any_cost():
    model = known(criterion__label_smoothing=0.1)
    expensive = dataclasses.replace(model.recipe, n_epochs=10**8)
    plan = chosen([dataclasses.replace(model, recipe=expensive)], 60)
    assert (plan.solver, plan.n_starts) == ("replay", 1)
    assert "replay, though it is expensive" in str(plan)


def of_layers(*layers):
    return classification_model(6, module=nn.Sequential(*layers).double())[0]


def normalised():
    return of_layers(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))


def convolutional():
    layers = nn.Unflatten(1, (1, 4)), nn.Conv1d(1, 4, 2), nn.Flatten(), nn.Linear(12, 3)
    return of_layers(*layers)


FIRST_ORDER, MEASURED = "mixed with effects of first order", "the synset lacks of the rows"
SCALED = "steps are preconditioned"
BOTH = f"{MEASURED} is measured, to first order.rewinding: {FIRST_ORDER}"
# Networks, synset rows, settings: how far networks are rewound; what is said of the rest.
REWINDING = {
    "single layer": (layer, 60, {}, 0.9, MEASURED),
    "several layers": (module, 60, {}, 0.5, FIRST_ORDER),
    "not rewound": (module, 60, {"rewind": 0.0}, 0.0, None),
    "random halves": (module, 60, {"n_halves": 30}, 0.5, None),
    "minibatches": (module, 480, {}, 0.5, SCALED),
    "minibatches, not rewound": (module, 480, {"rewind": 0.0}, 0.0, None),
    "minibatches of a layer": (layer, 480, {}, 0.9, MEASURED),
    "normalised": (normalised, 60, {}, 0.8, None),
    "values": (lambda: regression_model(6)[0], 60, {}, 0.5, BOTH),
    "convolutions": (convolutional, 60, {}, 0.5, FIRST_ORDER),
    "replayed": (known, 60, {"solver": "auto"}, 0.5, None),
}


@pytest.mark.parametrize("name", REWINDING)
def test_a_plan_says_what_is_added_to_rewinding(name):
    build, n_rows, settings, rewind, reason = REWINDING[name]
    model = build()
    before = chosen([model], 60, **{"solver": "rewind", "n_halves": None} | settings)
    plan = choose_rewinding(before, model, synset_of(model, n_rows), seed=0)
    assert plan.rewind == rewind
    added = plan.reasons[len(before.reasons) :]
    assert bool(added) == (reason is not None) and (reason or "") in "".join(added)
    assert not plan.linearised
    assert plan.is_measured == (reason in (MEASURED, BOTH))
    assert plan.is_mixed == (reason in (FIRST_ORDER, BOTH))
    assert plan.is_preconditioned == (reason == SCALED)


def test_convolutions_in_minibatches_are_linearised():
    model, synset = linearised_problem()
    before = chosen([model], 60, solver="rewind", n_halves=None, n_probes=0)
    plan = choose_rewinding(before, model, synset, seed=0)
    assert plan.linearised == ("conv", "norm", "head")
    assert not plan.is_measured and not plan.is_mixed
    assert "linearised around that with all groups" in str(plan)


def synset_of(model, n_rows):
    """Return rows of sixty groups."""
    X = torch.randn(n_rows, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = torch.eye(model.n_outputs, dtype=torch.float64)[torch.arange(n_rows) % model.n_outputs]
    group = torch.arange(n_rows) % 60
    return Synset(X, y, torch.ones(n_rows).double(), group, group.bincount().double())
