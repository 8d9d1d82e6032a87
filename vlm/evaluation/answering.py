"""Put a batch of questions to a model under a skip plan.

Letters and yes/no answers come from one forward pass, all others are generated greedily.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from redundancy.display import Displayed
from vlm.engine.skipping import skipping
from vlm.evaluation.batch_failures import Refused, TooLarge, in_halves, one_by_one, out_of_memory
from vlm.evaluation.generation import Decoding, generate, lengths, texts
from vlm.evaluation.protocols import Protocol, Reading
from vlm.item import Item
from vlm.models.families import anatomy
from vlm.models.prompts import inputs, wording
from vlm.models.types import Model, Processor
from vlm.plans.plan import SkipPlan
from vlm.record_types import Circumstances, Tokens
from vlm.scoring import letter_probabilities
from vlm.scoring.thoughts import opens_thought

# What processors raise for images and texts that they cannot combine.
_REFUSALS = (ValueError, TypeError, OSError, LookupError, RuntimeError)


@dataclass(frozen=True, repr=False)
class Answer(Displayed):
    """The model's answer to one question, and what it took.

    Attributes
    ----------
    prediction : str
        Generated text, or the most likely letter.
    letter_probabilities : tuple of float or None
        Probabilities of the option letters in order; None where text was generated.
    tokens : dict
        Numbers of "vision" and "text" tokens of the prompt, and of "new" ones.
    run : dict
        How the answer was made; see `vlm.record_types.Circumstances`.
    """

    prediction: str
    letter_probabilities: tuple[float, ...] | None
    tokens: Tokens
    run: Circumstances


@dataclass(frozen=True)
class Unusable:
    """A question that cannot be put to the model, and why."""

    reason: str


@dataclass(frozen=True, eq=False)
class PreparedQuestion:
    """An item in the words of a protocol and of the model's chat template.

    Attributes
    ----------
    item : Item
        The item that it asks.
    text : str
        The prompt, with the model's image tokens.
    reading : "letter" or "generate"
        How the answer is read.
    max_new_tokens : int
        Limit of what is generated.
    """

    item: Item
    text: str
    reading: Reading
    max_new_tokens: int


class _Call(NamedTuple):
    """What one call gives for each question of its batch, and the seconds of prefill and decoding."""

    predictions: list[str]
    probabilities: Sequence[tuple[float, ...] | None]
    new_tokens: list[int]
    seconds: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Answerer:
    """A model that answers questions under one protocol.

    Attributes
    ----------
    model, processor
        As `vlm.load` returns them.
    protocol : Protocol
        How items become prompts, and how answers are read.
    seed : int
        Set before every call.
    """

    model: Model
    processor: Processor
    protocol: Protocol
    seed: int = 0
    _inputs: dict[tuple[str, ...], dict[str, Tensor]] = field(default_factory=dict)

    def questions(self, items: Sequence[Item]) -> list[PreparedQuestion | Unusable]:
        """The prompts of a batch. Inputs prepared for earlier batches are dropped."""
        self.forget_inputs()
        prompts = [self._question(item) for item in items]
        usable = [q for q in prompts if isinstance(q, PreparedQuestion)]
        try:
            for group in alike(usable):
                self.inputs(group)
        except (*_REFUSALS, MemoryError) as error:
            # An unreadable image fails the whole batch; retry items one by one to find it. Out-of-memory is handled by
            # the caller.
            if not out_of_memory(error):
                prompts = [self._alone(q) if isinstance(q, PreparedQuestion) else q for q in prompts]
        return prompts

    def answers(
        self, questions: Sequence[PreparedQuestion | Unusable], plan: SkipPlan
    ) -> list[Answer | TooLarge | Refused | Unusable]:
        """One result per question, in order."""
        results: dict[int, Answer | TooLarge | Refused | Unusable] = {}
        for group in alike([q for q in questions if isinstance(q, PreparedQuestion)]):
            group_results = in_halves(partial(one_by_one, partial(self._call, plan=plan)), group)
            results |= {id(q): result for q, result in zip(group, group_results, strict=True)}
        return [results[id(q)] if isinstance(q, PreparedQuestion) else q for q in questions]

    def inputs(self, questions: Sequence[PreparedQuestion]) -> dict[str, Tensor]:
        """Model inputs for some questions of the current batch, kept until the next batch: every plan uses the same."""
        key = tuple(q.item.id for q in questions)
        if key not in self._inputs:
            images = [image for q in questions for image in q.item.images]
            self._inputs[key] = inputs(self.model, self.processor, [q.text for q in questions], images)
        return self._inputs[key]

    def forget_inputs(self) -> None:
        """Drop the inputs of the current batch, to free their memory."""
        self._inputs.clear()

    def _question(self, item: Item) -> PreparedQuestion | Unusable:
        try:
            text = wording(self.processor, self.protocol.prompt(item), len(item.images))
        except ValueError as error:
            return Unusable(str(error))
        return PreparedQuestion(item, text, self.protocol.reading(item), self.protocol.max_new_tokens(item))

    def _alone(self, question: PreparedQuestion) -> PreparedQuestion | Unusable:
        try:
            self.inputs([question])
        except (*_REFUSALS, MemoryError) as error:
            if not out_of_memory(error):
                return Unusable(f"the processor refused it: {error}")
        return question

    def _call(self, questions: Sequence[PreparedQuestion], attempt: int, plan: SkipPlan) -> list[Answer]:
        batch = self.inputs(questions)
        torch.manual_seed(self.seed)
        with torch.no_grad(), skipping(self.model, plan):
            if questions[0].reading == "letter":
                call = self._letters(questions, batch)
            else:
                call = self._generated(questions[0].max_new_tokens, batch)
                # A chat template may have opened the thoughts; without the tag, endless ones could not be told.
                call = call._replace(
                    predictions=[
                        opens_thought(q.text) + text for q, text in zip(questions, call.predictions, strict=True)
                    ]
                )
        vision, text = prompt_tokens(self.model, batch)
        tokens: list[Tokens] = [
            {"vision": v, "text": t, "new": n} for v, t, n in zip(vision, text, call.new_tokens, strict=True)
        ]
        run = circumstances(self.model, call.seconds, len(questions), attempt)
        return [Answer(*fields, run) for fields in zip(call.predictions, call.probabilities, tokens, strict=True)]

    def _letters(self, questions: Sequence[PreparedQuestion], batch: dict[str, Tensor]) -> _Call:
        labels = [self.protocol.labels(q.item) for q in questions]
        start = now(self.model)
        probabilities = letter_probabilities(self.model, self.processor, batch, labels)
        seconds = (now(self.model) - start, 0.0)
        rows = [
            tuple(float(f"{p:.7g}") for p in row[: len(names)])
            for row, names in zip(probabilities, labels, strict=True)
        ]
        letters = [names[row.index(max(row))] for row, names in zip(rows, labels, strict=True)]
        return _Call(letters, rows, [1] * len(rows), seconds)

    def _generated(self, limit: int, batch: dict[str, Tensor]) -> _Call:
        first: list[float] = []

        def clock(ids: Tensor, scores: object, **kwargs: object) -> Tensor:
            if not first:
                first.append(now(self.model))
            return torch.zeros(len(ids), dtype=torch.bool, device=ids.device)

        start = now(self.model)
        new = generate(self.model, self.processor, batch, Decoding(limit), stopping=[clock])
        seconds = (first[0] - start, now(self.model) - first[0])
        return _Call(texts(self.processor, new), [None] * len(new), lengths(self.model, new), seconds)


def prompt_tokens(model: Model, batch: dict[str, Tensor]) -> tuple[list[int], list[int]]:
    """Numbers of image and of text tokens in each row of a batch, without padding."""
    ids, real = batch["input_ids"], batch["attention_mask"].bool()
    image = torch.isin(ids, torch.tensor(sorted(anatomy(model).placeholders), device=ids.device)) & real
    return image.sum(dim=1).tolist(), (real & ~image).sum(dim=1).tolist()


def alike(questions: Sequence[PreparedQuestion]) -> Iterator[list[PreparedQuestion]]:
    """Groups of questions that one call can answer, in a fixed order."""
    groups: dict[tuple[str, int], list[PreparedQuestion]] = {}
    for question in questions:
        limit = 0 if question.reading == "letter" else question.max_new_tokens
        groups.setdefault((question.reading, limit), []).append(question)
    yield from groups.values()


def circumstances(model: Model, seconds: tuple[float, float], batch: int, attempt: int) -> Circumstances:
    """What may differ between two runs: times (prefill, decoding), batch, attempt, device."""
    device = torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else str(model.device.type)
    return {
        "seconds_prefill": round(seconds[0], 6),
        "seconds_decode": round(seconds[1], 6),
        "batch": batch,
        "attempt": attempt,
        "device": device,
    }


def now(model: Model) -> float:
    """Seconds of a monotonic clock, read after the device has finished all queued work."""
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
    return time.perf_counter()
