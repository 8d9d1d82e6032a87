"""Accuracy, change and cost of plans on one set of embedded questions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redundancy.array_types import BoolArray
from vlm import tiny
from vlm.engine.skipping import skipping
from vlm.evaluation.accuracy import Score, paired_difference, score_accuracy
from vlm.plans.cost import operations_ratio
from vlm.plans.plan import SkipPlan


class PlanAccuracy:
    """Accuracy, change and cost of plans on one set of questions."""

    def __init__(self, model: Any, processor: Any, questions: Sequence[tiny.Question], batch_size: int) -> None:
        self.model, self.processor, self.questions, self.batch_size = model, processor, questions, batch_size
        self.images = [q.image_id for q in questions]
        self.full = self.right(SkipPlan())
        self.batch = prompt_batch(model, processor, questions[:batch_size])
        rows = len(self.batch["input_ids"])
        vision = int((self.batch["input_ids"] == model.config.image_token_id).sum())
        self.tokens = (vision // rows, (int(self.batch["attention_mask"].sum()) - vision) // rows)

    def right(self, plan: SkipPlan, *, blank: bool = False) -> BoolArray:
        with skipping(self.model, plan):
            return tiny.correct(self.model, self.processor, self.questions, batch_size=self.batch_size, blank=blank)

    def accuracy(self, plan: SkipPlan, *, blank: bool = False) -> tuple[Score, Score]:
        """Accuracy, and its change from the model without a plan."""
        if not plan and not blank:
            full = score_accuracy(self.full, self.images)
            return full, Score(0.0, 0.0, 0.0, full.images)
        right = self.right(plan, blank=blank)
        return score_accuracy(right, self.images), paired_difference(right, self.full, self.images)

    def operations_ratio(self, plan: SkipPlan) -> float:
        vision, text = self.tokens
        return operations_ratio(self.model, plan, vision=vision, text=text)

    def row(self, plan: SkipPlan, kind: str, layer: int) -> dict[str, Any]:
        accuracy, change = self.accuracy(plan)
        return {
            "kind": kind,
            "layer": layer,
            "plan": str(plan),
            "accuracy": accuracy.value,
            "accuracy_low": accuracy.low,
            "accuracy_high": accuracy.high,
            "change": change.value,
            "change_low": change.low,
            "change_high": change.high,
            "operations_ratio": self.operations_ratio(plan),
        }


def prompt_batch(model: Any, processor: Any, questions: Sequence[tiny.Question]) -> dict[str, Any]:
    """Model inputs for a batch of embedded questions, on the model's device."""
    images = [q.image for q in questions]
    batch = processor(images=images, text=[q.prompt for q in questions], return_tensors="pt", padding=True)
    return dict(batch.to(model.device))
