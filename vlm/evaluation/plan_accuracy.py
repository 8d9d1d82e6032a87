"""Accuracy, change and cost of plans on questions of the embedded set."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from redundancy.array_types import BoolArray
from vlm import tiny
from vlm.engine.skipping import skipping
from vlm.evaluation.accuracy import Score, paired_difference, score_accuracy
from vlm.models.types import Model, Processor
from vlm.plans.cost import operations_ratio
from vlm.plans.plan import SkipPlan


class PlanAccuracy:
    """Accuracy, change and cost of plans on one set of questions.

    Parameters
    ----------
    model, processor
        As `vlm.load` returns them.
    questions : sequence of vlm.tiny.Question
        Questions of the embedded set.
    batch_size : int
        Questions per call.

    Attributes
    ----------
    groups : list of int
        Image of each question, the unit of sampling.
    full : array of bool (questions,)
        Whether the model without a plan answers correctly.
    batch : dict
        Inputs of the first batch.
    tokens : tuple of int
        Numbers of vision and of text tokens in its prompts.
    """

    def __init__(self, model: Model, processor: Processor, questions: Sequence[tiny.Question], batch_size: int) -> None:
        self.model, self.processor, self.questions, self.batch_size = model, processor, questions, batch_size
        self.groups = [q.image_id for q in questions]
        self.full = self.right(SkipPlan())
        self.batch = prompt_batch(model, processor, questions[:batch_size])
        rows = len(self.batch["input_ids"])
        vision = int((self.batch["input_ids"] == model.config.image_token_id).sum())
        self.tokens = (vision // rows, (int(self.batch["attention_mask"].sum()) - vision) // rows)

    def right(self, plan: SkipPlan, *, blank: bool = False) -> BoolArray:
        """Whether each question is answered correctly under a plan; `blank` replaces the images by blank ones."""
        with skipping(self.model, plan):
            return tiny.correct(self.model, self.processor, self.questions, batch_size=self.batch_size, blank=blank)

    def accuracy(self, plan: SkipPlan, *, blank: bool = False) -> tuple[Score, Score]:
        """Accuracy under a plan, and its change from the model without a plan."""
        if not plan and not blank:
            full = score_accuracy(self.full, self.groups)
            return full, Score(0.0, 0.0, 0.0, full.images)
        right = self.right(plan, blank=blank)
        return score_accuracy(right, self.groups), paired_difference(right, self.full, self.groups)

    def operations_ratio(self, plan: SkipPlan) -> float:
        """Decoder operations of a prompt under a plan, over those without one."""
        vision, text = self.tokens
        return operations_ratio(self.model, plan, vision=vision, text=text)

    def row(self, plan: SkipPlan, kind: str, layer: int) -> dict[str, str | int | float]:
        """One row of a table of plans."""
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


def prompt_batch(model: Model, processor: Processor, questions: Sequence[tiny.Question]) -> dict[str, Tensor]:
    """Model inputs for a batch of embedded questions, on the model's device."""
    images = [q.image for q in questions]
    batch = processor(images=images, text=[q.prompt for q in questions], return_tensors="pt", padding=True)
    return dict(batch.to(model.device))
