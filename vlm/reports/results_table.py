"""The table for people: what was measured for a plan's layers, beside what the plan cost and saved."""

from __future__ import annotations

import math
from operator import itemgetter
from typing import Any

from vlm.reports.table_formats import MISSING, shown, with_interval
from vlm.table import Table


def results(summary: Table, cells: Table | None = None, *, t: float = 0.05) -> Table:
    """One row per data set (or group) and plan, as text; equal inputs give equal tables.

    Parameters
    ----------
    summary : Table
        From :func:`vlm.reports.summary`.
    cells : Table, optional
        From :func:`vlm.reports.condition_cells`; without it the measured columns show a dash.
    t : float
        Threshold of the cells, for the heading.

    Returns
    -------
    Table
        data, plan; distance and P(d <= t) of the layer at the plan's boundary, VAR (largest visual attention ratio
        of the bypassed layers); accuracy and change with intervals; operations saved; items, unparsed, failed (not
        answered), unjudged.
    """
    key = itemgetter("group", "dataset", "plan")
    measured = {} if cells is None else {key(row): row for row in cells.rows()}
    several = {row["dataset"] for row in summary.rows()} != {"all"}
    return Table.from_rows([_row(row, measured.get(key(row), {}), t, several) for row in summary.rows()])


def _row(row: dict[str, Any], cell: dict[str, Any], t: float, by_set: bool) -> dict[str, str]:
    saved = 1 - row["operations_ratio"]
    return {
        "data": row["dataset"] if by_set else row["group"],
        "plan": row["plan"],
        "distance": shown(cell.get("distance")),
        f"P(d ≤ {t:g})": shown(cell.get("within")),
        "VAR": shown(cell.get("attention")),
        "accuracy": with_interval(row["accuracy"], row["accuracy_low"], row["accuracy_high"]),
        "change": MISSING
        if row["kind"] == "none"
        else with_interval(row["change"], row["change_low"], row["change_high"], sign=True),
        "operations saved": MISSING if math.isnan(saved) else f"{saved:.1%}",
        **{name: str(row[name]) for name in ("items", "unparsed", "failed", "unjudged")},
    }
