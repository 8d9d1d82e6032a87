"""Tables from merged records: accuracy with image-level intervals, paired change, cost, failures."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import numpy as np

from redundancy.array_types import FloatArray, IntArray
from vlm.evaluation.accuracy import Score, paired_difference, score_accuracy
from vlm.plans.plan import SkipPlan
from vlm.progress_bar import by_stage
from vlm.record_log import Record
from vlm.reports.answer_columns import HALF, TOKENS, AnswerColumns, Answers, Reason, SetColumns, SetKey, shared
from vlm.table import Table

Cell = str | int | float
NO_PLAN = str(SkipPlan())
ALL = "all"


def summary(
    records: Iterable[Record] | AnswerColumns,
    *,
    confidence: float = 0.95,
    by: Literal["dataset", "group"] = "dataset",
    max_rows: Mapping[str, float] | None = None,
) -> Table:
    """Summarise merged records in one row per data set (or task group) and plan.

    The order of the records does not matter.

    Parameters
    ----------
    records : iterable of dict
        Merged records, one per item and plan (``python -m vlm merge``); read once, so they may come from a file.
    confidence : float
        Confidence of each interval by itself, in (0, 1).
    by : {"dataset", "group"}
        "group" averages over the data sets of a task group, which count the same, however many items they have. The
        group's interval combines those of its data sets, each computed at a higher confidence so that all of them
        hold together.
    max_rows : mapping, optional
        For a data set by name, the largest number of items that any of its images can have, from the definition of the
        data set: there items count the same, as benchmarks report it; elsewhere images do.

    Returns
    -------
    Table
        Its columns:

        model, group, dataset, plan, kind, layer
            The data set is "all" for a group, the layer -1 where there is none.
        items, images, failed, unjudged, scored
            Counts: failed items were not answered (unreadable, too large); to unjudged ones the judge gave no verdict.
        unparsed
            Scored items whose answer could not be read; they count as wrong.
        thoughts, endless
            Answers after thoughts, and thoughts that never ended, which count as unparsed.
        accuracy, accuracy_low, accuracy_high
            Mean over images of an image's mean score over its scored items, in [0, 1], each image counting the same;
            betting interval over images, because items about one image are dependent. Items count the same where
            `max_rows` says how many an image can have: no record states that, and the sample does not tell.
        accuracy_if_wrong, accuracy_if_right
            Accuracy if every item without a score were wrong, or right.
        label_mass, off_label
            Mean probability of all labels together in answers from one forward pass, NaN without such answers; number
            of those in which it is below one half. There the largest label is not what the model would say.
        change, change_low, change_high
            Paired difference to the same items without a plan; NaN where no item was scored under both.
        vision_tokens, text_tokens, new_tokens
            Means over the items.
        operations_ratio
            Decoder operations of the prompts divided by those without a plan; NaN where they were not counted.

    Raises
    ------
    ValueError
        No records, a record without a needed key, two records of one item and plan, scores outside [0, 1].

    See Also
    --------
    failures : The items that were not scored.
    results : The same table for readers.

    Examples
    --------
    >>> from vlm.reports import summary
    >>> def record(item, plan, score):
    ...     fields = {"model": "tiny", "group": "General VQA", "dataset": "gqa", "image_id": item, "parsed": "yes"}
    ...     tokens = {"vision": 36, "text": 9, "new": 1}
    ...     fields |= {"item": item, "plan": plan, "score": score, "tokens": tokens}
    ...     return fields | {"failure": None, "judge": None}
    >>> records = [record(i, plan, float(i % 4 > 0)) for i in range(40) for plan in ("none", "vision:0-4")]
    >>> table = summary(records)
    >>> for row in table.rows():
    ...     print(row["plan"], row["kind"], row["accuracy"], round(row["accuracy_low"], 2), row["change"])
    none none 0.75 0.52 0.0
    vision:0-4 late entry 0.75 0.52 0.0
    """
    if by not in ("dataset", "group"):
        raise ValueError(f"by: expected 'dataset' or 'group', got {by!r}")
    answers = AnswerColumns.of(records)
    groups: dict[tuple[str, str], list[SetKey]] = {}
    for key in sorted(answers.sets):
        groups.setdefault(key[:2], []).append(key)
    rows = []
    numbers, total = itertools.count(1), sum(len(columns.plans) for columns in answers.sets.values())
    with by_stage() as told:
        summarised = {
            group: {
                key: _rows(
                    answers.sets[key],
                    confidence if by == "dataset" else 1 - (1 - confidence) / len(sets),
                    (max_rows or {}).get(key[2]),
                    done=lambda: told("intervals", next(numbers), total),
                )
                for key in sets
            }
            for group, sets in groups.items()
        }
    for (model, group), summaries in summarised.items():
        if by == "dataset":
            rows += [
                {"model": model, "group": group, "dataset": key[2], **row}
                for key, plans in summaries.items()
                for row in plans.values()
            ]
        else:
            rows += _averaged(model, group, list(summaries.values()))
    return Table.from_rows(rows)


def failures(records: Iterable[Record] | AnswerColumns) -> Table:
    """Count the items that were not scored, by reason.

    Parameters
    ----------
    records : iterable of dict
        Merged records, one per item and plan.

    Returns
    -------
    Table
        kind ("failed" or "unjudged"), dataset, plan, reason, items; most frequent first.

    See Also
    --------
    results : What was scored.
    vlm.merged : Read the records of a run.

    Examples
    --------
    >>> from vlm.reports import failures
    >>> record = {"dataset": "gqa", "plan": "none", "score": None, "judge": None, "failure": None}
    >>> print(failures([record, record, record | {"failure": "image: expected a file"}]).text())
        kind  dataset  plan                  reason  items
    unjudged      gqa  none              no verdict      2
      failed      gqa  none  image: expected a file      1
    """
    counts = AnswerColumns.of(records).reasons if isinstance(records, AnswerColumns) else _reasons(records)
    names = ("kind", "dataset", "plan", "reason")
    ordered = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    columns = {name: np.array([key[i] for key, _ in ordered], dtype=str) for i, name in enumerate(names)}
    return Table({**columns, "items": np.array([count for _, count in ordered], dtype=np.int64)})


def plan_kind(plan: str) -> tuple[str, int]:
    """The kind of a plan in text form: ("none", -1), ("late entry", k), ("early exit", k) or ("other", -1)."""
    value = SkipPlan.parse(plan)
    if not value:
        return "none", -1
    start, stop = value.vision[0] if value.vision else (0, 0)
    if stop is not None and value == SkipPlan.late_entry(stop):
        return "late entry", stop
    return ("early exit", start) if value == SkipPlan.early_exit(start) else ("other", -1)


def plan_place(plan: str) -> tuple[int, int, str]:
    """Sort key of a plan in a table: none, late entry, early exit, others."""
    kind, layer = plan_kind(plan)
    return ("none", "late entry", "early exit", "other").index(kind), layer, plan


def _reasons(records: Iterable[Record]) -> Counter[Reason]:
    counts: Counter[Reason] = Counter()
    for r in records:
        if r["failure"] is not None:
            counts["failed", str(r["dataset"]), str(r["plan"]), str(r["failure"])] += 1
        elif r["score"] is None:
            judge = r["judge"] or {}
            counts["unjudged", str(r["dataset"]), str(r["plan"]), str(judge.get("reason") or "no verdict")] += 1
    return counts


def _rows(
    dataset: SetColumns, confidence: float, max_rows: float | None, *, done: Callable[[], None]
) -> dict[str, dict[str, Cell]]:
    full, rows = Answers.of(dataset, NO_PLAN), {}
    for plan in sorted(dataset.plans, key=plan_place):
        answers = Answers.of(dataset, plan)
        if answers is not None:
            rows[plan] = _row(plan, answers, full, confidence, max_rows)
        done()
    return rows


def _row(
    plan: str, answers: Answers, full: Answers | None, confidence: float, max_rows: float | None
) -> dict[str, Cell]:
    kind, layer = plan_kind(plan)
    scored, columns = answers.scored, answers.columns
    accuracy = _score(answers.score[scored], answers.image[scored], confidence, max_rows)
    change = _no_change(accuracy) if kind == "none" else _difference(answers, full, confidence, max_rows)
    mass = columns["mass"][~np.isnan(columns["mass"])]
    failed = int(columns["failed"].sum())
    return {
        "plan": plan,
        "kind": kind,
        "layer": layer,
        "items": len(scored),
        "images": accuracy.images,
        "failed": failed,
        "unjudged": len(scored) - failed - int(scored.sum()),
        "scored": int(scored.sum()),
        "unparsed": int(columns["unparsed"].sum()),
        "thoughts": int(columns["thought"].sum()),
        "endless": int(columns["endless"].sum()),
        **_columns("accuracy", accuracy),
        "accuracy_if_wrong": _worst(answers, 0.0, max_rows),
        "accuracy_if_right": _worst(answers, 1.0, max_rows),
        **_columns("change", change),
        "label_mass": float(mass.mean()) if len(mass) else np.nan,
        "off_label": int((mass < HALF).sum()),
        **{f"{name}_tokens": _mean(columns[f"{name}_tokens"]) for name in TOKENS},
        "operations_ratio": _ratio(columns["operations"], columns["full"]),
    }


def doubts(summary: Table) -> list[str]:
    """What a reader of a summary must know before its numbers: one sentence per data set and plan in doubt.

    Parameters
    ----------
    summary : Table
        From :func:`summary`.
    """
    found = []
    for row in summary.rows():
        where = f"{row['group'] if row['dataset'] == ALL else row['dataset']} under {row['plan']}"
        if row.get("off_label"):
            found.append(
                f"{where}: in {row['off_label']} of {row['items']} answers from one pass the labels have less than "
                f"half of the probability ({row['label_mass']:.2g} on average); the model wants to say something else"
            )
        if row.get("endless"):
            found.append(
                f"{where}: {row['endless']} of {row['items']} answers are thoughts that never end; give more tokens"
            )
        if row["scored"] < row["items"]:
            found.append(
                f"{where}: {row['scored']} of {row['items']} items are scored; with the others accuracy lies in "
                f"[{row['accuracy_if_wrong']:.3f}, {row['accuracy_if_right']:.3f}]"
            )
    return found


def _averaged(model: str, task_group: str, sets: Sequence[dict[str, dict[str, Cell]]]) -> list[dict[str, Cell]]:
    """The rows of a task group: counts are summed, other numbers averaged over the data sets that have the plan."""
    plans = sorted({plan for summaries in sets for plan in summaries}, key=plan_place)
    rows = []
    for plan in plans:
        parts = [summaries[plan] for summaries in sets if plan in summaries]
        row: dict[str, Cell] = {"model": model, "group": task_group, "dataset": ALL}
        for name, value in parts[0].items():
            if name in ("plan", "kind", "layer"):
                row[name] = value
            elif isinstance(value, int):
                row[name] = sum(int(part[name]) for part in parts)
            else:
                row[name] = float(np.mean([float(part[name]) for part in parts]))
        rows.append(row)
    return rows


def _score(values: FloatArray, images: IntArray, confidence: float, max_rows: float | None) -> Score:
    if not len(values):
        return Score(np.nan, np.nan, np.nan, 0)
    return score_accuracy(values, images, confidence=confidence, weighting=_weighting(max_rows), max_rows=max_rows)


def _worst(answers: Answers, score: float, max_rows: float | None) -> float:
    """Accuracy if every item without a score had this one."""
    values = np.where(answers.scored, answers.score, score)
    if max_rows is not None:
        return float(values.mean())
    _, index, sizes = np.unique(answers.image, return_inverse=True, return_counts=True)
    return float((np.bincount(index, weights=values) / sizes).mean())


def _difference(answers: Answers, full: Answers | None, confidence: float, max_rows: float | None) -> Score:
    if full is None:
        return Score(np.nan, np.nan, np.nan, 0)
    mine, theirs = shared(answers, full)
    if not len(mine):
        return Score(np.nan, np.nan, np.nan, 0)
    return paired_difference(
        answers.score[mine],
        full.score[theirs],
        answers.image[mine],
        confidence=confidence,
        weighting=_weighting(max_rows),
        max_rows=max_rows,
    )


def _weighting(max_rows: float | None) -> Literal["image", "question"]:
    """Items count the same only where the largest number of an image's items is known in advance."""
    return "image" if max_rows is None else "question"


def _no_change(accuracy: Score) -> Score:
    """The change of the model without a plan, which is zero."""
    zero = 0.0 * accuracy.value
    return Score(zero, zero, zero, accuracy.images)


def _columns(name: str, score: Score) -> dict[str, float]:
    return {name: score.value, f"{name}_low": score.low, f"{name}_high": score.high}


def _mean(values: FloatArray) -> float:
    numbers = values[~np.isnan(values)]
    return float(numbers.mean()) if len(numbers) else np.nan


def _ratio(plan: FloatArray, full: FloatArray) -> float:
    total = float(np.nansum(full))
    return float(np.nansum(plan)) / total if total else np.nan
