"""Put a batch of questions to a model under a skip plan: letters from one forward pass, the rest generated greedily."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from vlm.engine.skipping import skipping
from vlm.evaluation.batch_failures import Refused, TooLarge, in_halves, one_by_one, out_of_memory
from vlm.item import Item
from vlm.models.families import anatomy
from vlm.models.prompts import inputs, wording
from vlm.plans.plan import SkipPlan
from vlm.scoring import letter_probabilities

# What processors raise for images and texts that they cannot combine.
_REFUSALS = (ValueError, TypeError, OSError, LookupError, RuntimeError)


@dataclass(frozen=True)
class Answer:
    """What the model said to one question, and what that took.

    Attributes
    ----------
    prediction : str
        Generated text, or the most likely letter.
    letter_probabilities : tuple of float or None
        Over the option letters, in order.
    tokens : dict
        "vision" and "text" of the prompt, "new" ones.
    run : dict
        How it was made: "seconds_prefill" and "seconds_decode" of the whole call, which "batch" questions shared
        (decode is what follows the first token); "attempt", 1 + how often the batch had been divided; "device".
    """

    prediction: str
    letter_probabilities: tuple[float, ...] | None
    tokens: dict[str, int]
    run: dict[str, Any]


@dataclass(frozen=True)
class Unusable:
    """A question that cannot be put to the model."""

    reason: str


@dataclass(frozen=True, eq=False)
class Question:
    """An item in the words of a protocol and of the model's chat template."""

    item: Item
    text: str
    reading: str
    max_new_tokens: int


