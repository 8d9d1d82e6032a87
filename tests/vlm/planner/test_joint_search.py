"""The search on worlds whose losses are known: layers that stand in for each other, layers that need each other."""

from __future__ import annotations

import itertools
from functools import cache

import numpy as np
import pytest

from vlm.planner.evidence import BudgetSpent, Evidence, Measured, steps_of
from vlm.planner.joint_search import Search, SearchSettings
from vlm.planner.layer_actions import actions_of
from vlm.planner.seed_plans import allowed, shape_seeds
from vlm.plans.plan import SkipPlan

DEPTH, SIZE = 8, 256
ACTIONS = ("run", "freeze", "remove")
SAVED = {"run": 0.0, "freeze": 0.08, "remove": 0.1}
NOISE = np.random.default_rng(0).exponential(1.0, SIZE)


@cache
def cost(plan):
    return 1.0 - sum(SAVED[action] for action in actions_of(plan, DEPTH))


def both_or(actions):
    """Layers 2 and 5 can do the same job: each is free alone, both together are fatal. The first layer is needed."""
    out = [action != "run" for action in actions]
    return 0.002 * sum(out) + 2.0 * (out[2] and out[5]) + 1.0 * out[0]


def both_and(actions):
    """Layers 3 and 4 do one job together: leaving out either costs as much as leaving out both, little."""
    out = [action != "run" for action in actions]
    return 0.001 * sum(out) + 0.004 * (out[3] or out[4]) + 0.5 * out[7] + 0.3 * sum(a == "remove" for a in actions[:2])


def world(damage):
    """Evidence of a world: KL of each question, and an answer that changes where it is large."""

    def measure(plan, start, stop):
        kl = damage(actions_of(plan, DEPTH)) * NOISE[start:stop]
        return Measured(kl, kl < 0.3, (kl >= 0.3).astype(float))

    return measure


def exhaustive(damage, max_loss):
    """The cheapest of all plans within the promise, on all questions."""
    fine = (a for a in itertools.product(ACTIONS, repeat=DEPTH) if (damage(a) * NOISE >= 0.3).mean() <= max_loss)
    return min(1.0 - sum(SAVED[action] for action in actions) for actions in fine)


@pytest.mark.parametrize("damage", [both_or, both_and], ids=["or", "and"])
@pytest.mark.parametrize("max_loss", [0.01, 0.05])
def test_the_search_finds_the_exhaustive_optimum(damage, max_loss):
    evidence = Evidence(world(damage), SIZE, "search")
    search = Search(evidence, cost, DEPTH, SearchSettings(ACTIONS, max_loss=max_loss))
    found = search.run(allowed(shape_seeds(DEPTH, ACTIONS, ()), ACTIONS, (), DEPTH))
    best = min((s for s in found if s.loss <= max_loss), key=lambda s: s.cost)
    assert search.complete
    assert best.questions == SIZE
    assert best.cost <= 1.05 * exhaustive(damage, max_loss)
    assert evidence.forwards <= 0.1 * 3**DEPTH * SIZE


def test_a_prior_that_misleads_does_not_decide():
    # By its single damages, layers 2 and 5 cost nothing; a prior that says the opposite of the truth orders only.
    lies = {(layer, action): 5.0 if layer in (3, 4) else 0.0 for layer in range(DEPTH) for action in ACTIONS[1:]}
    evidence = Evidence(world(both_or), SIZE, "search")
    search = Search(evidence, cost, DEPTH, SearchSettings(ACTIONS, max_loss=0.01), prior=lies)
    found = search.run(allowed(shape_seeds(DEPTH, ACTIONS, ()), ACTIONS, (), DEPTH))
    best = min((s for s in found if s.loss <= 0.01), key=lambda s: s.cost)
    assert best.cost <= 1.05 * exhaustive(both_or, 0.01)


def test_a_budget_ends_the_search_and_keeps_what_was_found():
    def spent(count):
        if count >= 500:
            raise BudgetSpent

    evidence = Evidence(world(both_or), SIZE, "search", spent=spent)
    search = Search(evidence, cost, DEPTH, SearchSettings(ACTIONS))
    found = search.run(allowed(shape_seeds(DEPTH, ACTIONS, ()), ACTIONS, (), DEPTH))
    assert not search.complete
    assert 500 <= evidence.forwards < 600
    assert found[0].plan == SkipPlan()
    assert len(found) > 1


def test_the_frontier_is_never_behind_a_seed():
    evidence = Evidence(world(both_and), SIZE, "search")
    search = Search(evidence, cost, DEPTH, SearchSettings(ACTIONS, max_loss=0.05))
    seeds = allowed(shape_seeds(DEPTH, ACTIONS, ()), ACTIONS, (), DEPTH)
    found = search.run(seeds)
    for plan in seeds:
        true = evidence.measure(plan, 0, SIZE).loss.mean()
        if true <= 0.05:
            assert any(s.cost <= cost(plan) + 1e-9 and s.loss <= max(true, 0.05) for s in found)


def test_what_is_known_is_not_measured_again():
    kept = []
    first = Evidence(world(both_or), SIZE, "search", keep=kept.extend)
    plans = [SkipPlan.freeze(k, k + 1) for k in range(4)]
    values = [first.on(plan, 32).kl for plan in plans]

    def refuse(*args):
        raise AssertionError("measured again")

    again = Evidence(refuse, SIZE, "search", known=kept)
    assert all((again.on(plan, 32).kl == value).all() for plan, value in zip(plans, values, strict=True))
    assert again.forwards == first.forwards == 4 * 32
    assert steps_of(100) == [8, 16, 32, 64, 100]


def test_what_a_small_budget_leaves_goes_into_more_questions():
    def spent(count):
        if count >= (400 if search.refining else 260):
            raise BudgetSpent

    evidence = Evidence(world(both_or), SIZE, "search", spent=spent)
    search = Search(evidence, cost, DEPTH, SearchSettings(ACTIONS, max_loss=0.05))
    found = search.run(allowed(shape_seeds(DEPTH, ACTIONS, ()), ACTIONS, (), DEPTH))
    assert evidence.forwards >= 400
    assert max(s.questions for s in found if s.plan) >= 16


def test_milder_plans_that_saw_fewer_questions_still_come_first():
    evidence = Evidence(world(both_or), SIZE, "search")
    search = Search(evidence, cost, DEPTH, SearchSettings(ACTIONS, compared=16))
    mild, cheap = SkipPlan.freeze(3, 4), SkipPlan.freeze(3, 5)
    evidence.on(mild, 16)
    evidence.on(cheap, 32)
    assert [s.plan for s in search.best()] == [SkipPlan(), mild, cheap]
