"""The numbers of merged records by data set and plan, as columns: a million records take some hundred megabytes."""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from redundancy.array_types import FloatArray, IntArray
from vlm.record_log import Record

NEEDED = ("dataset", "item", "image_id", "group", "plan", "parsed", "score", "failure", "judge", "tokens", "model")
# Model, task group, data set.
SetKey: TypeAlias = tuple[str, str, str]
# Kind ("failed" or "unjudged"), data set, plan, reason.
Reason: TypeAlias = tuple[str, str, str, str]

TOKENS = ("vision", "text", "new")
# Below this the labels together have less than half of the probability: most of it went to other words.
HALF = 0.5


@dataclass(eq=False)
class PlanColumns:
    """One plan's answers on one data set; entries of all columns belong together.

    Attributes
    ----------
    item, image : array of int
        Positions in the names of the data set's items and images.
    score : array of float
        NaN where there is none.
    failed, unparsed, endless, thought : array of int8
        1 where the item was not answered; where a scored answer could not be read; where thoughts did not end, or did.
    mass : array of float
        Probability of all labels in a one-pass answer; NaN for other answers.
    tokens : dict of array of float
        By name, NaN where they are not known.
    operations, full : array of float
        Of the prompt under the plan, and without one; NaN where they were not counted.
    """

    item: array[int] = field(default_factory=lambda: array("q"))
    image: array[int] = field(default_factory=lambda: array("q"))
    score: array[float] = field(default_factory=lambda: array("d"))
    failed: array[int] = field(default_factory=lambda: array("b"))
    unparsed: array[int] = field(default_factory=lambda: array("b"))
    endless: array[int] = field(default_factory=lambda: array("b"))
    thought: array[int] = field(default_factory=lambda: array("b"))
    mass: array[float] = field(default_factory=lambda: array("d"))
    tokens: dict[str, array[float]] = field(default_factory=lambda: {name: array("d") for name in TOKENS})
    operations: array[float] = field(default_factory=lambda: array("d"))
    full: array[float] = field(default_factory=lambda: array("d"))
    seen: bytearray = field(default_factory=bytearray)


@dataclass(eq=False)
class SetColumns:
    """The answers on one data set: names of items and images in the order of their appearance, and columns by plan."""

    items: dict[str, int] = field(default_factory=dict)
    images: dict[str, int] = field(default_factory=dict)
    plans: dict[str, PlanColumns] = field(default_factory=dict)

    @property
    def scored(self) -> int:
        """Number of answers with a score, over all plans."""
        return sum(int((~np.isnan(np.array(columns.score))).sum()) for columns in self.plans.values())


