"""The plan that measured accuracy certifies: exits and entries in two sequences, fixed before any answer is seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from numpy.typing import ArrayLike

from vlm.evaluation.accuracy import TOLERANCE, certified_layer
from vlm.plans.plan import SkipPlan


class Answers(Protocol):
    """What certifying a plan needs: the answers under any plan, and those without one."""

    @property
    def full(self) -> ArrayLike:
        """Whether the model without a plan answers each question correctly."""

    @property
    def groups(self) -> ArrayLike:
        """Image of each question."""

    def right(self, plan: SkipPlan) -> ArrayLike:
        """Whether each question is answered correctly under a plan."""


def certified_plan(accuracy_of: Answers, depth: int, tolerance: float = TOLERANCE) -> SkipPlan:
    """The plan that skips most among those whose own loss of accuracy is certified to be at most `tolerance`.

    Two sequences of plans, fixed before any answer is seen and mildest first, are tested at half the error
    probability each, and each stops at its first plan that is not certified: early exits alone, and early exit and late
    entry together, in turn one layer more of each. Only a plan that was itself tested is returned: two parts that cost
    nothing apart can cost everything together.
    """
    certified = [SkipPlan()]
    for plans in plan_sequences(depth):
        last = _last_certified(accuracy_of, plans, tolerance)
        if last is not None:
            certified.append(plans[last])
    return max(certified, key=lambda plan: _layers_without_vision(plan, depth))


def _last_certified(accuracy_of: Answers, plans: Sequence[SkipPlan], tolerance: float) -> int | None:
    return certified_layer(
        lambda k: accuracy_of.right(plans[k]),
        accuracy_of.full,
        accuracy_of.groups,
        range(len(plans)),
        tolerance=tolerance,
        confidence=0.975,
    )


def plan_sequences(depth: int) -> tuple[list[SkipPlan], list[SkipPlan]]:
    """Early exits alone, and early exit and late entry in turn one layer further; both from the mildest plan on."""
    exits = [SkipPlan.early_exit(layer).resolved(depth) for layer in range(depth - 1, 0, -1)]
    joint: list[SkipPlan] = []
    for step in range(1, depth):
        leave, enter = depth - (step + 1) // 2, step // 2
        if enter < leave:
            joint.append((SkipPlan.late_entry(enter) | SkipPlan.early_exit(leave)).resolved(depth))
    return exits, joint


def _layers_without_vision(plan: SkipPlan, depth: int) -> int:
    return sum((depth if stop is None else stop) - start for start, stop in plan.resolved(depth).vision)
