"""What methods learn from the calibration images, in a form that is kept on disk: measured once, read after a kill."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from redundancy.array_types import FloatArray
from vlm import selectors
from vlm.atomic_files import writing_bytes
from vlm.evaluation.answering import Answerer, PreparedQuestion, alike
from vlm.item import Item
from vlm.models.families import anatomy
from vlm.models.layer_parts import find_attention
from vlm.plans.plan import SkipPlan
from vlm.record_log import Log, Record
from vlm.selectors.ranking import Ranking

Done = Callable[[str, int, int], None]
T = TypeVar("T")
_READ = "attention.npz"


@dataclass(frozen=True)
class Choices:
    """The plans of a method that chooses layers or sub-layers, for every number of them.

    Attributes
    ----------
    method, action : str
        Name of the method, and what it does to the chosen units.
    depth : int
        Number of decoder layers.
    plans : tuple of SkipPlan
        Of 0, 1, ... units.
    """

    method: str
    action: str
    depth: int
    plans: tuple[SkipPlan, ...]

    @property
    def units(self) -> int:
        """Largest number of units."""
        return len(self.plans) - 1

    @classmethod
    def of(cls, ranking: Ranking) -> Choices:
        """The plans of a ranking."""
        plans = tuple(ranking.plan(number) for number in range(ranking.units + 1))
        return cls(ranking.method, ranking.action, ranking.depth, plans)

    def record(self) -> Record:
        """As a JSON object."""
        plans = [str(plan) for plan in self.plans]
        return {"kind": "choices", "method": self.method, "action": self.action, "depth": self.depth, "plans": plans}

    @classmethod
    def read(cls, record: Record) -> Choices:
        """From a JSON object."""
        plans = tuple(SkipPlan.parse(text) for text in record["plans"])
        return cls(record["method"], record["action"], record["depth"], plans)


def layer_choices(
    answerer: Answerer, items: Sequence[Item], batch_size: int, *, known: Sequence[Record], log: Log, done: Done
) -> list[Choices]:
    """The choices of every method that ranks layers: those among the `known` records, or measured and kept."""
    stored = [Choices.read(record) for record in known if record["kind"] == "choices"]
    if not stored:
        stored = [Choices.of(ranking) for ranking in layer_rankings(answerer, items, batch_size, done=done)]
        log.append([one.record() for one in stored])
    return stored


def read_attention(
    answerer: Answerer, items: Sequence[Item], batch_size: int, *, folder: Path, done: Done
) -> list[FloatArray]:
    """What FitPrune is fitted to, from `folder` or measured and kept there; nothing where a layer has no attention."""
    model, path = answerer.model, folder / _READ
    if any(find_attention(layer) is None for layer in anatomy(model).layers):
        return []
    if path.exists():
        with np.load(path) as data:
            ends = np.cumsum(data["counts"])[:-1]
            return np.split(data["sums"], ends, axis=2)
    with torch.no_grad(), selectors.attention_statistics(model) as record:
        for batch, _ in _told(_prompts(answerer, items, batch_size), "calibration, tokens", done):
            model(**batch, use_cache=False, logits_to_keep=1)
    sums = record.prompts()
    with writing_bytes(path) as file:
        np.savez_compressed(file, sums=np.concatenate(sums, axis=2), counts=[one.shape[2] for one in sums])
    return sums


def layer_rankings(answerer: Answerer, items: Sequence[Item], batch_size: int, *, done: Done) -> list[Ranking]:
    """Every method that ranks layers or sub-layers, with images as the unit of averaging."""
    model = answerer.model
    found = _prompts(answerer, items, batch_size)
    batches = [batch for batch, _ in found]
    groups = [name for _, names in found for name in names]
    with torch.no_grad(), selectors.observing(model) as seen:
        for batch in _told(batches, "calibration, layers", done):
            model(**batch, use_cache=False, logits_to_keep=1)
    depth = anatomy(model).depth
    stages = [_told(batches, f"calibration, {what}", done) for what in ("contributions", "withdrawals")]
    frozen = selectors.prediction_divergence(model, stages[0], selectors.contribution_plans(depth))
    withdrawn = selectors.prediction_divergence(model, stages[1], selectors.withdrawal_plans(depth))
    rankings = [
        selectors.redundancy(seen.probe),
        selectors.redundancy(seen.probe, last_free=True),
        selectors.redundancy(seen.probe, freeze=False),
        selectors.small_attention(seen.attention),
        selectors.layer_contribution(frozen),
        selectors.withdrawal(withdrawn),
        selectors.block_influence(seen.similarity),
        selectors.angular_distance(seen.similarity),
        selectors.sublayer_similarity(seen.similarity, "attention"),
        selectors.sublayer_similarity(seen.similarity, "mlp"),
        selectors.adaskip(seen.similarity),
        selectors.attention_map_rank(seen.ranks),
        selectors.late_insertion(depth),
    ]
    return [ranking.over_images(groups) for ranking in rankings]


def _told(batches: Sequence[T], stage: str, done: Done) -> Iterator[T]:
    """The batches, each told when it is done."""
    for number, batch in enumerate(batches, 1):
        yield batch
        done(stage, number, len(batches))


def _prompts(
    answerer: Answerer, items: Sequence[Item], batch_size: int
) -> list[tuple[Mapping[str, Tensor], list[str]]]:
    """Inputs of some items in batches, and the image of each row."""
    groups: list[list[PreparedQuestion]] = []
    for start in range(0, len(items), batch_size):
        prepared = answerer.questions(items[start : start + batch_size])
        groups += alike([q for q in prepared if isinstance(q, PreparedQuestion)])
    return [(answerer.inputs(group), [q.item.image_id for q in group]) for group in groups]
