"""Probes within a budget."""

import pytest

from sklearn_synset._attribution.choose_probes import choose_probes

# Operations of a training and of all that leave groups out, and groups: groups and seeds probed.
BUDGETS = {
    "cheap": (1e6, 0.0, 20, (8, 2)),
    "in budget": (1e11 / 18, 0.0, 20, (8, 2)),
    "fewer groups": (1e11 / 10.5, 0.0, 20, (4, 2)),
    "one seed": (1e11 / 9.5, 0.0, 20, (8, 1)),
    "one seed, few groups": (1e11 / 4, 0.0, 20, (3, 1)),
    "a quarter of replay": (1e12, 80e12, 40, (8, 2)),
    "little replay": (1e11, 4e11, 3, (3, 1)),
    "a twelfth of retraining": (5e10, 0.0, 119, (4, 2)),
    "at most 1e12": (2e11, 0.0, 10_000, (4, 1)),
}


def chosen(n_probes, operations, replayed, n_groups, is_usual=False):
    return choose_probes(n_probes, n_groups, operations, replayed, is_usual=is_usual)


@pytest.mark.parametrize("name", BUDGETS)
def test_as_many_groups_are_probed_as_the_budget_allows(name):
    operations, replayed, n_groups, expected = BUDGETS[name]
    plan = chosen("auto", operations, replayed, n_groups)
    assert (plan.n_groups, plan.n_seeds) == expected and plan.how == "training"
    assert plan.reason == "" and f"up to {expected[0]} groups" in str(plan)


@pytest.mark.parametrize(("operations", "n_groups"), [(4e10, 20), (1.1e11, 20), (3e11, 10_000)])
def test_probes_that_are_too_expensive_are_none_of_the_fidelity(operations, n_groups):
    plan = chosen("auto", operations, 0.0, n_groups)
    assert plan.how == "rewinding" and f"{operations:.1e} operations" in plan.reason
    assert str(plan).startswith("fidelity: not measured, as repeating the training takes")


def test_a_number_of_probes_is_made_at_any_cost():
    plan = chosen(5, 1e15, 0.0, 20)
    assert (plan.how, plan.n_groups, plan.n_seeds, plan.reason) == ("training", 5, 1, "")
    assert chosen(5, 1e6, 0.0, 20).n_seeds == 2


def test_what_is_trained_is_said():
    assert chosen("auto", 1e6, 0.0, 20, is_usual=True).how == "usual training"
    layer = chosen("auto", None, 0.0, 20, is_usual=True)
    assert (layer.how, layer.n_groups, layer.reason) == ("rewinding", 12, "")


def test_no_probes_are_none_at_any_cost():
    assert "not measured" in str(chosen(0, 1e6, 0.0, 20)) and chosen(0, None, 0.0, 20).reason
