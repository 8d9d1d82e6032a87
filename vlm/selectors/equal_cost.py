"""Accuracy of the choices of several methods at equal cost, on questions of the embedded model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from redundancy.array_types import BoolArray
from redundancy.display import Displayed
from vlm import tiny
from vlm.engine.skipping import skipping
from vlm.evaluation.accuracy import paired_difference, score_accuracy
from vlm.evaluation.plan_accuracy import PlanAccuracy
from vlm.plans.plan import SkipPlan
from vlm.selectors.ranking import Ranking
from vlm.table import Table

# One plan for all questions, or one plan per question.
Step = SkipPlan | Sequence[SkipPlan]


@dataclass(frozen=True, eq=False, repr=False)
class Ladder(Displayed):
    """The plans of one method at every budget, mildest first.

    Attributes
    ----------
    method, action : str
        Name of the method, and what it does, in words.
    steps : iterable of SkipPlan, or of one SkipPlan per question
        Methods that choose image tokens by the image or the prompt have one plan per question, all of the same cost.
    """

    method: str
    action: str
    steps: Iterable[Step]

    @classmethod
    def of(cls, ranking: Ranking) -> Ladder:
        """The plans of a ranking, for every number of units."""
        return cls(ranking.method, ranking.action, [ranking.plan(number) for number in range(ranking.units + 1)])


def equal_cost(judge: PlanAccuracy, ladders: Sequence[Ladder], ratios: Sequence[float]) -> Table:
    """Measure, at each cost ratio, the accuracy of the mildest step of each ladder that costs at most that much.

    Parameters
    ----------
    judge : PlanAccuracy
        Model and held-out questions.
    ladders : sequence of Ladder
        One per method.
    ratios : sequence of float
        Operations divided by those without a plan, in (0, 1], for the prefill of one prompt.

    Returns
    -------
    Table
        One row per ratio and method: at_most, method, action, plan ("one per prompt" where they differ),
        operations_ratio, accuracy with accuracy_low and accuracy_high, and change from no plan (paired by question)
        with change_low and change_high; 95% intervals over images. NaN where no step is cheap enough.
    """
    rows = []
    for ratio in ratios:
        for ladder in ladders:
            step = next(((s, c) for s in ladder.steps if (c := _cost(judge, s)) <= ratio), None)
            rows.append({"at_most": ratio, "method": ladder.method, "action": ladder.action, **_judged(judge, step)})
    return Table.from_rows(rows)


def right_under(judge: PlanAccuracy, step: Step) -> BoolArray:
    """Which questions are answered correctly, all under one plan or each under its own."""
    if isinstance(step, SkipPlan):
        return judge.right(step)
    if len(step) != len(judge.questions):
        raise ValueError(f"plans: expected one per question ({len(judge.questions)}), got {len(step)}")
    right = np.zeros(len(step), dtype=bool)
    # Questions with the same plan run together.
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


def _judged(judge: PlanAccuracy, choice: tuple[Step, float] | None) -> dict[str, object]:
    if choice is None:
        return dict(_columns("not possible", np.nan, *[np.nan] * 6))
    step, cost = choice
    right = right_under(judge, step)
    accuracy, change = score_accuracy(right, judge.groups), paired_difference(right, judge.full, judge.groups)
    plan = str(step) if isinstance(step, SkipPlan) else "one per prompt"
    return dict(
        _columns(plan, cost, accuracy.value, accuracy.low, accuracy.high, change.value, change.low, change.high)
    )


def _columns(*values: object) -> Iterator[tuple[str, object]]:
    names = ("plan", "operations_ratio", "accuracy", "accuracy_low", "accuracy_high")
    return zip((*names, "change", "change_low", "change_high"), values, strict=True)
