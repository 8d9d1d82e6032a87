"""SkipPlan as a value: forms round-trip, union is a union, nonsense is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm import SkipPlan

DEPTH = 12
interval = st.tuples(st.integers(0, DEPTH), st.one_of(st.none(), st.integers(0, DEPTH))).map(
    lambda ab: ab if ab[1] is None else tuple(sorted(ab))
)
plans = st.builds(SkipPlan, st.lists(interval, max_size=4).map(tuple), st.lists(interval, max_size=4).map(tuple))


def pairs(plan):
    return {(m, layer) for m in ("vision", "text") for layer in plan.layers(m, DEPTH)}


@given(plans)
def test_text_and_json_round_trip(plan):
    assert SkipPlan.parse(str(plan)) == plan
    assert SkipPlan.from_json(plan.to_json()) == plan
    assert hash(SkipPlan.parse(str(plan))) == hash(plan)


@given(plans, plans)
def test_union_skips_what_either_skips(a, b):
    assert pairs(a | b) == pairs(a) | pairs(b)
    assert (a | b).digest == (b | a).digest


@given(plans)
def test_resolved_skips_the_same_and_has_no_open_end(plan):
    resolved = plan.resolved(DEPTH)
    assert pairs(resolved) == pairs(plan)
    assert all(b is not None for m in ("vision", "text") for _, b in getattr(resolved, m))


def test_the_documented_example():
    plan = SkipPlan.late_entry(4) | SkipPlan.early_exit(24)
    assert str(plan) == "vision:0-4+24-"
    assert str(plan.resolved(32)) == "vision:0-4+24-32"
    assert plan.layers("vision", 32) == frozenset([*range(4), *range(24, 32)])
    assert plan.layers("text", 32) == frozenset()


def test_constructors():
    assert not SkipPlan.late_entry(0)
    assert SkipPlan.late_entry(0) == SkipPlan()
    assert str(SkipPlan()) == "none"
    assert SkipPlan.drop([3, 4]) == SkipPlan.parse("vision:3-5/text:3-5")
    assert str(SkipPlan.skip("text", 1, 2)) == "text:1-2"
    assert not SkipPlan.early_exit(DEPTH).resolved(DEPTH)
    assert SkipPlan.parse("vision:0-2+2-4") == SkipPlan.late_entry(4)


@pytest.mark.parametrize(
    "text", ["vision", "vision:4", "vision:a-b", "audio:0-1", "vision:0-1,3-4", "vision:0-1/vision:2-3", "vision:-3--1"]
)
def test_text_that_is_no_plan(text):
    with pytest.raises(ValueError, match="expected 'none' or"):
        SkipPlan.parse(text)


def test_values_that_are_no_plan():
    with pytest.raises(ValueError, match=">= 0"):
        SkipPlan.late_entry(-1)
    with pytest.raises(ValueError, match=">= 0"):
        SkipPlan(vision=((0.5, 1),))
    with pytest.raises(ValueError, match="START <= STOP"):
        SkipPlan.skip("vision", 3, 1)
    with pytest.raises(ValueError, match="'vision' or 'text'"):
        SkipPlan.skip("audio", 0, 1)
    with pytest.raises(ValueError, match="JSON object"):
        SkipPlan.from_json('{"audio": []}')
    with pytest.raises(ValueError, match="has 4 decoder layers"):
        SkipPlan.late_entry(5).resolved(4)
    with pytest.raises(ValueError, match="has 4 decoder layers"):
        SkipPlan.early_exit(5).resolved(4)
    with pytest.raises(TypeError):
        SkipPlan() | "vision:0-1"


def test_layer_numbers_of_numpy_count_and_fractions_do_not():
    import numpy as np

    assert SkipPlan.late_entry(np.int64(2)) == SkipPlan.late_entry(2)
    assert str(SkipPlan.late_entry(np.int64(2))) == "vision:0-2"
    for wrong in (True, 1.0, "1", None):
        with pytest.raises(ValueError, match="whole layer numbers"):
            SkipPlan.skip("vision", wrong, 3)
    with pytest.raises(ValueError, match="pairs"):
        SkipPlan.from_json('{"vision": [[0]]}')
