"""What measured plans say about others: sums where layers add up, joint damage where they stand in for each other."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import spearmanr

from vlm.planner.evidence import Measured
from vlm.planner.expected_damage import expected_kl
from vlm.planner.frontier import FLOOR, Scored, scored
from vlm.planner.layer_actions import plan_from_actions
from vlm.plans.plan import SkipPlan

DEPTH = 8
ACTIONS = ("run", "freeze", "remove")
EVERY = [plan_from_actions(actions) for actions in itertools.product(ACTIONS, repeat=DEPTH)]


def skipped(plan):
    return {layer for kind in ("vision", "frozen") for a, b in getattr(plan, kind) for layer in range(a, b)}


def additive(plan):
    return sum(0.001 * (layer + 1) for layer in skipped(plan))


def either(plan):
    """Layers 2 and 5 can do the same job."""
    return 0.002 * len(skipped(plan)) + 1.0 * ({2, 5} <= skipped(plan))


def measured(plans, damage, questions=64):
    return [Scored(p, 0.5, 0.0, damage(p), questions, typical_kl=damage(p) + FLOOR) for p in plans]


def singles(damage):
    return {
        (layer, action): damage(plan)
        for layer in range(DEPTH)
        for action, plan in (
            ("freeze", SkipPlan.freeze(layer, layer + 1)),
            ("remove", SkipPlan(vision=((layer, layer + 1),))),
        )
    }


def test_without_measured_plans_single_damages_add_up():
    found = expected_kl([SkipPlan.freeze(1, 3), SkipPlan()], [], singles(additive), depth=DEPTH)
    assert found == pytest.approx([FLOOR + 0.002 + 0.003, FLOOR])


@pytest.mark.parametrize("damage", [additive, either])
def test_a_few_measured_plans_order_the_others(damage):
    rng = np.random.default_rng(0)
    chosen = rng.permutation(len(EVERY))
    known, asked = ([EVERY[i] for i in part] for part in (chosen[:150], chosen[150:1150]))
    # Even where the prior says the opposite of the truth.
    for prior in (singles(damage), {key: 0.1 - value for key, value in singles(additive).items()}):
        found = expected_kl(asked, measured(known, damage), prior, depth=DEPTH)
        assert spearmanr(found, [damage(p) for p in asked]).statistic > 0.8


def test_layers_that_stand_in_for_each_other_are_learnt_from_plans_with_both():
    known = [p for p in EVERY if len(skipped(p)) <= 2 and not p.vision]
    asked = [SkipPlan.freeze(2, 6), SkipPlan.freeze(3, 7)]  # four layers each; the first holds both 2 and 5
    with_both, without = expected_kl(asked, measured(known, either), singles(either), depth=DEPTH)
    assert with_both > 3 * without
    # One-layer damages alone cannot tell.
    blind = expected_kl(
        asked, measured([p for p in known if len(skipped(p)) == 1], either), singles(either), depth=DEPTH
    )
    assert blind[0] == pytest.approx(blind[1], rel=0.1)


def test_more_questions_count_more():
    # Both differ from the asked plan in one layer.
    one, other, asked = SkipPlan.freeze(0, 3), SkipPlan.parse("freeze:0-2+4-5"), SkipPlan.freeze(0, 2)
    for many in (one, other):
        known = [
            Scored(plan, 0.5, 0.0, 0.0, 256 if plan == many else 8, typical_kl=0.1 if plan == one else 0.001)
            for plan in (one, other)
        ]
        (found,) = expected_kl([asked], known, {}, depth=DEPTH)
        assert (found > 0.013) == (many == one)
        assert (found < 0.0075) == (many == other)


def test_one_flipped_answer_hardly_moves_the_typical_divergence():
    plan, flipped, broad = SkipPlan.freeze(0, 1), np.zeros(8), np.full(8, 0.1)
    flipped[3] = 6.0
    one, other = (scored(plan, 0.5, Measured(kl, kl < 1, (kl >= 1) * 1.0)) for kl in (flipped, broad))
    assert one.kl > 5 * other.kl
    assert one.typical_kl < 0.1 * other.typical_kl
    assert one.typical_kl == pytest.approx(np.exp((7 * np.log(FLOOR) + np.log(6 + FLOOR)) / 8))
    assert one.cautious_loss() == pytest.approx(1 / 8 + 1 / 8)
    assert Scored(SkipPlan(), 1.0, 0.0, 0.0, 8).cautious_loss() == 0.0
