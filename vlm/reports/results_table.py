"""The table for readers: the measurements of a plan's layers beside what the plan cost and saved."""

from __future__ import annotations

import math
from operator import itemgetter
from typing import Any

from vlm.reports.table_formats import MISSING, shown, with_interval
from vlm.table import Table


def results(summary: Table, cells: Table | None = None, *, t: float = 0.05) -> Table:
    """Write the summary as text, in one row per data set (or task group) and plan.

    Parameters
    ----------
    summary : Table
        From :func:`summary`.
    cells : Table, optional
        From :func:`condition_cells`; without it the columns of measurements show a dash.
    t : float
        Threshold of the cells, named in the heading.

    Returns
    -------
    Table
        data, plan; accuracy and change with intervals; operations saved; scored and asked items, and accuracy if the
        others were wrong or right; distance and P(d <= t) of the layer at the plan's boundary, VAR (largest visual
        attention ratio of the bypassed layers); the labels' probability in one-pass answers; unparsed, endless
        thoughts, failed (not answered), unjudged.

    See Also
    --------
    summary : The same as numbers.
    condition_cells : The measurements beside them.

    Examples
    --------
    >>> from vlm import Table
    >>> from vlm.reports import results
    >>> row = {"group": "General VQA", "dataset": "gqa", "plan": "vision:0-4", "kind": "late entry"}
    >>> row |= {"accuracy": 0.8, "accuracy_low": 0.7, "accuracy_high": 0.9, "operations_ratio": 0.82}
    >>> row |= {"change": -0.01, "change_low": -0.04, "change_high": 0.02}
    >>> row |= {"items": 200, "scored": 200, "unparsed": 3, "failed": 0, "unjudged": 0}
    >>> (line,) = results(Table.from_rows([row])).rows()
    >>> line["accuracy"], line["change"], line["operations saved"], line["VAR"]
    ('0.800 [0.700, 0.900]', '-0.010 [-0.040, +0.020]', '18.0%', '–')
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
        "accuracy": with_interval(row["accuracy"], row["accuracy_low"], row["accuracy_high"]),
        "change": MISSING
        if row["kind"] == "none"
        else with_interval(row["change"], row["change_low"], row["change_high"], sign=True),
        "operations saved": MISSING if math.isnan(saved) else f"{saved:.1%}",
        "scored/asked": f"{row['scored']}/{row['items']}",
        "if the others were wrong or right": MISSING
        if row["scored"] == row["items"]
        else f"[{row['accuracy_if_wrong']:.3f}, {row['accuracy_if_right']:.3f}]",
        "distance": shown(cell.get("distance")),
        f"P(d ≤ {t:g})": shown(cell.get("within")),
        "VAR": shown(cell.get("attention")),
        "label mass": shown(row.get("label_mass", math.nan)),
        **{name: str(row.get(name, 0)) for name in ("unparsed", "endless", "failed", "unjudged")},
    }
