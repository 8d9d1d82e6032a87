"""Ranking: what one method would skip at any budget, as a value."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from redundancy.array_types import FloatArray
from vlm.models.families import Family
from vlm.plans.cost import operations_ratio
from vlm.plans.plan import SkipPlan

Units = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Ranking:
    """The scores of one method and the choice it makes from their mean; a low score is skipped first.

    Attributes
    ----------
    method : str
        Name of the method.
    action : str
        What is done to the chosen units, in words.
    scores : ndarray (samples, ...)
        The method's score of each unit (layer, sub-layer, block, token) on each sample.
    layer_scores : ndarray (samples, depth)
        The same per layer, for comparing methods; a sub-layer method's is the mean of its two.
    units : int
        How many units can be skipped at most.
    choose : function
        (mean scores, number) -> units to skip.
    build : function
        Units -> plan.
    usual : int
        Number of units that the method's authors skip, carried over to this depth.
    """

    method: str
    action: str
    scores: FloatArray
    layer_scores: FloatArray
    units: int
    choose: Callable[[FloatArray, int], Units]
    build: Callable[[Units], SkipPlan]
    usual: int

    def __post_init__(self) -> None:
        if self.scores.ndim < 2 or not len(self.scores):
            raise ValueError(f"{self.method}: expected scores of at least one sample, got shape {self.scores.shape}")
        if not np.isfinite(self.scores).all():
            raise ValueError(
                f"{self.method}: expected finite scores, got {int((~np.isfinite(self.scores)).sum())} others; measure "
                "prompts with an image, on finite states"
            )

    def __repr__(self) -> str:
        return f"Ranking({self.method}: {self.action}, {len(self.scores)} samples, {self.units} units)"

    @property
    def depth(self) -> int:
        """Number of decoder layers."""
        return int(self.layer_scores.shape[1])

    @property
    def order(self) -> Units:
        """Layers, the first to be skipped first, by mean layer score; equal scores in order of depth."""
        return lowest(self.layer_scores.mean(axis=0), self.depth)

    def chosen(self, number: int) -> Units:
        """The units that are skipped when `number` may be."""
        if not 0 <= number <= self.units:
            raise ValueError(f"number: expected 0 to {self.units} units for {self.method}, got {number}")
        return self.choose(self.scores.mean(axis=0), number)

    def plan(self, number: int | None = None) -> SkipPlan:
        """The plan that skips so many units; without a number, as many as the method's authors do."""
        return self.build(self.chosen(self.usual if number is None else number))

    def plan_within(
        self, model: Any, ratio: float, *, vision: int, text: int, family: Family | None = None
    ) -> SkipPlan | None:
        """The mildest plan that costs at most `ratio` of the operations; None when no number of units does.

        Parameters
        ----------
        ratio : float
            Operations under the plan over operations without one, in [0, 1].
        vision, text : int
            Tokens of a prompt, as in `vlm.operations_ratio`.
        """
        plans = (self.plan(number) for number in range(self.units + 1))
        return first_within(model, plans, ratio, vision=vision, text=text, family=family)


def first_within(
    model: Any, plans: Iterable[SkipPlan], ratio: float, *, vision: int, text: int, family: Family | None = None
) -> SkipPlan | None:
    """The first plan, mildest first, that costs at most `ratio` of the operations; None when none does."""
    for plan in plans:
        if operations_ratio(model, plan, vision=vision, text=text, family=family) <= ratio:
            return plan
    return None


def lowest(scores: ArrayLike, number: int) -> Units:
    """Indices of the lowest scores, lowest first; among equals the smaller index."""
    return tuple(int(i) for i in np.argsort(np.asarray(scores), kind="stable")[:number])


def by_layer(
    method: str, action: str, scores: FloatArray, build: Callable[[Units], SkipPlan], *, usual: float
) -> Ranking:
    """A ranking of layers, score (samples, depth); `usual` is the fraction of layers usually skipped."""
    depth = scores.shape[1]
    return Ranking(method, action, scores, scores, depth, lowest, build, round(usual * depth))
