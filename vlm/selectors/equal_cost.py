"""Accuracy of every method's choice at equal cost, on questions of the embedded model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlm import tiny
from vlm.engine.skipping import skipping
from vlm.evaluation.accuracy import paired_difference, score_accuracy
from vlm.evaluation.plan_accuracy import PlanAccuracy
from vlm.plans.plan import SkipPlan
from vlm.selectors.ranking import Ranking
from vlm.table import Table

# One plan for all questions, or one for each.
Step = SkipPlan | Sequence[SkipPlan]


@dataclass(frozen=True, eq=False)
class Ladder:
    """What one method would do at every budget, mildest first.

    Attributes
    ----------
    method, action : str
        Name, and what is done, in words.
    steps : iterable of SkipPlan, or of one SkipPlan per question
        Methods that choose image tokens by the picture or the prompt have a plan per question, all of one cost.
    """

    method: str
    action: str
    steps: Iterable[Step]

    @classmethod
    def of(cls, ranking: Ranking) -> Ladder:
        """Every number of units of a ranking."""
        return cls(ranking.method, ranking.action, [ranking.plan(number) for number in range(ranking.units + 1)])


def equal_cost(judge: PlanAccuracy, ladders: Sequence[Ladder], ratios: Sequence[float]) -> Table:
    """Take from each ladder the mildest step that costs at most each ratio, and measure its accuracy.

    Parameters
    ----------
    judge : PlanAccuracy
        Model and held-out questions.
    ratios : sequence of float
        Operations over those without a plan, in (0, 1]; prefill of one prompt.

    Returns
    -------
    Table
        One row per ratio and method: at_most, method, action, plan ("one per prompt" where they differ),
        operations_ratio, accuracy with accuracy_low and accuracy_high, and change from no plan, paired question by
        question, with change_low and change_high; intervals over images at 95%. NaN where no step is cheap enough.
    """
    rows = []
    for ratio in ratios:
        for ladder in ladders:
            found = next(((s, c) for s in ladder.steps if (c := _cost(judge, s)) <= ratio), None)
            rows.append({"at_most": ratio, "method": ladder.method, "action": ladder.action, **_judged(judge, found)})
    return Table.from_rows(rows)


def right_under(judge: PlanAccuracy, step: Step) -> NDArray[np.bool_]:
    """Which questions are answered rightly under one plan, or each under its own."""
    if isinstance(step, SkipPlan):
        return judge.right(step)
    if len(step) != len(judge.questions):
        raise ValueError(f"plans: expected one per question ({len(judge.questions)}), got {len(step)}")
    right = np.zeros(len(step), dtype=bool)
    # Questions of one plan run together; the order of the others does not matter.
    order = sorted(range(len(step)), key=lambda i: str(step[i]))
    for _, group in groupby(order, key=lambda i: str(step[i])):
        places = list(group)
        with skipping(judge.model, step[places[0]]):
            right[places] = tiny.correct(
                judge.model, judge.processor, [judge.questions[i] for i in places], batch_size=judge.batch_size
            )
    return right


def _cost(judge: PlanAccuracy, step: Step) -> float:
    return judge.operations_ratio(step if isinstance(step, SkipPlan) else step[0])


def _judged(judge: PlanAccuracy, found: tuple[Step, float] | None) -> dict[str, Any]:
    if found is None:
        return dict(_columns("not possible", np.nan, *[np.nan] * 6))
    step, cost = found
    right = right_under(judge, step)
    accuracy, change = score_accuracy(right, judge.groups), paired_difference(right, judge.full, judge.groups)
    plan = str(step) if isinstance(step, SkipPlan) else "one per prompt"
    return dict(
        _columns(plan, cost, accuracy.value, accuracy.low, accuracy.high, change.value, change.low, change.high)
    )


def _columns(*values: Any) -> Iterator[tuple[str, Any]]:
    names = ("plan", "operations_ratio", "accuracy", "accuracy_low", "accuracy_high")
    return zip((*names, "change", "change_low", "change_high"), values, strict=True)
