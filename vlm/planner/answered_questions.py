"""Questions with the full model's greedy answers, in a fixed order, and what plans do to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from vlm.engine.skipping import skipping
from vlm.evaluation.answering import Answerer, PreparedQuestion, alike, prompt_tokens
from vlm.evaluation.batch_failures import Refused, TooLarge, in_halves, one_by_one
from vlm.evaluation.generation import Decoding, generate, lengths, texts
from vlm.evaluation.protocols import Protocol
from vlm.item import Failure, Item
from vlm.planner.answered_batch import AnsweredBatch, answered_batch
from vlm.planner.evidence import FIRST_STEP, Measured
from vlm.planner.teacher_forcing import answer_logits, divergences, same_answers
from vlm.plans.plan import SkipPlan
from vlm.record_log import Record
from vlm.scoring import score

Loss = Literal["disagreement", "accuracy", "kl"]
Keep = Callable[[Sequence[Mapping[str, object]]], None]
# Inputs and logits that are kept between plans; beyond this they are made again. Bytes.
LARGEST_MEMORY = 2**30


@dataclass(frozen=True, eq=False)
class AnsweredQuestion:
    """A question and the full model's answer.

    Attributes
    ----------
    question : PreparedQuestion
        The item in the words of the protocol.
    tokens : tuple of int
        Ids of the greedy answer with its end token.
    text : str
        The answer.
    """

    question: PreparedQuestion
    tokens: tuple[int, ...]
    text: str

    @property
    def item(self) -> Item:
        """The item that was asked."""
        return self.question.item


def generating(protocol: Protocol, max_new_tokens: int | None) -> Protocol:
    """The protocol with every answer generated: a plan must keep the text, not only a letter's rank among letters."""
    limit = protocol.max_new_tokens if max_new_tokens is None else lambda item: max_new_tokens
    return replace(protocol, reading=lambda item: "generate", max_new_tokens=limit)


def answered(
    answerer: Answerer,
    items: Iterable[Item],
    pool: str,
    *,
    batch_size: int,
    known: Mapping[str, Record],
    keep: Keep | None,
    done: Callable[[int], None] = lambda count: None,
) -> tuple[list[AnsweredQuestion], list[Failure]]:
    """Generate the full model's answers, once: those in `known` (by item) are not generated again.

    Parameters
    ----------
    answerer : Answerer
        Model and protocol.
    items : iterable of Item
        In the order of the result.
    pool : str
        Name of the list in the records.
    batch_size : int
        Questions per call.
    known : mapping
        Records of an earlier process by name of the item.
    keep : function, optional
        Stores new records.
    done : function, optional
        Called with the number of questions after each batch.

    Returns
    -------
    questions, failures
        Items that could not be asked are listed with the reason.
    """
    items = list(items)
    out: list[AnsweredQuestion] = []
    failures: list[Failure] = []
    for start in range(0, len(items), batch_size):
        batch = items[start : start + batch_size]
        prepared = answerer.questions(batch)
        tokens: dict[int, tuple[int, ...] | str] = {}
        asked = [q for q in prepared if isinstance(q, PreparedQuestion)]
        for question in asked:
            stored = known.get(question.item.id)
            if stored is not None:
                tokens[id(question)] = tuple(stored["tokens"]) if stored["tokens"] else str(stored["reason"])
        for group in alike([q for q in asked if id(q) not in tokens]):
            results = in_halves(partial(one_by_one, partial(_greedy, answerer, SkipPlan())), group)
            records: list[dict[str, object]] = []
            for question, result in zip(group, results, strict=True):
                name = {"kind": "answer", "pool": pool, "item": question.item.id}
                if isinstance(result, TooLarge | Refused):
                    tokens[id(question)] = result.reason
                    records.append({**name, "tokens": None, "reason": result.reason})
                else:
                    tokens[id(question)] = result
                    records.append({**name, "tokens": result, "reason": ""})
            if keep is not None:
                keep(records)
        for item, entry in zip(batch, prepared, strict=True):
            ids = tokens[id(entry)] if isinstance(entry, PreparedQuestion) else entry.reason
            if isinstance(entry, PreparedQuestion) and not isinstance(ids, str):
                text = texts(answerer.processor, torch.tensor([list(ids)]))[0]
                out.append(AnsweredQuestion(entry, ids, text))
            else:
                failures.append(Failure(item.dataset, item.id, str(ids)))
        done(len(batch))
    return out, failures


