"""Accuracy at equal cost: which step is chosen, whose answers are counted, and plans that differ by question."""

from __future__ import annotations

import numpy as np
import pytest

from vlm import SkipPlan, load, selectors, skipping, tiny
from vlm.evaluation.plan_accuracy import PlanAccuracy
from vlm.selectors.equal_cost import Ladder, equal_cost, right_under


@pytest.fixture(scope="module")
def judge():
    model, processor = load("tiny")
    return PlanAccuracy(model, processor, tiny.questions(split="validation", limit=20, kinds=tiny.IMAGE_KINDS), 20)


def test_the_mildest_step_within_each_ratio_is_judged(judge):
    ranking = selectors.late_insertion(10)
    table = equal_cost(judge, [Ladder.of(ranking)], (1.0, 0.75, 0.1))
    free, cheap, impossible = table.rows()
    assert (free["plan"], free["operations_ratio"], free["change"]) == ("none", 1.0, 0.0)
    plans = [ranking.plan(n) for n in range(11)]
    step = next(plan for plan in plans if judge.operations_ratio(plan) <= 0.75)
    assert cheap["plan"] == str(step)
    assert cheap["operations_ratio"] == judge.operations_ratio(step)
    right = judge.right(step)
    assert cheap["accuracy"] == pytest.approx(right.mean())
    assert cheap["change"] == pytest.approx(right.mean() - judge.full.mean())
    assert cheap["change_low"] <= cheap["change"] <= cheap["change_high"]
    assert impossible["plan"] == "not possible"
    assert np.isnan(impossible["accuracy"])


def test_each_question_runs_under_its_own_plan(judge):
    plans = [SkipPlan.late_entry(i % 3) for i in range(20)]
    right = right_under(judge, plans)
    for i, plan in enumerate(plans):
        with skipping(judge.model, plan):
            alone = tiny.correct(judge.model, judge.processor, [judge.questions[i]])
        assert right[i] == alone[0]
    assert not right.all()
    (row,) = equal_cost(judge, [Ladder("mixed", "enter late", [plans])], (1.0,)).rows()
    assert row["plan"] == "one per prompt"
    assert row["accuracy"] == pytest.approx(right.mean())
    with pytest.raises(ValueError, match="one per question"):
        right_under(judge, plans[:3])
