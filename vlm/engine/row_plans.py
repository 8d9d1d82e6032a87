"""One plan per row of a batch, for methods that choose a plan for each prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from vlm.plans.plan import LayerPlan, SkipPlan, VisionMode
from vlm.plans.ranges import EVERYTHING, Intervals
from vlm.plans.text_form import Prune

Steps = tuple["LayerPlan | RowStep", ...]


@dataclass(frozen=True)
class RowStep:
    """What plans do in one layer, row by row; its other attributes say it for all rows, as those of a LayerPlan do.

    Attributes
    ----------
    rows : tuple of LayerPlan
        One per plan. They agree on `attention` and `mlp`.
    """

    rows: tuple[LayerPlan, ...]

    @property
    def vision(self) -> VisionMode:
        """ "frozen" if any row freezes, else "skipped" if any row skips."""
        kinds = {step.vision for step in self.rows}
        return next((kind for kind in ("frozen", "skipped") if kind in kinds), "run")

    @property
    def text(self) -> bool:
        """Whether text tokens run in every row."""
        return all(step.text for step in self.rows)

    @property
    def attention(self) -> bool:
        """Whether the attention runs."""
        return self.rows[0].attention

    @property
    def mlp(self) -> bool:
        """Whether the feed-forward runs."""
        return self.rows[0].mlp

    @property
    def kept(self) -> Intervals:
        """Everything if no row leaves image tokens out by their number."""
        return next((step.kept for step in self.rows if step.kept != EVERYTHING), EVERYTHING)

    @property
    def pruned(self) -> tuple[Prune, ...]:
        """Prunings of any row."""
        return tuple(sorted({one for step in self.rows for one in step.pruned}))

    @property
    def ranked(self) -> tuple[Prune, ...]:
        """Choices by a layer's own attention, of any row."""
        return tuple(sorted({one for step in self.rows for one in step.ranked}))

    @property
    def left(self) -> tuple[Prune, ...]:
        """Choices after whose attention tokens left, of any row."""
        return tuple(sorted({one for step in self.rows for one in step.left}))

    @property
    def leaving(self) -> float | None:
        """Not None if tokens of any row leave before the feed-forward."""
        return next((step.leaving for step in self.rows if step.leaving is not None), None)

    @property
    def renumbered(self) -> bool:
        """Whether positions are renumbered in any row."""
        return any(step.renumbered for step in self.rows)


@dataclass(frozen=True)
class RowPlans:
    """Plans of the rows of a batch. A batch of m times as many rows repeats each plan m times, as beams do.

    Attributes
    ----------
    plans : tuple of SkipPlan
        One per row.
    """

    plans: tuple[SkipPlan, ...]

    def __bool__(self) -> bool:
        return any(self.plans)

    def __str__(self) -> str:
        return ", ".join(map(str, self.plans))

    def resolved(self, depth: int) -> RowPlans:
        """The plans with the depth written in."""
        return RowPlans(tuple(plan.resolved(depth) for plan in self.plans))

    def steps(self, depth: int) -> Steps:
        """What the plans do in each layer.

        Raises
        ------
        NotImplementedError
            Rows differ in the halves of layers that they drop: a branch runs once for the whole batch.
        """
        steps: list[LayerPlan | RowStep] = []
        for layer, rows in enumerate(zip(*(plan.steps(depth) for plan in self.plans), strict=True)):
            if len({(step.attention, step.mlp) for step in rows}) > 1:
                raise NotImplementedError(
                    "skipping: rows of one batch differ in whether they drop attention or feed-forward of layer "
                    f"{layer}; drop it in all of them, or whole layers, or run these rows apart"
                )
            steps.append(rows[0] if len(set(rows)) == 1 else RowStep(rows))
        return tuple(steps)

    def check(self, rows: int) -> None:
        """Refuse a batch whose rows cannot be told apart."""
        if rows % len(self.plans):
            raise ValueError(
                f"skipping: expected a batch of {len(self.plans)} rows, one per plan, or several times as many, got "
                f"{rows}"
            )


def kept_fractions(
    plans: Sequence[SkipPlan], choice: Literal["pruned", "ranked", "leaving"]
) -> dict[int, tuple[float | None, ...]]:
    """By layer: the fraction that each plan keeps there by this kind of choice, None where it makes none."""
    chosen = [dict[int, float](getattr(plan, choice)) for plan in plans]
    return {layer: tuple(one.get(layer) for one in chosen) for layer in sorted({k for one in chosen for k in one})}


def plan_of_row(rows: int, plans: int, device: torch.device) -> Tensor:
    """Index (rows,) of the plan of each row of a batch."""
    return torch.arange(rows, device=device) // (rows // plans)