@dataclass(eq=False)
class AnswerColumns:
    """Merged records, read once.

    Attributes
    ----------
    sets : dict
        Columns by model, task group and data set.
    reasons : Counter
        Why items have no score.
    versions : list of str
        The different versions that records state, as JSON.
    """

    sets: dict[SetKey, SetColumns] = field(default_factory=dict)
    reasons: Counter[Reason] = field(default_factory=Counter)
    versions: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, records: Iterable[Record] | AnswerColumns) -> AnswerColumns:
        """From merged records in any order; a ValueError for records that are not those of a merged sweep."""
        if isinstance(records, AnswerColumns):
            return records
        columns, seen = cls(), set()
        for place, record in enumerate(records):
            columns._add(place, record)
            stated = json.dumps(record.get("versions"), sort_keys=True)
            if stated not in seen:
                seen.add(stated)
                columns.versions.append(stated)
        if not columns.sets:
            raise ValueError("records: expected merged records, got none; run `python -m vlm sweep` first")
        return columns

    def _add(self, place: int, record: Record) -> None:
        lacking = [name for name in NEEDED if name not in record]
        if lacking:
            raise ValueError(f"records: record {place} lacks {', '.join(lacking)}; pass merged records of a sweep")
        score = record["score"]
        if score is not None and not (type(score) in (int, float) and 0 <= score <= 1):
            raise ValueError(f"records: expected a score in [0, 1] or null, got {score!r} for item {record['item']!r}")
        # A data set without a task group forms a group of its own.
        key = str(record["model"]), str(record["group"] or record["dataset"]), str(record["dataset"])
        dataset = self.sets.setdefault(key, SetColumns())
        plan, name = str(record["plan"]), str(record["item"])
        columns = dataset.plans.setdefault(plan, PlanColumns())
        item = dataset.items.setdefault(name, len(dataset.items))
        if item >= len(columns.seen):
            columns.seen.extend(bytes(max(1024, item + 1 - len(columns.seen))))
        if columns.seen[item]:
            raise ValueError(
                f"records: item {record['item']!r} of {key[2]} has two records under plan {plan}; pass merged records "
                "(`python -m vlm merge RUN`)"
            )
        columns.seen[item] = True
        # An item that could not be read has no image; it counts as a unit of its own.
        image = f"item {name}" if record["image_id"] is None else str(record["image_id"])
        columns.item.append(item)
        columns.image.append(dataset.images.setdefault(image, len(dataset.images)))
        failed, judge = record["failure"] is not None, record["judge"] or {}
        scored = score is not None and not failed
        columns.score.append(np.nan if score is None or failed else float(score))
        columns.failed.append(failed)
        # A judge does not need a parsed answer.
        columns.unparsed.append(scored and record["parsed"] is None and judge.get("status") != "ok")
        columns.endless.append(record.get("thought") == "endless")
        columns.thought.append(record.get("thought") == "ended")
        letters = record.get("letter_probabilities")
        columns.mass.append(np.nan if failed or letters is None else sum(letters))
        tokens = {} if failed else record["tokens"] or {}
        for token in TOKENS:
            columns.tokens[token].append(tokens.get(token, np.nan))
        operations = {} if failed else record.get("operations") or {}
        columns.operations.append(operations.get("plan", np.nan))
        columns.full.append(operations.get("full", np.nan))
        if failed:
            self.reasons["failed", key[2], plan, str(record["failure"])] += 1
        elif score is None:
            self.reasons["unjudged", key[2], plan, str(judge.get("reason") or "no verdict")] += 1


@dataclass(frozen=True, eq=False)
class Answers:
    """One plan's answers on one data set as arrays, sorted by item, so that no sum depends on the order of records.

    `item` and `image` are positions in the sorted names of the data set's items and images.
    """

    item: IntArray
    image: IntArray
    score: FloatArray
    columns: Mapping[str, NDArray[Any]]

    @classmethod
    def of(cls, dataset: SetColumns, plan: str) -> Answers | None:
        """The answers of a plan; None where a data set has none."""
        if plan not in dataset.plans:
            return None
        raw = dataset.plans[plan]
        item = _ranks(dataset.items)[np.array(raw.item)]
        order = np.argsort(item)
        names = ("failed", "unparsed", "endless", "thought", "mass", "operations", "full")
        columns = {name: np.array(getattr(raw, name))[order] for name in names}
        columns |= {f"{name}_tokens": np.array(values)[order] for name, values in raw.tokens.items()}
        return cls(item[order], _ranks(dataset.images)[np.array(raw.image)][order], np.array(raw.score)[order], columns)

    @property
    def scored(self) -> NDArray[np.bool_]:
        """Which of the answers have a score."""
        return ~np.isnan(self.score)


def _ranks(names: Mapping[str, int]) -> IntArray:
    """Where the name with each number stands in the sorted names."""
    ranks = np.empty(len(names), dtype=np.int64)
    ranks[[names[name] for name in sorted(names)]] = np.arange(len(names))
    return ranks


def shared(first: Answers, second: Answers) -> tuple[IntArray, IntArray]:
    """Positions in both of the items that both have scored."""
    mine, theirs = np.flatnonzero(first.scored), np.flatnonzero(second.scored)
    _, i, j = np.intersect1d(first.item[mine], second.item[theirs], assume_unique=True, return_indices=True)
    return mine[i], theirs[j]
