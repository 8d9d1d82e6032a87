"""Regimes on constructed measurements whose verdicts are known; late entry and early exit are the special case."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import bounds
from tests.vlm.decisions.test_conditions import made
from vlm import SkipPlan, attention, decide, load, operations_ratio, probe, skipping, tiny
from vlm.decisions.four_regimes import THEOREMS_OF, regimes


def test_two_conditions_make_four_regimes():
    #          remove  freeze  keep  exit-like but read later  keep  remove  exit
    close = [1.0, 1.0, 0.3, 0.3, 0.3, 1.0, 0.3]
    ratio = [0.02, 0.5, 0.5, 0.02, 0.5, 0.02, 0.02]
    result = regimes(decide(*made(close, ratio)))
    assert result.layers["regime"].tolist() == ["remove", "freeze", "keep", "keep", "keep", "remove", "exit"]
    assert result.plan == SkipPlan.parse("vision:0-1+5-7/freeze:1-2")
    assert (result.late_entry, result.early_exit) == (1, 5)
    assert regimes(decide(*made(close, ratio)), freeze=False).plan == SkipPlan.parse("vision:0-1+5-7")
    assert "decision" not in result.layers.columns
    assert repr(result) == "Regimes(plan vision:0-1+5-7/freeze:1-2: 2 remove, 1 freeze, 1 exit, 3 keep)"


def test_late_entry_and_early_exit_are_the_special_case():
    rng = np.random.default_rng(0)
    seen = set()
    for seed in range(40):
        close = rng.choice([1.0, 0.3, 0.95], size=6, p=[0.6, 0.2, 0.2])
        ratio = rng.choice([0.02, 0.5, 0.1], size=6, p=[0.6, 0.2, 0.2])
        decision = decide(*made(close, ratio, seed=seed))
        result = regimes(decision)
        names = result.layers["regime"].tolist()
        entry = next((i for i, name in enumerate(names) if name != "remove"), 6)
        leave = next((i for i in range(6, -1, -1) if i == 0 or names[i - 1] not in ("remove", "exit")), 0)
        assert (entry, leave) == (decision.late_entry, decision.early_exit)
        # Without interior layers to remove, and without freezing, the regimes' plan is the decision's.
        inside = SkipPlan()
        for layer in range(entry, leave):
            if names[layer] == "remove":
                inside |= SkipPlan.skip("vision", layer, layer + 1)
        assert regimes(decision, freeze=False).plan.resolved(6) == (decision.plan | inside).resolved(6)
        seen |= set(names) | {"inside"} if inside else set(names)
    assert seen == {*THEOREMS_OF, "inside"}


def test_undecided_conditions_allow_nothing():
    few = decide(*made([1.0, 1.0, 1.0], [0.02, 0.5, 0.05], samples=4))
    assert set(few.layers["redundant"]) == {"undecided"}
    assert regimes(few).layers["regime"].tolist() == ["keep"] * 3
    assert not regimes(few).plan
    # Undecided attention: redundancy alone allows freezing and nothing else.
    close = decide(*made([1.0], [0.1]), tokens="answer", heads="mean")
    assert close.layers["attention_small"].tolist() == ["undecided"]
    assert regimes(close).layers["regime"].tolist() == ["freeze"]


def test_theorems_are_those_of_the_library_and_every_layer_names_its_own():
    names = {theorem.name for theorem in bounds.THEOREMS}
    assert {name for used in THEOREMS_OF.values() for name in used} <= names
    result = regimes(decide(*made([1.0, 1.0, 0.3, 0.3], [0.02, 0.5, 0.5, 0.02])))
    remove, freeze, keep, leave = result.layers["theorems"].tolist()
    assert "late_entry_propagation" in remove
    assert "skip_set_propagation" in freeze
    assert keep == ""
    assert "early_exit_propagation" in leave
    reasons = result.reasons()
    assert reasons[1].startswith(
        "layer 1: freeze (squared_distance_from_norms + skip_set_propagation); redundancy holds"
    )
    assert "nothing allows more" in reasons[2]


def test_runs_add_up_what_adjacent_distances_allow():
    decision = decide(*made([1.0, 1.0, 0.3, 1.0, 0.3], [0.5, 0.5, 0.5, 0.02, 0.02]))
    result = regimes(decision)
    # The last two layers are left for good: those states are not used again.
    assert decision.early_exit == 3
    assert result.runs["start"].tolist() == [0]
    assert result.runs["stop"].tolist() == [2]
    angle = math.acos(1 - 0.05)
    assert result.runs["chained"][0] == pytest.approx(1 - math.cos(2 * angle))
    low = decision.layers["close_low"]
    assert result.runs["far_high"][0] == pytest.approx((1 - low[0]) + (1 - low[1]))
    nothing = regimes(decide(*made([0.3], [0.5])))
    assert len(nothing.runs["start"]) == 0


def test_accumulated_distances_judge_the_run_itself():
    close, read = [1.0] * 5, [0.5] * 3 + [0.02] + [0.5]
    records = made(close, read, entry=[1.0, 1.0, 1.0, 1.0, 0.3])
    assert str(regimes(decide(*records)).plan) == "vision:3-4/freeze:0-3+4-5"
    decision = decide(*records, accumulated=True)
    result = regimes(decision)
    assert str(result.plan) == "vision:3-4/freeze:0-3"
    assert result.runs["chained"].tolist() == [0.05]
    assert result.runs["far_high"].tolist() == pytest.approx([1 - decision.layers["close_low"][3]])
    # Back from far away is not redundant; a run that starts late goes through state 0.
    records = made(close, [0.5] * 5, entry=[1.0, 0.3, 1.0, 0.98, 1.0])
    decision = decide(*records, accumulated=True)
    result = regimes(decision)
    assert str(result.plan) == "freeze:0-1+3-5"
    low = decision.layers["close_low"]
    assert result.runs["chained"].tolist() == pytest.approx([0.05, 1 - math.cos(2 * math.acos(0.95))])
    assert result.runs["far_high"].tolist() == pytest.approx([1 - low[0], (1 - low[2]) + (1 - low[4])])


def test_where_every_layer_is_redundant_and_read_all_may_be_frozen_and_nothing_removed():
    model, processor = load("tiny-scaled")
    asked = tiny.questions(split="validation", limit=160, kinds=("location",))
    batch = processor(
        images=[q.image for q in asked], text=[q.prompt for q in asked], return_tensors="pt", padding=True
    )

    def answers(plan):
        with torch.inference_mode(), skipping(model, plan):
            return model(**batch, logits_to_keep=1).logits[:, -1].argmax(-1)

    with torch.inference_mode(), probe(model) as record, attention(model) as seen:
        full = model(**batch, logits_to_keep=1).logits[:, -1].argmax(-1)
    for accumulated in (False, True):
        decision = decide(record, seen, accumulated=accumulated)
        assert not decision.plan
        assert str(regimes(decision).plan) == "freeze:0-10"
    assert operations_ratio(model, "freeze:0-10", vision=36, text=11) < 0.4
    assert (answers("freeze:0-10") == full).float().mean() > 0.98
    assert (answers("vision:0-10") == full).float().mean() < 0.5


def test_only_a_decision_is_accepted():
    with pytest.raises(TypeError, match=r"decision: expected the result of vlm.decide, got dict"):
        regimes({})
