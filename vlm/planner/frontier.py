"""Plans that no other plan beats in both cost and damage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from redundancy.display import Displayed
from vlm.planner.evidence import Measured
from vlm.plans.plan import SkipPlan

# Nats; smaller divergences are all alike.
FLOOR = 1e-3


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
    typical_kl : float
        Geometric mean of KL + FLOOR over the questions, nats: what the search compares. One answer that flips hardly
        moves it, while it decides the mean of few questions.
    """

    plan: SkipPlan
    cost: float
    loss: float
    kl: float
    questions: int
    method: str = "search"
    typical_kl: float = 0.0

    def cautious_loss(self, errors: float = 1.0) -> float:
        """The loss plus so many standard errors, as if of changed answers; a guess for ordering, no limit."""
        if not self.plan:
            return 0.0
        return self.loss + errors * float(np.sqrt(max(self.loss, 1.0 / self.questions) / self.questions))


def scored(plan: SkipPlan, cost: float, measured: Measured, method: str = "search") -> Scored:
    """The means of a measurement."""
    typical = float(np.exp(np.log(np.maximum(measured.kl, 0.0) + FLOOR).mean()))
    return Scored(plan, cost, float(measured.loss.mean()), float(measured.kl.mean()), len(measured), method, typical)


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
    """At most `number` of a frontier's plans, mildest first: the cheapest three quarters of them, the rest spread out.

    Mild plans are certified anyway; how close the last certified plan comes to the cheapest depends on the cheap end.
    """
    if len(plans) <= number:
        return list(plans)
    spread = number // 4 if number > 3 else min(number - 1, 1)
    cheap = len(plans) - (number - spread)
    mild = np.linspace(0, cheap, spread, endpoint=False).astype(int)
    return [plans[i] for i in mild] + list(plans[cheap:])
