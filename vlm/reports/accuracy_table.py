"""Tables from merged records: accuracy with image-level intervals, paired change, cost, failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np

from vlm.evaluation.accuracy import Score, paired_difference, score_accuracy
from vlm.plans.plan import SkipPlan
from vlm.record_log import Record
from vlm.table import Table

Cell = str | int | float
NO_PLAN = str(SkipPlan())
ALL = "all"
NEEDED = ("dataset", "item", "image_id", "group", "plan", "parsed", "score", "failure", "judge", "tokens", "model")


def summary(
    records: Sequence[Record],
    *,
    confidence: float = 0.95,
    by: Literal["dataset", "group"] = "dataset",
    max_rows: Mapping[str, float] | None = None,
) -> Table:
    """Summarise merged records in one row per data set (or task group) and plan.

    The order of the records does not matter.

    Parameters
    ----------
    records : sequence of dict
        Merged records, one per item and plan (``python -m vlm merge``).
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
        accuracy, accuracy_low, accuracy_high
            Mean over images of an image's mean score over its scored items, in [0, 1], each image counting the same;
            betting interval over images, because items about one image are dependent. Items count the same where
            `max_rows` says how many an image can have: no record states that, and the sample does not tell.
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
    _check(records)
    if by not in ("dataset", "group"):
        raise ValueError(f"by: expected 'dataset' or 'group', got {by!r}")
    by_set = _by_set(records)
    groups: dict[tuple[str, str], list[tuple[str, str, str]]] = {}
    for model, group, dataset in by_set:
        groups.setdefault((model, group), []).append((model, group, dataset))
    rows = []
    for (model, group), sets in groups.items():
        joint = confidence if by == "dataset" else 1 - (1 - confidence) / len(sets)
        summaries = {key: _rows(by_set[key], joint, (max_rows or {}).get(key[2])) for key in sets}
        if by == "dataset":
            rows += [
                {"model": model, "group": group, "dataset": key[2], **row}
                for key, plans in summaries.items()
                for row in plans.values()
            ]
        else:
            rows += _averaged(model, group, list(summaries.values()))
    return Table.from_rows(rows)


def failures(records: Sequence[Record]) -> Table:
    """Count the items that were not scored, by reason.

    Parameters
    ----------
    records : sequence of dict
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
    counts: Counter[tuple[str, str, str, str]] = Counter()
    for r in records:
        if r["failure"] is not None:
            counts["failed", str(r["dataset"]), str(r["plan"]), str(r["failure"])] += 1
        elif r["score"] is None:
            judge = r["judge"] or {}
            counts["unjudged", str(r["dataset"]), str(r["plan"]), str(judge.get("reason") or "no verdict")] += 1
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


def _by_set(records: Sequence[Record]) -> dict[tuple[str, str, str], dict[str, dict[str, Record]]]:
    """(model, task group, data set) -> plan -> item -> record, all sorted."""
    by_set: dict[tuple[str, str, str], dict[str, dict[str, Record]]] = {}
    for r in records:
        # A data set without a task group forms a group of its own.
        key = str(r["model"]), str(r["group"] or r["dataset"]), str(r["dataset"])
        items = by_set.setdefault(key, {}).setdefault(str(r["plan"]), {})
        if str(r["item"]) in items:
            raise ValueError(
                f"records: item {r['item']!r} of {r['dataset']} has two records under plan {r['plan']}; pass merged "
                "records (`python -m vlm merge RUN`)"
            )
        items[str(r["item"])] = r
    return {
        key: {plan: dict(sorted(by_set[key][plan].items())) for plan in sorted(by_set[key], key=plan_place)}
        for key in sorted(by_set)
    }


def _rows(plans: dict[str, dict[str, Record]], confidence: float, max_rows: float | None) -> dict[str, dict[str, Cell]]:
    full = _scored(plans.get(NO_PLAN, {}))
    return {plan: _row(plan, items, full, confidence, max_rows) for plan, items in plans.items()}


def _row(
    plan: str, items: dict[str, Record], full: dict[str, Record], confidence: float, max_rows: float | None
) -> dict[str, Cell]:
    kind, layer = plan_kind(plan)
    scored = _scored(items)
    answered = [r for r in items.values() if r["failure"] is None]
    both = [name for name in scored if name in full]
    accuracy = _score([r["score"] for r in scored.values()], _images(scored.values()), confidence, max_rows)
    change = _difference(scored, full, both, confidence, max_rows) if kind != "none" else _no_change(accuracy)
    counted = [r["operations"] for r in answered if r.get("operations")]
    return {
        "plan": plan,
        "kind": kind,
        "layer": layer,
        "items": len(items),
        "images": accuracy.images,
        "failed": len(items) - len(answered),
        "unjudged": len(answered) - len(scored),
        "scored": len(scored),
        "unparsed": sum(r["parsed"] is None and not _judged(r) for r in scored.values()),
        **_columns("accuracy", accuracy),
        **_columns("change", change),
        **{f"{name}_tokens": _mean(r["tokens"][name] for r in answered if r["tokens"]) for name in _TOKENS},
        "operations_ratio": _ratio(counted),
    }


_TOKENS = ("vision", "text", "new")


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


def _score(values: Sequence[float], images: Sequence[str], confidence: float, max_rows: float | None) -> Score:
    if not values:
        return Score(np.nan, np.nan, np.nan, 0)
    return score_accuracy(values, images, confidence=confidence, weighting=_weighting(max_rows), max_rows=max_rows)


def _difference(
    scored: dict[str, Record], full: dict[str, Record], both: Sequence[str], confidence: float, max_rows: float | None
) -> Score:
    if not both:
        return Score(np.nan, np.nan, np.nan, 0)
    mine, theirs = ([float(side[name]["score"]) for name in both] for side in (scored, full))
    return paired_difference(
        mine,
        theirs,
        _images(scored[name] for name in both),
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


def _scored(items: dict[str, Record]) -> dict[str, Record]:
    return {name: r for name, r in items.items() if r["failure"] is None and r["score"] is not None}


def _judged(record: Record) -> bool:
    """Whether a judge, which does not need a parsed answer, has given a verdict."""
    return bool(record["judge"]) and record["judge"].get("status") == "ok"


def _images(records: Iterable[Record]) -> list[str]:
    return [str(r["image_id"]) for r in records]


def _columns(name: str, score: Score) -> dict[str, float]:
    return {name: score.value, f"{name}_low": score.low, f"{name}_high": score.high}


def _mean(values: Iterable[float]) -> float:
    numbers = [float(v) for v in values]
    return float(np.mean(numbers)) if numbers else np.nan


def _ratio(counted: Sequence[Mapping[str, float]]) -> float:
    full = sum(c["full"] for c in counted)
    return sum(c["plan"] for c in counted) / full if full else np.nan


def _check(records: Sequence[Record]) -> None:
    if not records:
        raise ValueError("records: expected merged records, got none; run `python -m vlm sweep` first")
    for place, r in enumerate(records):
        lacking = [name for name in NEEDED if name not in r]
        if lacking:
            raise ValueError(f"records: record {place} lacks {', '.join(lacking)}; pass merged records of a sweep")
        value = r["score"]
        if value is not None and not (isinstance(value, (int, float)) and 0 <= value <= 1):
            raise ValueError(f"records: expected a score in [0, 1] or null, got {value!r} for item {r['item']!r}")
