"""Plans that no other plan beats in both cost and damage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from redundancy.display import Displayed
from vlm.planner.evidence import Measured
from vlm.plans.plan import SkipPlan


@dataclass(frozen=True, repr=False)
class Scored(Displayed):
    """A plan with its cost and what was measured of it on the search's questions.

    Attributes
    ----------
    plan : SkipPlan
    cost : float
        Relative to the full model.
    loss, kl : float
        Means over the questions it was measured on; KL in nats.
    questions : int
        How many these are.
    method : str
        Where the plan comes from: "search" or the name of a seed.
    """

    plan: SkipPlan
    cost: float
    loss: float
    kl: float
    questions: int
    method: str = "search"


def scored(plan: SkipPlan, cost: float, measured: Measured, method: str = "search") -> Scored:
    """The means of a measurement."""
    return Scored(plan, cost, float(measured.loss.mean()), float(measured.kl.mean()), len(measured), method)


def frontier(
    plans: Sequence[Scored], value: Callable[[Scored], tuple[float, ...]] = lambda s: (s.loss, s.kl)
) -> list[Scored]:
    """The plans that no plan of at most their cost equals or beats in value, dearest (mildest) first."""
    best: list[Scored] = []
    for plan in sorted(plans, key=lambda s: (s.cost, *value(s), str(s.plan))):
        if not best or value(plan) < value(best[-1]):
            best.append(plan)
    return best[::-1]


def fronts(plans: Sequence[Scored], depth: int, value: Callable[[Scored], tuple[float, ...]]) -> list[Scored]:
    """The first `depth` frontiers, each of what the earlier ones leave."""
    rest, out = list(plans), []
    for _ in range(depth):
        front = frontier(rest, value)
        out += front
        names = {str(s.plan) for s in front}
        rest = [s for s in rest if str(s.plan) not in names]
    return out


def thinned(plans: Sequence[Scored], number: int) -> list[Scored]:
    """At most `number` of a frontier's plans, both ends among them, and denser towards the cheap one.

    Mild plans are certified anyway; how close the last certified plan comes to the cheapest depends on the cheap end.
    """
    if len(plans) <= number:
        return list(plans)
    costs = np.array([s.cost for s in plans])
    chosen: set[int] = set()
    for target in costs[-1] + (costs[0] - costs[-1]) * np.linspace(1.0, 0.0, number) ** 2:
        order = np.argsort(np.abs(costs - target), kind="stable")
        chosen.add(next(int(i) for i in order if int(i) not in chosen))
    return [plans[i] for i in sorted(chosen)]
