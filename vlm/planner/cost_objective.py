"""What a plan costs in its user's unit: operations, seconds of prefill, bytes of cache, seconds in all."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from redundancy.array_types import FloatArray
from redundancy.display import Displayed
from vlm.engine.skipping import skipping
from vlm.evaluation.answering import now
from vlm.models.families import anatomy
from vlm.models.types import Model
from vlm.planner.layer_actions import Action, action_of, plan_from_actions
from vlm.plans.cost import plan_cost
from vlm.plans.plan import SkipPlan
from vlm.progress_bar import by_count

Objective = Literal["operations", "prefill", "cache", "time"]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)


@dataclass(frozen=True, repr=False)
class Seconds(Displayed):
    """Measured seconds of one batch of prompts.

    Attributes
    ----------
    prefill : float
        Of one forward over the prompts, image encoder included.
    token : float
        Of each further token.
    """

    prefill: float
    token: float

    def total(self, answer_length: float) -> float:
        """Seconds until an answer of this many tokens is complete."""
        return self.prefill + max(answer_length - 1.0, 0.0) * self.token


@dataclass(eq=False)
class CostModel:
    """Cost of plans relative to the full model.

    Attributes
    ----------
    model : Model
    objective : {"operations", "prefill", "cache", "time"}
    vision, text : int
        Tokens of a typical prompt.
    answer_length : float
        Tokens of a typical answer.
    layer_times : mapping of action -> Seconds
        What one layer takes under each action; measured on plans that do the same in all layers.
    rest : Seconds
        What is outside the decoder layers: image encoder, embeddings, output matrix, sampling.
    """

    model: Model
    objective: Objective
    vision: int
    text: int
    answer_length: float
    layer_times: Mapping[Action, Seconds] = field(default_factory=dict)
    rest: Seconds = field(default_factory=lambda: Seconds(0.0, 0.0))
    _known: dict[str, float] = field(default_factory=dict)

    def __call__(self, plan: SkipPlan) -> float:
        """Cost of a plan divided by that of the full model; for times an estimate that adds up layers."""
        key = str(plan)
        if key not in self._known:
            self._known[key] = self._cost(plan) / self._full()
        return self._known[key]

    def operations(self, plan: SkipPlan) -> float:
        """Decoder operations of a prompt under the plan, over those without it."""
        counts = [plan_cost(self.model, vision=self.vision, text=self.text, plan=p).prefill.total for p in (plan, None)]
        return counts[0] / counts[1]

    def cache(self, plan: SkipPlan) -> float:
        """Bytes of keys and values of a prompt and its answer under the plan, over those without it."""
        held = [
            plan_cost(
                self.model, vision=self.vision, text=self.text, plan=p, generated=round(self.answer_length)
            ).cache_bytes.sum()
            for p in (plan, None)
        ]
        return float(held[0] / held[1])

    def full_seconds(self) -> Seconds:
        """Estimated seconds of the full model, for the objectives that are times."""
        layers = anatomy(self.model).depth
        run = self.layer_times["run"]
        return Seconds(self.rest.prefill + layers * run.prefill, self.rest.token + layers * run.token)

    def cheapest(self, actions: Sequence[Action]) -> float:
        """Cost of the cheapest plan of the allowed actions: no plan goes below."""
        depth = anatomy(self.model).depth
        return min(1.0, *(self(plan_from_actions([action] * depth)) for action in actions))

    def _full(self) -> float:
        if "" not in self._known:
            self._known[""] = self._cost(SkipPlan())
        return self._known[""]

    def _cost(self, plan: SkipPlan) -> float:
        if self.objective == "operations":
            return plan_cost(self.model, vision=self.vision, text=self.text, plan=plan).prefill.total
        if self.objective == "cache":
            generated = round(self.answer_length)
            return float(
                plan_cost(
                    self.model, vision=self.vision, text=self.text, plan=plan, generated=generated
                ).cache_bytes.sum()
            )
        length = 1.0 if self.objective == "prefill" else self.answer_length
        return self.rest.total(length) + sum(self._layer(plan, length))

    def _layer(self, plan: SkipPlan, length: float) -> list[float]:
        depth = anatomy(self.model).depth
        steps = plan.steps(depth)
        share, out = 1.0, []
        for step in steps:
            share = min([share, *(fraction for _, fraction in (*step.pruned, *step.ranked, *step.left))])
            action = action_of(step)
            seconds = self.layer_times[action or "run"].total(length)
            if share < 1.0 and action in ("run", "freeze") and "remove" in self.layer_times:
                # Between a layer with all image tokens and one with none, in proportion to their number.
                removed = self.layer_times["remove"].total(length)
                seconds = removed + share * (seconds - removed)
            out.append(seconds)
        return out


def timed(
    model: Model,
    batch: Mapping[str, Tensor],
    plans: Sequence[SkipPlan],
    *,
    tokens: int = 4,
    rounds: int = 5,
    progress: bool = False,
) -> list[Seconds]:
    """Median seconds of prefill and of a further token under each plan; plans take turns within each round.

    Parameters
    ----------
    model : Model
    batch : mapping
        Inputs of the model: a batch of prompts.
    plans : sequence of SkipPlan
    tokens : int
        Further tokens that are generated.
    rounds : int
        How often each plan is timed, after one round that is not counted.
    progress : bool
        Show a bar with the time left.
    """
    turns = by_count(range(rounds + 1), rounds + 1, "timing", shown=progress)
    times = np.array([[_once(model, batch, plan, tokens) for plan in plans] for _ in turns][1:])
    return [Seconds(statistics.median(times[:, i, 0]), statistics.median(times[:, i, 1])) for i in range(len(plans))]


def time_ratios(seconds: Sequence[Seconds], answer_length: float) -> FloatArray:
    """Total times over that of the first plan."""
    totals = np.array([s.total(answer_length) for s in seconds])
    return np.asarray(totals / totals[0])


def _once(model: Model, batch: Mapping[str, Tensor], plan: SkipPlan, tokens: int) -> tuple[float, float]:
    marks: list[float] = []

    def clock(ids: Tensor, scores: object, **kwargs: object) -> Tensor:
        marks.append(now(model))
        return torch.zeros(len(ids), dtype=torch.bool, device=ids.device)

    with torch.no_grad(), skipping(model, plan):
        start = now(model)
        model.generate(
            **batch,
            max_new_tokens=tokens + 1,
            min_new_tokens=tokens + 1,
            do_sample=False,
            num_beams=1,
            temperature=None,
            top_p=None,
            top_k=None,
            pad_token_id=0,
            stopping_criteria=[clock],
        )
    return marks[0] - start, (marks[-1] - marks[0]) / max(len(marks) - 1, 1)


def calibrated(
    costs: CostModel,
    batch: Mapping[str, Tensor],
    actions: Iterable[Action],
    *,
    time_plans: Callable[..., list[Seconds]] = timed,
) -> CostModel:
    """The cost model with layer times: each action is timed on a plan that takes it in all layers."""
    depth = anatomy(costs.model).depth
    actions = list(actions)
    seconds = time_plans(costs.model, batch, [plan_from_actions([action] * depth) for action in actions])
    by_action = dict(zip(actions, seconds, strict=True))
    # Layers that are dropped altogether leave what is outside; without that measurement, everything counts as layers.
    floor = by_action.get("drop")
    rest = Seconds(0.0, 0.0) if floor is None else floor
    layers = {
        action: Seconds((s.prefill - rest.prefill) / depth, (s.token - rest.token) / depth)
        for action, s in by_action.items()
    }
    return CostModel(
        costs.model, costs.objective, costs.vision, costs.text, costs.answer_length, layer_times=layers, rest=rest
    )


def seconds_now() -> float:
    """A clock for budgets."""
    return time.monotonic()
