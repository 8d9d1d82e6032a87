"""Steps between plans: one action in one layer, exchanges, windows; what is impossible is left out."""

from __future__ import annotations

import itertools

import pytest

from vlm.planner.layer_actions import (
    ACTIONS,
    actions_of,
    checked_actions,
    neighbours,
    plan_from_actions,
    single_steps,
    with_action,
    within,
)
from vlm.plans.plan import SkipPlan

DEPTH = 4


def test_actions_and_plans_are_the_same_thing():
    for actions in itertools.product(ACTIONS, repeat=3):
        plan = plan_from_actions(actions)
        assert actions_of(plan, 3) == actions
        for layer, action in itertools.product(range(3), ACTIONS):
            expected = [*actions[:layer], action, *actions[layer + 1 :]]
            assert with_action(plan, layer, layer + 1, action, 3) == plan_from_actions(expected)


def test_single_steps_of_the_full_model_are_all_actions_of_all_layers():
    steps = dict(single_steps(SkipPlan(), ACTIONS, (0.5,), DEPTH))
    assert len(steps) == DEPTH * 5 + DEPTH - 1
    assert steps[SkipPlan.freeze(2, 3)] == (2, 3, "freeze")
    assert SkipPlan.prune(1, 0.5) in steps


def test_every_plan_of_three_actions_is_reached_by_neighbours():
    actions = ("run", "freeze", "remove")
    seen, fresh = {SkipPlan()}, [SkipPlan()]
    while fresh:
        fresh = [n for plan in fresh for n in neighbours(plan, actions, (), 3) if n not in seen]
        seen.update(fresh)
    assert len(seen) == 27


def test_impossible_and_foreign_plans_are_left_out():
    pruned = SkipPlan.prune(2, 0.5)
    assert with_action(pruned, 1, 2, "remove", DEPTH) is None
    assert with_action(pruned, 1, 2, "freeze", DEPTH) == SkipPlan.parse("freeze:1-2/prune:2=0.5")
    assert within(SkipPlan.freeze(0, 2), ("run", "freeze"), (), DEPTH)
    assert not within(SkipPlan.late_entry(2), ("run", "freeze"), (), DEPTH)
    assert not within(pruned, ("run", "freeze"), (), DEPTH)
    assert not within(SkipPlan.keep(0, None, [1]), ACTIONS, (0.5,), DEPTH)
    assert actions_of(SkipPlan.parse("freeze:1-2/mlp:1-2"), DEPTH)[1] is None


@pytest.mark.parametrize("given", [["jump"], ["run"], []])
def test_actions_are_checked(given):
    with pytest.raises(ValueError, match="actions: expected some of freeze, remove"):
        checked_actions(given)
