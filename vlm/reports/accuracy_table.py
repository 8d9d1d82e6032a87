"""From merged records to tables: accuracy with image-level intervals, paired change, cost, failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from vlm.evaluation.accuracy import Score, paired_difference, score_accuracy
from vlm.plans.plan import SkipPlan
from vlm.table import Table

Record = Mapping[str, Any]
NO_PLAN = str(SkipPlan())
ALL = "all"
NEEDED = ("dataset", "item", "image_id", "group", "plan", "parsed", "score", "failure", "judge", "tokens", "model")


def summary(
    records: Sequence[Record], *, confidence: float = 0.95, by: Literal["dataset", "group"] = "dataset"
) -> Table:
    """One row per data set (or task group) and plan; the same records in any order give the same table.

    Parameters
    ----------
    records : sequence of dict
        As `vlm.merging.merged` gives them: one per item and plan.
    confidence : float
        Of each interval by itself, in (0, 1).
    by : {"dataset", "group"}
        "group": the mean over the group's data sets, each counting the same, however many items it has. Its
        interval joins theirs, which are made at a higher confidence so that all of them hold together.

    Returns
    -------
    Table
        model, group, dataset ("all" for a group), plan, kind, layer (-1 where there is none)
        items, images, failed (not answered: unreadable, too large), unjudged (the judge gave no verdict), scored
        unparsed
            Scored items whose answer could not be read; they count as wrong.
        accuracy, accuracy_low, accuracy_high
            Mean score of scored items, each item counting the same; betting interval over images (a bound for
            dependent items of one image).
        change, change_low, change_high
            From the same items without a plan, paired; NaN where no item was scored in both.
        vision_tokens, text_tokens, new_tokens
            Means over the items.
        operations_ratio
            Decoder operations of the prompts, over those without a plan; NaN where they were not counted.

    Raises
    ------
    ValueError
        No records, a record without a needed key, two records of one item and plan, scores outside [0, 1].
    """
    _check(records)
    if by not in ("dataset", "group"):
        raise ValueError(f"by: expected 'dataset' or 'group', got {by!r}")
    found = _by_set(records)
    groups: dict[tuple[str, str], list[tuple[str, str, str]]] = {}
    for model, group, dataset in found:
        groups.setdefault((model, group), []).append((model, group, dataset))
    rows = []
    for (model, group), sets in groups.items():
        shared = confidence if by == "dataset" else 1 - (1 - confidence) / len(sets)
        made = {key: _rows(found[key], shared) for key in sets}
        if by == "dataset":
            rows += [
                {"model": model, "group": group, "dataset": key[2], **row}
                for key, plans in made.items()
                for row in plans.values()
            ]
        else:
            rows += _averaged(model, group, list(made.values()))
    return Table.from_rows(rows)


def failures(records: Sequence[Record]) -> Table:
    """What was not scored and why: kind, dataset, plan, reason, items; most frequent first."""
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
    """("none", -1), ("late entry", k), ("early exit", k) or ("other", -1) of a plan's text form."""
    value = SkipPlan.parse(plan)
    if not value:
        return "none", -1
    start, stop = value.vision[0] if value.vision else (0, 0)
    if stop is not None and value == SkipPlan.late_entry(stop):
        return "late entry", stop
    return ("early exit", start) if value == SkipPlan.early_exit(start) else ("other", -1)


def plan_place(plan: str) -> tuple[int, int, str]:
    """Where a plan stands in a table: none, late entry, early exit, others."""
    kind, layer = plan_kind(plan)
    return ("none", "late entry", "early exit", "other").index(kind), layer, plan


