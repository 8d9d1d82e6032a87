"""What was measured for the layers of a plan, beside what the plan cost: the cells of the prediction statistics."""

from __future__ import annotations

from typing import Any

import numpy as np

from vlm.plans.plan import SkipPlan
from vlm.reports.accuracy_table import ALL
from vlm.table import Table


def condition_cells(summary: Table, redundancy: Table, attention: Table, *, t: float = 0.05) -> Table:
    """One row per data set and plan that skips vision tokens only.

    Parameters
    ----------
    summary : Table
        From :func:`vlm.reports.summary`, by data set or by group.
    redundancy, attention : Table
        From `python -m vlm measure`: one row per group, data set, layer (and modality).
    t : float
        Distance up to which two states are close; a threshold that was measured.

    Returns
    -------
    Table
        model, group, dataset, kind, layer, plan; then of the vision tokens
        distance, within
            Mean distance and fraction within t of the layer at the boundary: the last one bypassed for late entry,
            the first one for early exit, the first of any other plan.
        closeness
            Smallest fraction within t of the bypassed layers after which vision tokens come back: what redundancy
            must hold for. NaN when they do not come back (early exit).
        distance_from_entry
            Mean distance of state 0 from the state that late entry replaces by it; NaN for other plans.
        attention
            Largest visual attention ratio of the bypassed layers.
        accuracy, change, change_low, change_high
            From the summary.

        Measurements of a data set that was not measured are NaN.

    Raises
    ------
    ValueError
        A threshold that was not measured.
    """
    if f"within_{t:g}" not in redundancy.columns:
        known = [name for name in redundancy.columns if name.startswith("within_") and name.count("_") == 1]
        raise ValueError(f"t: expected a measured threshold ({', '.join(known)}), got {t:g}")
    vision = redundancy.where(modality="vision")
    rows = []
    for row in summary.rows():
        plan = SkipPlan.parse(row["plan"])
        if not plan or plan != SkipPlan(vision=plan.vision):
            continue
        near, seen = (_by_layer(_of(table, row["group"], row["dataset"])) for table in (vision, attention))
        names = ("model", "group", "dataset", "kind", "layer", "plan")
        rows.append(
            {name: row[name] for name in names}
            | _measured(plan, row["kind"], near, seen, t)
            | {name: row[name] for name in ("accuracy", "change", "change_low", "change_high")}
        )
    return Table.from_rows(rows)


def _of(table: Table, group: str, dataset: str) -> Table:
    """A data set's rows, or a group's; a data set without a group is a group of its own name."""
    whole = table.where(group=group, dataset=dataset)
    return whole if dataset == ALL and len(whole) else table.where(dataset=group if dataset == ALL else dataset)


def _by_layer(table: Table) -> Table:
    order = np.argsort(table["layer"], kind="stable")
    return Table({name: values[order] for name, values in table.columns.items()})


def _measured(plan: SkipPlan, kind: str, near: Table, seen: Table, t: float) -> dict[str, float]:
    names = ("distance", "within", "closeness", "distance_from_entry", "attention")
    found: dict[str, Any] = dict.fromkeys(names, np.nan)
    depth = max(len(near), len(seen))
    if not depth:
        return found
    skipped = sorted(plan.layers("vision", depth))
    back = max(set(range(depth)) - set(skipped), default=-1)
    boundary = skipped[-1] if kind == "late entry" else skipped[0]
    if len(near):
        within = near[f"within_{t:g}"].astype(np.float64)
        found["distance"], found["within"] = float(near["distance"][boundary]), float(within[boundary])
        returning = [layer for layer in skipped if layer < back]
        found["closeness"] = float(within[returning].min()) if returning else np.nan
        if kind == "late entry":
            found["distance_from_entry"] = float(near["distance_from_entry"][boundary])
    if len(seen):
        found["attention"] = float(seen["ratio"].astype(np.float64)[skipped].max())
    return found