@dataclass(frozen=True, eq=False)
class Asking:
    """A model that is asked under one protocol."""

    model: Any
    processor: Any
    protocol: Any
    seed: int = 0
    _inputs: dict[tuple[str, ...], dict[str, Any]] = field(default_factory=dict)

    def questions(self, items: Sequence[Item]) -> list[Question | Unusable]:
        """The prompts of a batch; inputs made for earlier batches are forgotten."""
        self._inputs.clear()
        asked = [self._question(item) for item in items]
        good = [q for q in asked if isinstance(q, Question)]
        try:
            for group in alike(good):
                self.inputs(group)
        except (*_REFUSALS, MemoryError) as error:
            # One bad image spoils its batch: find out whose it is. Memory is for the calls to deal with.
            if not out_of_memory(error):
                asked = [self._alone(q) if isinstance(q, Question) else q for q in asked]
        return asked

    def answers(
        self, questions: Sequence[Question | Unusable], plan: SkipPlan
    ) -> list[Answer | TooLarge | Refused | Unusable]:
        """One result per question, in order."""
        found: dict[int, Answer | TooLarge | Refused | Unusable] = {}
        for group in alike([q for q in questions if isinstance(q, Question)]):
            results = in_halves(partial(one_by_one, partial(self._call, plan=plan)), group)
            found |= {id(q): result for q, result in zip(group, results, strict=True)}
        return [found[id(q)] if isinstance(q, Question) else q for q in questions]

    def inputs(self, questions: Sequence[Question]) -> dict[str, Any]:
        """Tensors of some questions, kept until the next batch, since every plan sees the same."""
        key = tuple(q.item.id for q in questions)
        if key not in self._inputs:
            images = [image for q in questions for image in q.item.images]
            self._inputs[key] = inputs(self.model, self.processor, [q.text for q in questions], images)
        return self._inputs[key]

    def _question(self, item: Item) -> Question | Unusable:
        try:
            text = wording(self.processor, self.protocol.prompt(item), len(item.images))
        except ValueError as error:
            return Unusable(str(error))
        return Question(item, text, self.protocol.reading(item), self.protocol.max_new_tokens(item))

    def _alone(self, question: Question) -> Question | Unusable:
        try:
            self.inputs([question])
        except (*_REFUSALS, MemoryError) as error:
            if not out_of_memory(error):
                return Unusable(f"the processor refused it: {error}")
        return question

    def _call(self, questions: Sequence[Question], attempt: int, plan: SkipPlan) -> list[Answer]:
        batch = self.inputs(questions)
        torch.manual_seed(self.seed)
        with torch.inference_mode(), skipping(self.model, plan):
            if questions[0].reading == "letter":
                said, probabilities, new, seconds = self._letters(questions, batch)
            else:
                said, probabilities, new, seconds = self._generated(questions[0].max_new_tokens, batch)
        vision, text = prompt_tokens(self.model, batch)
        tokens = [
            {"vision": seen, "text": read, "new": made} for seen, read, made in zip(vision, text, new, strict=True)
        ]
        run = circumstances(self.model, seconds, len(questions), attempt)
        return [Answer(*told, run) for told in zip(said, probabilities, tokens, strict=True)]

    def _letters(self, questions: Sequence[Question], batch: dict[str, Any]) -> Any:
        labels = [self.protocol.labels(q.item) for q in questions]
        start = now(self.model)
        found = letter_probabilities(self.model, self.processor, batch, labels)
        seconds = (now(self.model) - start, 0.0)
        rows = [tuple(float(f"{p:.7g}") for p in row[: len(names)]) for row, names in zip(found, labels, strict=True)]
        said = [names[row.index(max(row))] for row, names in zip(rows, labels, strict=True)]
        return said, rows, [1] * len(rows), seconds

    def _generated(self, limit: int, batch: dict[str, Any]) -> Any:
        first: list[float] = []

        def clock(ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
            if not first:
                first.append(now(self.model))
            return torch.zeros(len(ids), dtype=torch.bool, device=ids.device)

        settings = self.model.generation_config
        ends = settings.eos_token_id
        ends = [] if ends is None else [ends] if isinstance(ends, int) else list(ends)
        pad = next(p for p in (settings.pad_token_id, self.processor.tokenizer.pad_token_id, *ends, 0) if p is not None)
        start = now(self.model)
        out = self.model.generate(
            **batch,
            max_new_tokens=limit,
            do_sample=False,
            num_beams=1,
            temperature=None,
            top_p=None,
            top_k=None,
            pad_token_id=pad,
            stopping_criteria=[clock],
        )
        end = now(self.model)
        new = out[:, batch["input_ids"].shape[1] :]
        texts = [text.strip() for text in self.processor.batch_decode(new, skip_special_tokens=True)]
        return texts, [None] * len(new), _lengths(new, ends), (first[0] - start, end - first[0])


def prompt_tokens(model: Any, batch: dict[str, Any]) -> tuple[list[int], list[int]]:
    """Image and text tokens of each row of a batch, padding left out."""
    ids, real = batch["input_ids"], batch["attention_mask"].bool()
    image = torch.isin(ids, torch.tensor(sorted(anatomy(model).placeholders), device=ids.device)) & real
    return image.sum(dim=1).tolist(), (real & ~image).sum(dim=1).tolist()


def alike(questions: Sequence[Question]) -> Iterator[list[Question]]:
    """Questions that one call can answer, in a fixed order."""
    groups: dict[tuple[str, int], list[Question]] = {}
    for question in questions:
        limit = 0 if question.reading == "letter" else question.max_new_tokens
        groups.setdefault((question.reading, limit), []).append(question)
    yield from groups.values()


def _lengths(new: Tensor, ends: Sequence[int]) -> list[int]:
    """Generated tokens of each row up to its end token, which counts."""
    ended = torch.isin(new, torch.tensor(ends, device=new.device, dtype=new.dtype))
    return [int(row.to(torch.uint8).argmax()) + 1 if bool(row.any()) else len(row) for row in ended]


def circumstances(model: Any, seconds: tuple[float, float], batch: int, attempt: int) -> dict[str, Any]:
    """What may differ between two runs: times (prefill, decode), batch, device."""
    device = torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else str(model.device.type)
    times = {"seconds_prefill": round(seconds[0], 6), "seconds_decode": round(seconds[1], 6)}
    return {**times, "batch": batch, "attempt": attempt, "device": device}


def now(model: Any) -> float:
    """Seconds on a running clock, when all work given to the device is done."""
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
    return time.perf_counter()
