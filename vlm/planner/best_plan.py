"""The result of an optimisation: the certified plan, what was tried, and how to hand it on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from redundancy.display import Displayed
from vlm.item import Failure, Item
from vlm.planner.certification import Tested
from vlm.planner.frontier import Scored
from vlm.plans.plan import SkipPlan
from vlm.plans.plan_file import PlanFile
from vlm.table import Table


@dataclass(frozen=True, eq=False, repr=False)
class ChangedAnswer(Displayed):
    """A certification question whose answer the plan changed.

    Attributes
    ----------
    item : Item
    full, plan : str
        The full model's answer, and the plan's.
    """

    item: Item
    full: str
    plan: str


@dataclass(frozen=True, eq=False, repr=False)
class BestPlan(Displayed):
    """The cheapest plan found that keeps a promise; the result of `vlm.optimize`.

    Attributes
    ----------
    file : PlanFile
        The plan with its promise and evidence. The empty plan if no cheaper one could be certified.
    cost : float
        Of the plan, relative to the full model, in the unit of the objective.
    objective : str
        What `cost` counts.
    tested : tuple of Tested
        The candidates in the order of their tests.
    frontier : tuple of Scored
        What the search found, mildest first.
    tried : tuple of Scored
        Everything that was measured, seeds and named methods among it.
    damages : Table
        Damage of each single action: layer, action, kl.
    changed : tuple of ChangedAnswer
        The first certification questions whose answers differ.
    forwards : mapping of str -> int
        Question-forwards of "answers", "search" and "certification".
    messages : tuple of str
        What was said on the way: sample sizes, wishes that could not be met.
    failures : tuple of Failure
        Items that could not be asked.
    folder : Path or None
        Where everything is kept, with ``out=``.

    See Also
    --------
    vlm.optimize : Makes one.
    """

    file: PlanFile
    cost: float
    objective: str
    tested: tuple[Tested, ...]
    frontier: tuple[Scored, ...]
    tried: tuple[Scored, ...]
    damages: Table
    changed: tuple[ChangedAnswer, ...]
    forwards: dict[str, int]
    messages: tuple[str, ...]
    failures: tuple[Failure, ...]
    folder: Path | None = None

    @property
    def plan(self) -> SkipPlan:
        """The certified plan."""
        return self.file.plan

    def __repr__(self) -> str:
        return (
            f"BestPlan({str(self.plan)!r}: {self.cost:.3f} of the full model's {self.objective}; {self.file.guarantee})"
        )

    def save(self, path: str | Path) -> Path:
        """Write the plan file, which `vlm.load`, `vlm.apply` and `vlm.skipping` take; returns its path."""
        return self.file.save(path)

    def table(self) -> Table:
        """The tested candidates: plan, cost, loss on the search's questions, loss, limit and verdict."""
        return tested_table(self.tested)

    def frontier_table(self) -> Table:
        """The search's frontier, mildest first."""
        return scored_table(self.frontier)


def tested_table(tested: Sequence[Tested]) -> Table:
    """One row per tested candidate."""
    return Table.from_rows(
        [
            {
                "plan": str(t.candidate.plan),
                "cost": t.candidate.cost,
                "search_loss": t.candidate.loss,
                "loss": t.loss,
                "low": t.low,
                "high": t.high,
                "limit": t.limit,
                "images": t.images,
                "certified": t.certified,
                "from": t.candidate.method,
            }
            for t in tested
        ]
    )


def scored_table(plans: Sequence[Scored]) -> Table:
    """One row per plan."""
    return Table.from_rows(
        [
            {
                "plan": str(s.plan),
                "cost": s.cost,
                "loss": s.loss,
                "kl": s.kl,
                "questions": s.questions,
                "from": s.method,
            }
            for s in plans
        ]
    )
