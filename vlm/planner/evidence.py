"""What was measured of which plan on which prompts: kept in memory and, line by line, on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from redundancy.array_types import BoolArray, FloatArray
from vlm.plans.plan import SkipPlan
from vlm.record_log import Record

FIRST_STEP = 8


@dataclass(frozen=True, eq=False)
class Measured:
    """A plan on some questions.

    Attributes
    ----------
    kl : ndarray (questions,)
        Mean KL(full || plan) over an answer's positions, nats; NaN where it was not computed.
    same : ndarray of bool (questions,)
        Whether the greedy answer is the full model's.
    loss : ndarray (questions,)
        The promised loss.
    """

    kl: FloatArray
    same: BoolArray
    loss: FloatArray

    def __len__(self) -> int:
        return len(self.same)

    def first(self, count: int) -> Measured:
        """On the first questions only."""
        return Measured(self.kl[:count], self.same[:count], self.loss[:count])


# (plan, start, stop) -> the plan measured on questions start..stop-1.
Measure = Callable[[SkipPlan, int, int], Measured]


class BudgetSpent(Exception):
    """The search has used what it was given; what was measured is kept."""


def steps_of(size: int) -> list[int]:
    """Numbers of questions at which plans are compared: 8, 16, 32, ..., and all of them."""
    steps = [FIRST_STEP]
    while steps[-1] < size:
        steps.append(2 * steps[-1])
    return [min(step, size) for step in steps]


class Evidence:
    """Measurements of plans on one list of questions, each made once.

    Parameters
    ----------
    measure : function
        Measures a plan on a range of questions.
    size : int
        Number of questions.
    pool : str
        Name of the list in the records: "search" or "certification".
    known : iterable of dict
        Records of an earlier process.
    keep : function, optional
        Stores new records.
    spent : function, optional
        Called with the number of forwards before each measurement; raises `BudgetSpent` when there were enough.
    done : function, optional
        Called with the number of question-forwards that were taken from the records; the others `measure` counts.

    Attributes
    ----------
    forwards : int
        Question-forwards that the measurements asked for so far took, whoever made them.
    """

    def __init__(
        self,
        measure: Measure,
        size: int,
        pool: str,
        *,
        known: Iterable[Record] = (),
        keep: Callable[[Sequence[Mapping[str, object]]], None] | None = None,
        spent: Callable[[int], None] | None = None,
        done: Callable[[int], None] = lambda count: None,
    ) -> None:
        self.measure, self.size, self.pool = measure, size, pool
        self.keep, self.spent, self.done = keep, spent, done
        self.forwards = 0
        self._known: dict[str, dict[int, Measured]] = {}
        self._used: dict[str, Measured] = {}
        self._plans: dict[str, SkipPlan] = {}
        for record in known:
            if record.get("kind") == "measured" and record.get("pool") == pool:
                self._known.setdefault(record["plan"], {})[record["first"]] = read_measured(record)

    def on(self, plan: SkipPlan, count: int) -> Measured:
        """The plan on the first `count` questions, measuring what is missing.

        Raises
        ------
        BudgetSpent
            The budget does not allow more measurements.
        """
        count = min(count, self.size)
        if count < 1:
            raise ValueError("evidence: expected at least one question, got none")
        name = str(plan)
        have = self._used.get(name)
        start = 0 if have is None else len(have)
        if start < count:
            if self.spent is not None:
                self.spent(self.forwards)
            pieces = [] if have is None else [have]
            while start < count:
                piece = self._piece(plan, name, start, count)
                pieces.append(piece)
                start += len(piece)
                self.forwards += len(piece)
            self._used[name] = joined(pieces)
            self._plans[name] = plan
        return self._used[name].first(count)

    def measured(self) -> list[tuple[SkipPlan, Measured]]:
        """Everything asked for so far."""
        return [(self._plans[name], measured) for name, measured in self._used.items()]

    def count(self, plan: SkipPlan) -> int:
        """On how many questions a plan was measured."""
        have = self._used.get(str(plan))
        return 0 if have is None else len(have)

    def _piece(self, plan: SkipPlan, name: str, start: int, stop: int) -> Measured:
        stored = self._known.get(name, {}).pop(start, None)
        if stored is not None:
            self.done(min(len(stored), stop - start))
            return stored.first(stop - start)
        record = written_measured(self.pool, name, start, self.measure(plan, start, stop))
        if self.keep is not None:
            self.keep([record])
        # Rounded as it is on disk, so that a search that continues makes the same choices.
        return read_measured(record)


def joined(pieces: Sequence[Measured]) -> Measured:
    """Measurements of consecutive questions as one."""
    if len(pieces) == 1:
        return pieces[0]
    return Measured(
        np.concatenate([p.kl for p in pieces]),
        np.concatenate([p.same for p in pieces]),
        np.concatenate([p.loss for p in pieces]),
    )


def written_measured(pool: str, plan: str, first: int, piece: Measured) -> dict[str, object]:
    """A measurement as a record; nine digits of each number are kept."""
    return {
        "kind": "measured",
        "pool": pool,
        "plan": plan,
        "first": first,
        "kl": [None if np.isnan(v) else float(f"{v:.9g}") for v in piece.kl],
        "same": [int(v) for v in piece.same],
        "loss": [float(f"{v:.9g}") for v in piece.loss],
    }


def read_measured(record: Record) -> Measured:
    """The measurement of a record."""
    kl = np.array([np.nan if v is None else v for v in record["kl"]], dtype=np.float64)
    return Measured(kl, np.array(record["same"], dtype=bool), np.array(record["loss"], dtype=np.float64))
