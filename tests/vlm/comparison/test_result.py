"""The table of a comparison: percentiles, pairing, simultaneous intervals, and controls of equal cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import bounds
from redundancy import Estimate
from tests.benchmarks.layer_percentiles import percentiles
from vlm import SkipPlan, load, operations_ratio, selectors
from vlm.comparison.calibration import Choices
from vlm.comparison.method_plans import EQUAL, Costs, layer_sets
from vlm.comparison.result import Comparison, Outcome
from vlm.selectors.state_similarity import halves

GROUPS = tuple(f"image {i // 2}" for i in range(40))


def outcome(method, values, *, draw=0, control="", budget=0.5):
    same = tuple(int(v) for v in values)
    return Outcome(budget, method, draw, control, "one per prompt", budget, tuple(range(40)), same, (None,) * 40)


def made(method_values, *draws):
    parts = [outcome("random tokens", values, draw=i) for i, values in enumerate(draws)]
    parts.append(outcome("mine", method_values, control="random tokens"))
    return Comparison(tuple(parts), GROUPS, (float("nan"),) * 40, 0.95, ())


def test_row_8_percentile_counts_the_draws_that_do_worse():
    draws = [np.arange(40) < number for number in (8, 16, 24, 32)]
    (row,) = made(draws[2], *draws).table().rows()
    assert row["percentile"] == pytest.approx((2 + 0.5) / 4)  # two worse, itself a tie
    assert row["draws"] == 4
    means = [d.mean() for d in draws]
    assert (row["control_mean"], row["control_low"]) == pytest.approx((np.mean(means), min(means)))
    (band,) = made(draws[2], *draws).controls().rows()
    assert (band["low"], band["high"], band["draws"]) == (pytest.approx(min(means)), pytest.approx(max(means)), 4)


def test_row_7_differences_are_paired_by_question_over_images_and_hold_together():
    rng = np.random.default_rng(1)
    draws = [rng.random(40) < 0.5 for _ in range(3)]
    mine = draws[0] | (rng.random(40) < 0.3)
    one = made(mine, *draws)
    (row,) = one.table().rows()
    difference = mine - np.mean(draws, axis=0)
    expected = Estimate.over_units(difference, GROUPS, quantity="mean", support=(-1.0, 1.0))
    limits = bounds.certify_mean(expected, 0.95)
    assert row["versus_control"] == pytest.approx(difference.mean())
    assert (row["versus_low"], row["versus_high"]) == pytest.approx((float(limits.low), float(limits.high)))
    # A second method widens the intervals of both.
    two = Comparison((*one.outcomes, outcome("other", ~mine, control="random tokens")), GROUPS, one.full, 0.95, ())
    first = next(two.table().rows())
    assert first["versus_low"] < row["versus_low"]
    assert first["versus_high"] > row["versus_high"]


def test_a_set_that_missed_the_cost_in_some_batch_is_left_out():
    whole = made(np.ones(40), np.zeros(40))
    half = Outcome(0.5, "half", 0, "random tokens", "one per prompt", 0.5, tuple(range(20)), (1,) * 20, (None,) * 20)
    both = Comparison((*whole.outcomes, half), GROUPS, whole.full, 0.95, ())
    assert list(both.table()["method"]) == ["mine"]


def test_row_8_layer_controls_are_all_sets_of_as_many_units_at_equal_cost():
    model, _ = load("tiny")
    costs = Costs(model, 10)
    divergence = np.random.default_rng(0).random((3, 10))
    rankings = [
        selectors.layer_contribution(divergence),
        selectors.withdrawal(divergence),
        selectors.late_insertion(10),
    ]
    choices = [Choices.of(ranking) for ranking in rankings]
    sets = list(layer_sets(choices, costs, 36, 0.75, draws=300, rng=np.random.default_rng(0)))
    controls = {}
    for place, one in enumerate(sets):
        if place % 20 == 0:
            assert abs(operations_ratio(model, one.plans[0], vision=36, text=10) - 0.75) <= 2 * EQUAL
        if not one.control:
            controls.setdefault(one.method, []).append(one.plans[0])
    # Withdrawal and insertion remove image tokens from layers, and share a control.
    freezing, removing = (next(name for name in controls if what in name) for what in ("freeze", "remove"))
    assert len(set(controls[freezing])) == len(controls[freezing]) == 210
    assert len(set(controls[removing])) == 120
    assert all(len(plan.layers("vision", 10)) == 3 for plan in controls[removing])
    assert [one.method for one in sets if one.control] == ["ShortV", "VTW", "DeepInsert"]


def test_row_8_sets_of_sublayers_are_drawn_until_as_many_cost_as_much():
    model, _ = load("tiny")
    costs = Costs(model, 10)
    plans = tuple(halves(tuple(range(number))) for number in range(21))
    method = Choices("AdaSkip", "drop sub-layers", 10, plans)
    for draws in (20, 300):
        rng = np.random.default_rng(0)
        first, *drawn = layer_sets([method], costs, 36, 0.6, draws=draws, rng=rng)
        number = plans.index(first.plans[0])
        assert len({one.plans for one in drawn}) == len(drawn) == draws
        assert [one.draw for one in drawn] == list(range(draws))
        for one in drawn[:: len(drawn) // 10]:
            dropped = [len(one.plans[0].layers(part, 10)) for part in ("attention", "mlp", "vision")]
            assert dropped[0] + dropped[1] + 2 * dropped[2] == number
            assert abs(operations_ratio(model, one.plans[0], vision=36, text=10) - first.cost) <= EQUAL
    # Few sets cost as much as four attentions: all of these, and no more.
    attention_first = [*range(0, 20, 2), *range(1, 20, 2)]
    few = replace(method, plans=tuple(halves(tuple(attention_first[:number])) for number in range(21)))
    first, *drawn = layer_sets([few], costs, 36, costs(few.plans[4], 36), draws=300, rng=np.random.default_rng(0))
    assert len(drawn) == 210  # of 4,845
    assert all(len(one.plans[0].layers("attention", 10)) == 4 for one in drawn)


def test_row_8_the_old_random_row_was_a_lucky_draw():
    table = Path(__file__).resolve().parents[2] / "benchmarks" / "plans_tiny-scaled.npz"
    plans = {"old row": "vision:2-3+4-5+7-8+9-10", "insert": "vision:0-4", "freeze": "freeze:5-6+7-10"}
    rows = percentiles(table, {name: SkipPlan.parse(plan) for name, plan in plans.items()})
    lucky, insert, frozen = rows.rows()
    assert (lucky["sets"], insert["sets"], frozen["sets"]) == (210, 210, 210)
    assert lucky["percentile"] > 0.75
    assert insert["percentile"] < 0.2
    assert lucky["median"] == insert["median"] > 2 * lucky["differing"]
    assert (frozen["differing"], frozen["percentile"]) == (0.0, 0.5)  # every set of as many frozen layers is free
