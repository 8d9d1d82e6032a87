"""What took how long: the only tables of a report that differ between two runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from vlm.reports.accuracy_table import NO_PLAN, plan_place
from vlm.reports.table_formats import shown
from vlm.table import Table

Record = Mapping[str, Any]


def times(records: Sequence[Record], lines: Iterable[Record]) -> Table:
    """Seconds per item and plan, and paired ratios to no plan; these differ from run to run.

    Parameters
    ----------
    records : sequence of dict
        Merged records, for their groups and failures.
    lines : iterable of dict
        `merged/times.jsonl`: dataset, item, plan and run, whose seconds are those of a call that `batch` items shared.

    Returns
    -------
    Table
        group, dataset, plan, items; prefill_seconds, decode_seconds (medians per item: a call's time over its
        items); prefill_ratio, decode_ratio (medians of an item's ratio to the same item without a plan).
    """
    good = {
        (r["dataset"], r["item"], r["plan"]): str(r["group"] or r["dataset"]) for r in records if r["failure"] is None
    }
    seconds: dict[tuple[str, str], dict[str, dict[str, tuple[float, float]]]] = {}
    for line in lines:
        key, run = (line["dataset"], line["item"], line["plan"]), line["run"]
        if key in good and run.get("seconds_prefill") is not None:
            each = tuple(float(run[f"seconds_{part}"] or 0.0) / run["batch"] for part in ("prefill", "decode"))
            place = seconds.setdefault((good[key], key[0]), {}).setdefault(key[2], {})
            place[key[1]] = each[0], each[1]
    rows = []
    for (group, dataset), plans in sorted(seconds.items()):
        for plan, items in sorted(plans.items(), key=lambda entry: plan_place(entry[0])):
            taken, paired = np.array(list(items.values())), _paired(items, plans.get(NO_PLAN, {}))
            row: dict[str, Any] = {"group": group, "dataset": dataset, "plan": plan, "items": len(items)}
            for column, part in enumerate(("prefill", "decode")):
                row[f"{part}_seconds"] = float(np.median(taken[:, column]))
                row[f"{part}_ratio"] = float(np.median(paired[column])) if paired[column] else np.nan
            rows.append(row)
    return Table.from_rows(rows)


def divided(lines: Iterable[Record]) -> int:
    """How many records were answered in a part of their batch, since the whole of it failed or had no room."""
    return sum(line["run"].get("attempt", 1) > 1 for line in lines)


def timing(times: Table) -> Table:
    """Seconds per item and ratios to no plan, as text."""
    rows = []
    for row in times.rows():
        told: dict[str, Any] = {"data": row["dataset"], "plan": row["plan"]}
        for part in ("prefill", "decode"):
            told[f"{part} (s)"] = f"{row[f'{part}_seconds']:.3g}"
            told[f"{part} ratio"] = shown(row[f"{part}_ratio"], 2)
        rows.append(told)
    return Table.from_rows(rows)


def _paired(
    items: dict[str, tuple[float, float]], full: dict[str, tuple[float, float]]
) -> tuple[list[float], list[float]]:
    both = [name for name in items if name in full]
    first, second = ([items[n][i] / full[n][i] for n in both if full[n][i] > 0] for i in (0, 1))
    return first, second
