"""Tables of seconds: the only tables of a report that differ between two runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from redundancy.array_types import FloatArray
from vlm.record_log import Record
from vlm.reports.accuracy_table import NO_PLAN, plan_place
from vlm.reports.answer_columns import AnswerColumns
from vlm.reports.table_formats import shown
from vlm.table import Table


def times(records: Iterable[Record] | AnswerColumns, lines: Iterable[Record]) -> Table:
    """Compute the seconds per item of each plan, and the paired ratios to no plan.

    Parameters
    ----------
    records : iterable of dict
        Merged records, for their task groups and failures.
    lines : iterable of dict
        `merged/times.jsonl`: dataset, item, plan and run; the seconds of a run are those of a call that `batch`
        items shared.

    Returns
    -------
    Table
        group, dataset, plan, items; prefill_seconds, decode_seconds (medians per item: a call's time over its
        items); prefill_ratio, decode_ratio (medians of an item's ratio to the same item without a plan).

    See Also
    --------
    timing : The same table for readers.

    Examples
    --------
    >>> from vlm.reports import times
    >>> record = {"dataset": "gqa", "group": "", "item": "1", "failure": None, "image_id": "a", "model": "tiny"}
    >>> record |= {"parsed": "yes", "score": 1.0, "judge": None, "tokens": None}
    >>> run = {"seconds_decode": 0.1, "batch": 2}
    >>> seconds = {"none": 0.4, "vision:0-4": 0.3}
    >>> records = [{**record, "plan": plan} for plan in seconds]
    >>> lines = [{**record, "plan": plan, "run": {**run, "seconds_prefill": s}} for plan, s in seconds.items()]
    >>> table = times(records, lines)
    >>> [(row["plan"], row["prefill_seconds"], round(row["prefill_ratio"], 2)) for row in table.rows()]
    [('none', 0.2, 1.0), ('vision:0-4', 0.15, 0.75)]
    """
    answers = AnswerColumns.of(records)
    groups = {dataset: (group, columns) for (_, group, dataset), columns in answers.sets.items()}
    # By data set and plan, an array (items, 2) of seconds; NaN where an item failed or was not timed.
    seconds: dict[tuple[str, str], dict[str, FloatArray]] = {}
    for line in lines:
        dataset, run = line["dataset"], line["run"]
        if dataset not in groups or run.get("seconds_prefill") is None:
            continue
        group, columns = groups[dataset]
        item, plan = columns.items.get(str(line["item"])), line["plan"]
        if item is None or plan not in columns.plans:
            continue
        table = seconds.setdefault((group, dataset), {})
        if plan not in table:
            table[plan] = np.full((len(columns.items), 2), np.nan)
        table[plan][item] = [float(run[f"seconds_{part}"] or 0.0) / run["batch"] for part in ("prefill", "decode")]
    rows = []
    for (group, dataset), plans in sorted(seconds.items()):
        for plan, table_of_plan in plans.items():
            raw = groups[dataset][1].plans[plan]
            table_of_plan[np.array(raw.item)[np.array(raw.failed, dtype=bool)]] = np.nan
        for plan, values in sorted(plans.items(), key=lambda entry: plan_place(entry[0])):
            timed = ~np.isnan(values[:, 0])
            if not timed.any():
                continue
            row: dict[str, Any] = {"group": group, "dataset": dataset, "plan": plan, "items": int(timed.sum())}
            full = plans.get(NO_PLAN, np.full_like(values, np.nan))
            for column, part in enumerate(("prefill", "decode")):
                both = timed & (full[:, column] > 0)
                row[f"{part}_seconds"] = float(np.median(values[timed, column]))
                ratios = values[both, column] / full[both, column]
                row[f"{part}_ratio"] = float(np.median(ratios)) if len(ratios) else np.nan
            rows.append(row)
    return Table.from_rows(rows)


class Circumstances(NamedTuple):
    """How a run's records were made: how many in a part of their batch, and on which devices."""

    divided: int
    devices: tuple[str, ...]


def circumstances(lines: Iterable[Record]) -> Circumstances:
    """Count the records answered in a part of their batch, because all of it failed or did not fit; name devices."""
    divided, devices = 0, set()
    for line in lines:
        divided += line["run"].get("attempt", 1) > 1
        devices.add(str(line["run"].get("device", "")))
    return Circumstances(divided, tuple(sorted(devices - {""})))


def timing(times: Table) -> Table:
    """Write the seconds per item and the ratios to no plan as text.

    Parameters
    ----------
    times : Table
        From :func:`times`.

    Returns
    -------
    Table
        data, plan, prefill (s), prefill ratio, decode (s), decode ratio.

    See Also
    --------
    times : The same as numbers.

    Examples
    --------
    >>> from vlm import Table
    >>> from vlm.reports import timing
    >>> row = {"dataset": "gqa", "plan": "vision:0-4", "prefill_seconds": 0.151, "prefill_ratio": 0.75}
    >>> print(timing(Table.from_rows([{**row, "decode_seconds": 0.05, "decode_ratio": 1.0}])).text())
    data        plan  prefill (s)  prefill ratio  decode (s)  decode ratio
     gqa  vision:0-4        0.151           0.75        0.05          1.00
    """
    rows = []
    for row in times.rows():
        cells: dict[str, str] = {"data": row["dataset"], "plan": row["plan"]}
        for part in ("prefill", "decode"):
            cells[f"{part} (s)"] = f"{row[f'{part}_seconds']:.3g}"
            cells[f"{part} ratio"] = shown(row[f"{part}_ratio"], 2)
        rows.append(cells)
    return Table.from_rows(rows)