def _by_set(records: Sequence[Record]) -> dict[tuple[str, str, str], dict[str, dict[str, Record]]]:
    """(model, group, data set) -> plan -> item -> record, all of them sorted."""
    found: dict[tuple[str, str, str], dict[str, dict[str, Record]]] = {}
    for r in records:
        # A data set that belongs to no task group is one of its own.
        key = str(r["model"]), str(r["group"] or r["dataset"]), str(r["dataset"])
        items = found.setdefault(key, {}).setdefault(str(r["plan"]), {})
        if str(r["item"]) in items:
            raise ValueError(
                f"records: item {r['item']!r} of {r['dataset']} has two records under plan {r['plan']}; pass merged "
                "records (`python -m vlm merge RUN`)"
            )
        items[str(r["item"])] = r
    return {
        key: {plan: dict(sorted(found[key][plan].items())) for plan in sorted(found[key], key=plan_place)}
        for key in sorted(found)
    }


def _rows(plans: dict[str, dict[str, Record]], confidence: float) -> dict[str, dict[str, Any]]:
    full = _scored(plans.get(NO_PLAN, {}))
    return {plan: _row(plan, items, full, confidence) for plan, items in plans.items()}


def _row(plan: str, items: dict[str, Record], full: dict[str, Record], confidence: float) -> dict[str, Any]:
    kind, layer = plan_kind(plan)
    scored = _scored(items)
    asked = [r for r in items.values() if r["failure"] is None]
    both = [name for name in scored if name in full]
    accuracy = _score([r["score"] for r in scored.values()], _images(scored.values()), confidence)
    change = _difference(scored, full, both, confidence) if kind != "none" else _no_change(accuracy)
    counted = [r["operations"] for r in asked if r.get("operations")]
    return {
        "plan": plan,
        "kind": kind,
        "layer": layer,
        "items": len(items),
        "images": accuracy.images,
        "failed": len(items) - len(asked),
        "unjudged": len(asked) - len(scored),
        "scored": len(scored),
        "unparsed": sum(r["parsed"] is None and not _judged(r) for r in scored.values()),
        **_columns("accuracy", accuracy),
        **_columns("change", change),
        **{f"{name}_tokens": _mean(r["tokens"][name] for r in asked if r["tokens"]) for name in _TOKENS},
        "operations_ratio": _ratio(counted),
    }


_TOKENS = ("vision", "text", "new")


def _averaged(model: str, group: str, sets: Sequence[dict[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Rows of a group: counts add up, the rest is the mean over data sets that have the plan."""
    plans = sorted({plan for made in sets for plan in made}, key=plan_place)
    rows = []
    for plan in plans:
        parts = [made[plan] for made in sets if plan in made]
        row: dict[str, Any] = {"model": model, "group": group, "dataset": ALL}
        for name, value in parts[0].items():
            if name in ("plan", "kind", "layer"):
                row[name] = value
            elif isinstance(value, int):
                row[name] = sum(part[name] for part in parts)
            else:
                row[name] = float(np.mean([part[name] for part in parts]))
        rows.append(row)
    return rows


def _score(values: Sequence[float], images: Sequence[str], confidence: float) -> Score:
    if not values:
        return Score(np.nan, np.nan, np.nan, 0)
    return score_accuracy(values, images, confidence=confidence, weighting="question")


def _difference(scored: dict[str, Record], full: dict[str, Record], both: Sequence[str], confidence: float) -> Score:
    if not both:
        return Score(np.nan, np.nan, np.nan, 0)
    mine, theirs = ([float(side[name]["score"]) for name in both] for side in (scored, full))
    return paired_difference(
        mine, theirs, _images(scored[name] for name in both), confidence=confidence, weighting="question"
    )


def _no_change(accuracy: Score) -> Score:
    """Of the unskipped model from itself."""
    zero = 0.0 * accuracy.value
    return Score(zero, zero, zero, accuracy.images)


def _scored(items: dict[str, Record]) -> dict[str, Record]:
    return {name: r for name, r in items.items() if r["failure"] is None and r["score"] is not None}


def _judged(record: Record) -> bool:
    """Whether someone who needs no parsed answer has decided."""
    return bool(record["judge"]) and record["judge"].get("status") == "ok"


def _images(records: Any) -> list[str]:
    return [str(r["image_id"]) for r in records]


def _columns(name: str, found: Score) -> dict[str, float]:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


def _mean(values: Any) -> float:
    listed = [float(v) for v in values]
    return float(np.mean(listed)) if listed else np.nan


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
