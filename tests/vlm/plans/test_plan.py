"""SkipPlan as a value: its forms round-trip, `|` is a union, invalid input is refused."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
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


TOKENS = 7
layer_set = st.sets(st.integers(0, DEPTH - 1), max_size=4)
word = st.one_of(
    st.tuples(st.sampled_from(["vision", "text", "freeze"]), interval),
    st.tuples(st.sampled_from(["attention", "mlp"]), layer_set),
    st.tuples(st.just("keep"), interval, st.sets(st.integers(0, TOKENS - 2))),
    st.tuples(st.just("prune"), st.integers(1, DEPTH), st.sampled_from([0.0, 0.2, 0.5, 1.0])),
)
several_words = st.lists(word, max_size=5)


def plan_of(words):
    plan = SkipPlan()
    for kind, *rest in words:
        if kind in ("vision", "text"):
            plan |= SkipPlan.skip(kind, *rest[0])
        elif kind == "freeze":
            plan |= SkipPlan.freeze(*rest[0])
        elif kind == "keep":
            plan |= SkipPlan.keep(*rest[0], rest[1])
        else:
            build = {"attention": SkipPlan.drop_attention, "mlp": SkipPlan.drop_mlp, "prune": SkipPlan.prune}[kind]
            plan |= build(*rest)
    return plan


def effect(modes, text, attention, mlp, fraction):
    """The same description for all settings of a layer with the same effect."""
    if not (attention or mlp):
        modes, text = ["skipped"] * TOKENS, False
    if not (text and attention):
        modes = ["skipped" if mode == "frozen" else mode for mode in modes]
    gone = all(mode == "skipped" for mode in modes)
    return (tuple(modes), text, None if gone and not text else (attention, mlp), None if gone else fraction)


def said(words, layer):
    """The effect of the parts on a layer, token by token: the strongest takes effect."""
    modes, text, attention, mlp, fraction = ["run"] * TOKENS, True, True, True, 1.0
    for kind, *rest in sorted(words, key=lambda w: w[0] != "freeze"):
        here = kind not in ("prune", "attention", "mlp") and rest[0][0] <= layer < (
            rest[0][1] or (DEPTH if rest[0][1] is None else 0)
        )
        if kind == "freeze" and here:
            modes = ["frozen"] * TOKENS
        elif kind == "vision" and here:
            modes = ["skipped"] * TOKENS
        elif kind == "keep" and here:
            modes = [mode if i in rest[1] else "skipped" for i, mode in enumerate(modes)]
        elif kind == "text" and here:
            text = False
        elif kind == "attention":
            attention = attention and layer not in rest[0]
        elif kind == "mlp":
            mlp = mlp and layer not in rest[0]
        elif kind == "prune" and layer >= rest[0]:
            fraction = min(fraction, rest[1])
    return effect(modes if fraction else ["skipped"] * TOKENS, text, attention, mlp, fraction)


def done(step):
    kept = {i for i in range(TOKENS) for a, b in step.kept if a <= i < (TOKENS if b is None else b)}
    modes = [step.vision if i in kept else "skipped" for i in range(TOKENS)]
    return effect(modes, step.text, step.attention, step.mlp, min([1.0, *(f for _, f in step.pruned)]))


def steps_or_contradiction(plan):
    try:
        return plan.steps(DEPTH)
    except ValueError as error:
        assume("prune at another layer" not in str(error))
        raise


@given(several_words)
def test_a_plan_does_what_its_text_says(words):
    steps = steps_or_contradiction(plan_of(words))
    assert [done(step) for step in steps] == [said(words, layer) for layer in range(DEPTH)]


@given(several_words, several_words)
def test_plans_of_every_kind_round_trip_and_join_in_any_order(some, others):
    a, b = plan_of(some), plan_of(others)
    for plan in (a, a | b):
        assert SkipPlan.parse(str(plan)) == plan
        assert SkipPlan.from_json(plan.to_json()) == plan
        assert not set(str(plan)) & set(", \n")
    assert a | b == b | a == plan_of([*others, *some])
    assert a | a == a
    assert bool(a) == (str(a) != "none")


@given(several_words)
def test_resolving_keeps_the_effect_and_finds_plans_without_one(words):
    plan = plan_of(words)
    steps = steps_or_contradiction(plan)
    resolved = plan.resolved(DEPTH)
    assert resolved.resolved(DEPTH) == resolved
    assert resolved.steps(DEPTH) == steps
    assert bool(resolved) == any(done(step) != said([], 0) for step in steps)


def test_the_text_of_every_kind():
    plan = SkipPlan.freeze(8, 12) | SkipPlan.drop_attention([3, 4]) | SkipPlan.drop_mlp([4])
    plan |= SkipPlan.keep(2, None, [*range(287), 300]) | SkipPlan.prune(2, 0.5)
    # Layer 4 loses both halves and is therefore dropped: the keep no longer mentions it.
    assert str(plan) == (
        "vision:4-5/text:4-5/freeze:8-12/attention:3-4/keep:2-4=0-287+300/keep:5-=0-287+300/prune:2=0.5"
    )
    assert SkipPlan.parse("keep:2-=0-287+300") == SkipPlan.keep(2, None, [*range(287), 300])
    assert str(SkipPlan.parse("keep:0-4=1-/keep:2-=0-3")) == "keep:0-2=1-/keep:2-4=1-3/keep:4-=0-3"
    assert str(SkipPlan.parse("prune:4=0.5/prune:2=0.5/prune:6=0.25")) == "prune:2=0.5/prune:6=0.25"


def test_equivalent_texts_give_equal_plans():
    assert SkipPlan.drop_attention([2]) | SkipPlan.drop_mlp([2]) == SkipPlan.drop([2])
    assert SkipPlan.keep(2, None, []) == SkipPlan.prune(2, 0) == SkipPlan.early_exit(2)
    assert SkipPlan.freeze(2, 6) | SkipPlan.skip("vision", 4, 8) == SkipPlan.parse("vision:4-8/freeze:2-4")
    assert SkipPlan.freeze(1, 2) | SkipPlan.drop_attention([1]) == SkipPlan.parse("vision:1-2/attention:1-2")
    for nothing in ("keep:1-=0-", "prune:3=1", "freeze:3-3"):
        assert SkipPlan.parse(nothing) == SkipPlan()
    assert not SkipPlan.freeze(DEPTH, None).resolved(DEPTH)
    assert str(SkipPlan.parse("vision:4-12/prune:4=0.5").resolved(DEPTH)) == "vision:4-12"


@pytest.mark.parametrize("text", ["prune:2=0.5/vision:1-2", "prune:2=0.5/text:0-3", "attention:4-5/prune:5=0.1"])
def test_pruning_by_an_attention_that_the_plan_removes_is_refused(text):
    with pytest.raises(ValueError, match=r"ranks image tokens.*in layer \d, where the plan removes"):
        SkipPlan.parse(text).resolved(DEPTH)


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
def test_text_that_is_not_a_plan(text):
    with pytest.raises(ValueError, match="expected 'none' or"):
        SkipPlan.parse(text)


@pytest.mark.parametrize("part", ["keep:2-", "keep:2-=", "keep:2-=a", "keep:2=0-3", "prune:2", "prune:2=x", "freeze:1"])
def test_text_that_is_not_a_plan_of_the_newer_kinds(part):
    with pytest.raises(ValueError, match="expected 'none' or"):
        SkipPlan.parse(f"vision:0-1/{part}")


def test_values_that_are_not_a_plan():
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
    with pytest.raises(ValueError, match="layer >= 1"):
        SkipPlan.prune(0, 0.5)
    for wrong in (-0.1, 1.5, float("nan"), True):
        with pytest.raises(ValueError, match="fraction of image tokens"):
            SkipPlan.prune(2, wrong)
    with pytest.raises(ValueError, match="whole token numbers"):
        SkipPlan.keep(0, 2, [0.5])
    for text in ('{"keep": [[0, 1]]}', '{"prune": [[1, "a"]]}', '{"vision": 3}', "[]"):
        with pytest.raises(ValueError, match="JSON object"):
            SkipPlan.from_json(text)
    with pytest.raises(ValueError, match="reaches to 9"):
        SkipPlan.prune(9, 0.5).resolved(8)
    with pytest.raises(TypeError):
        SkipPlan() | "vision:0-1"


def test_numpy_integers_are_layer_numbers_and_fractions_are_not():
    import numpy as np

    assert SkipPlan.late_entry(np.int64(2)) == SkipPlan.late_entry(2)
    assert str(SkipPlan.late_entry(np.int64(2))) == "vision:0-2"
    for wrong in (True, 1.0, "1", None):
        with pytest.raises(ValueError, match="whole layer numbers"):
            SkipPlan.skip("vision", wrong, 3)
    with pytest.raises(ValueError, match="pairs"):
        SkipPlan.from_json('{"vision": [[0]]}')


def test_a_plan_prints_its_text_form():
    assert repr(SkipPlan.late_entry(2) | SkipPlan.freeze(4, 6)) == "SkipPlan('vision:0-2/freeze:4-6')"
    assert repr(SkipPlan()) == "SkipPlan('none')"