def _greedy(
    answerer: Answerer, plan: SkipPlan, questions: Sequence[PreparedQuestion], attempt: int
) -> list[tuple[int, ...]]:
    """Ids of the greedy answers under a plan, with their end tokens."""
    batch = answerer.inputs(questions)
    torch.manual_seed(answerer.seed)
    with torch.no_grad(), skipping(answerer.model, plan):
        new = generate(answerer.model, answerer.processor, batch, Decoding(questions[0].max_new_tokens))
    return [tuple(row[:n].tolist()) for row, n in zip(new, lengths(answerer.model, new), strict=True)]


@dataclass(eq=False)
class QuestionList:
    """Questions in a fixed order, divided into batches that every plan shares.

    Attributes
    ----------
    answerer : Answerer
        Model and protocol.
    questions : sequence of AnsweredQuestion
        The first 8, 16, 32, ... of them are compared first.
    batch_size : int
        Questions per forward.
    loss : {"disagreement", "accuracy", "kl"}
        The promised loss.
    kl_limit : float
        Where KL is clipped, nats.
    with_kl : bool
        Whether KL is computed where the loss does not need it.
    done : function
        Called with the number of questions of each batch that was measured.
    """

    answerer: Answerer
    questions: Sequence[AnsweredQuestion]
    batch_size: int
    loss: Loss = "disagreement"
    kl_limit: float = 1.0
    with_kl: bool = True
    done: Callable[[int], None] = lambda count: None
    _kept: dict[tuple[int, ...], tuple[AnsweredBatch, Tensor | None]] = field(default_factory=dict)
    _bytes: int = 0

    @property
    def groups(self) -> np.ndarray:
        """Image of each question (questions,), as numbers in order of appearance."""
        numbers: dict[str, int] = {}
        return np.array([numbers.setdefault(q.item.image_id, len(numbers)) for q in self.questions], dtype=np.int64)

    def tokens(self) -> tuple[int, int, float]:
        """Mean numbers of image tokens and of text tokens of a prompt (first 32), and mean length of the answers."""
        vision: list[int] = []
        text: list[int] = []
        for start in range(0, min(32, len(self.questions)), FIRST_STEP):
            for places in self._batches(start, min(start + FIRST_STEP, len(self.questions))):
                counts = prompt_tokens(self.answerer.model, dict(self._prepared(places)[0].prompt))
                vision, text = vision + counts[0], text + counts[1]
        answers = [len(q.tokens) for q in self.questions]
        return round(float(np.mean(vision))), round(float(np.mean(text))), float(np.mean(answers))

    def prompts(self, count: int) -> dict[str, Tensor]:
        """Inputs of the first questions, as one batch."""
        asked = [q.question for q in self.questions[:count]]
        self.answerer.forget_inputs()
        return self.answerer.inputs(asked)

    def prompt_batches(self, count: int) -> list[dict[str, Tensor]]:
        """Inputs of the first questions in order, eight at a time."""
        stop = min(count, len(self.questions))
        return [
            dict(self._prepared(tuple(range(start, min(start + FIRST_STEP, stop))))[0].prompt)
            for start in range(0, stop, FIRST_STEP)
        ]

    def measure(self, plan: SkipPlan, start: int, stop: int) -> Measured:
        """KL, agreement and loss of questions start..stop-1 under a plan."""
        count = stop - start
        kl, same, loss = np.full(count, np.nan), np.zeros(count, dtype=bool), np.zeros(count)
        for places in self._batches(start, stop):
            rows = in_halves(lambda part, attempt: self._rows(plan, part), places)
            for place, row in zip(places, rows, strict=True):
                if isinstance(row, TooLarge):
                    raise RuntimeError(f"optimize: question {self.questions[place].item.id!r}: {row.reason}")
                kl[place - start], same[place - start] = row
            self.done(len(places))
        if self.loss == "kl":
            loss = np.minimum(kl, self.kl_limit)
        elif self.loss == "disagreement":
            loss = (~same).astype(np.float64)
        else:
            differing = [start + int(i) for i in np.flatnonzero(~same)]
            for place, text in zip(differing, self.answers_under(plan, differing), strict=True):
                question = self.questions[place]
                loss[place - start] = self._score(question.item, question.text) - self._score(question.item, text)
        return Measured(kl, same, loss)

    def answers_under(self, plan: SkipPlan, places: Sequence[int]) -> list[str]:
        """Texts of the greedy answers of some questions under a plan."""
        found: dict[int, str] = {}
        for start in range(0, len(places), self.batch_size):
            part = places[start : start + self.batch_size]
            by_question = {id(self.questions[place].question): place for place in part}
            for group in alike([self.questions[place].question for place in part]):
                self.answerer.forget_inputs()
                results = in_halves(partial(_greedy, self.answerer, plan), group)
                for question, result in zip(group, results, strict=True):
                    if isinstance(result, TooLarge):
                        raise RuntimeError(f"optimize: question {question.item.id!r}: {result.reason}")
                    text = texts(self.answerer.processor, torch.tensor([list(result)]))[0]
                    found[by_question[id(question)]] = text
        return [found[place] for place in places]

    def _score(self, item: Item, text: str) -> float:
        return float(score(item, text, scorer=self.answerer.protocol.scorer(item)).value)

    def _rows(self, plan: SkipPlan, places: Sequence[int]) -> list[tuple[float, bool]]:
        batch, reference = self._prepared(tuple(places))
        logits = answer_logits(self.answerer.model, batch, plan)
        same = same_answers(self.answerer.model, batch, logits).tolist()
        if not (self.with_kl or self.loss == "kl"):
            return [(float("nan"), bool(s)) for s in same]
        if reference is None:
            reference = answer_logits(self.answerer.model, batch, SkipPlan())
        return list(zip(divergences(reference, logits, batch).tolist(), map(bool, same), strict=True))

    def _prepared(self, places: tuple[int, ...]) -> tuple[AnsweredBatch, Tensor | None]:
        """Inputs of some questions, and the full model's logits; kept while there is memory."""
        if places in self._kept:
            return self._kept[places]
        asked = [self.questions[place] for place in places]
        self.answerer.forget_inputs()
        inputs = self.answerer.inputs([q.question for q in asked])
        batch = answered_batch(self.answerer.model, inputs, [q.tokens for q in asked])
        reference = None
        if self.with_kl or self.loss == "kl":
            reference = answer_logits(self.answerer.model, batch, SkipPlan())
        size = sum(t.nbytes for t in {id(t): t for t in (*batch.prompt.values(), *batch.forced.values())}.values())
        size += 0 if reference is None else reference.nbytes
        if self._bytes + size <= LARGEST_MEMORY:
            self._bytes += size
            self._kept[places] = batch, reference
        return batch, reference

    def _batches(self, start: int, stop: int) -> Iterable[tuple[int, ...]]:
        """Questions that share a call. Batches end at 8, 16, 32, ..., and every plan meets the same ones."""
        while start < stop:
            edge = FIRST_STEP
            while edge <= start:
                edge *= 2
            first = edge // 2 if start >= FIRST_STEP else 0
            end = min(start - (start - first) % self.batch_size + self.batch_size, edge, stop)
            by_id = {id(self.questions[place].question): place for place in range(start, end)}
            for group in alike([self.questions[place].question for place in range(start, end)]):
                yield tuple(by_id[id(question)] for question in group)
            start = end
