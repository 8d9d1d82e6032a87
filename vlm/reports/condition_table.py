"""The measured conditions of the layers of a plan beside the accuracy it cost: the cells of the prediction."""

from __future__ import annotations

import numpy as np

from vlm.measure.attention_reading import Heads, TextTokens, check_reading, reading_words
from vlm.measure.damage_record import Damage
from vlm.plans.plan import SkipPlan
from vlm.reports.accuracy_table import ALL
from vlm.table import Table


def condition_cells(
    summary: Table,
    redundancy: Table,
    attention: Table,
    *,
    t: float = 0.05,
    tokens: TextTokens = "all",
    damage: Damage | None = None,
) -> Table:
    """Join the conditions that were measured with the summary, for every plan that skips vision tokens only.

    Parameters
    ----------
    summary : Table
        From :func:`summary`, by data set or by task group.
    redundancy, attention : Table
        From `python -m vlm measure`: one row per task group, data set, layer (and modality).
    t : float
        Distance up to which two states are close; one of the thresholds that were measured.
    tokens : {"all", "answer"}
        Whose attention the column `attention` holds: of all text tokens and heads the largest, or the answer token's
        mean over heads, which is the paper's reading and all that measurements of earlier versions have.
    damage : Damage, optional
        From :func:`vlm.damage` on the same model; predicts a damage for every plan.

    Returns
    -------
    Table
        One row per data set (or task group) and plan: model, group, dataset, kind, layer, plan; then, for the vision
        tokens,

        distance, within
            Mean distance and fraction within t of the layer at the boundary: the last one bypassed for late entry,
            the first one for early exit, the first of any other plan.
        closeness
            Smallest fraction within t of the bypassed layers after which vision tokens come back; only there must
            redundancy hold. NaN when they do not come back (early exit).
        distance_from_entry
            Mean distance between state 0 and the state that late entry replaces by it; NaN for other plans.
        attention, attention_answer
            Largest visual attention ratio of the bypassed layers, as `tokens` says and of the answer token.
        reading
            Whose attention that is, in words.
        damage
            Predicted damage of the plan, if `damage` was given.
        accuracy, change, change_low, change_high
            From the summary.

        All measurements of a data set that was not measured are NaN.

    Raises
    ------
    ValueError
        A threshold that was not measured; all text tokens, of a measurement of the answer token alone.

    See Also
    --------
    prediction : Compares the conditions with the changes of accuracy.

    Examples
    --------
    >>> from vlm import Table
    >>> from vlm.reports import condition_cells
    >>> name = {"model": "tiny", "group": "General VQA", "dataset": "gqa"}
    >>> change = {"accuracy": 0.8, "change": 0.0, "change_low": -0.02, "change_high": 0.02}
    >>> plans = Table.from_rows([{**name, "plan": "vision:0-1", "kind": "late entry", "layer": 1, **change}])
    >>> layers = [{**name, "layer": i, "modality": "vision"} for i in (0, 1)]
    >>> numbers = {"distance": 0.01, "within_0.05": 0.99, "distance_from_entry": 0.01, "ratio": 0.03, "largest": 0.09}
    >>> measured = Table.from_rows([{**layer, **numbers} for layer in layers])
    >>> (row,) = condition_cells(plans, measured, measured).rows()
    >>> {name: row[name] for name in ("plan", "closeness", "attention", "change")}
    {'plan': 'vision:0-1', 'closeness': 0.99, 'attention': 0.09, 'change': 0.0}
    """
    if f"within_{t:g}" not in redundancy.columns:
        thresholds = [name for name in redundancy.columns if name.startswith("within_") and name.count("_") == 1]
        raise ValueError(f"t: expected a measured threshold ({', '.join(thresholds)}), got {t:g}")
    check_reading(tokens)
    if tokens == "all" and len(attention) and "largest" not in attention.columns:
        raise ValueError(
            "attention: expected a measurement of all text tokens (column largest), got one of the answer token alone; "
            "measure again with this version, or judge by the answer token (tokens='answer')"
        )
    judged = "largest" if tokens == "all" else "ratio"
    heads: Heads = "largest" if tokens == "all" else "mean"
    vision = redundancy.where(modality="vision")
    rows = []
    for row in summary.rows():
        plan = SkipPlan.parse(row["plan"])
        if not plan or plan != SkipPlan(vision=plan.vision):
            continue
        near, attended = (_by_layer(_of(table, row["group"], row["dataset"])) for table in (vision, attention))
        names = ("model", "group", "dataset", "kind", "layer", "plan")
        rows.append(
            {name: row[name] for name in names}
            | _measured(plan, row["kind"], near, attended, t, judged)
            | {"reading": reading_words(tokens, heads)}
            | ({} if damage is None else {"damage": damage.of(plan)})
            | {name: row[name] for name in ("accuracy", "change", "change_low", "change_high")}
        )
    return Table.from_rows(rows)


def _of(table: Table, task_group: str, dataset: str) -> Table:
    """The rows of a data set or of a task group; a data set without a group is a group of its own name."""
    whole = table.where(group=task_group, dataset=dataset)
    return whole if dataset == ALL and len(whole) else table.where(dataset=task_group if dataset == ALL else dataset)


def _by_layer(table: Table) -> Table:
    order = np.argsort(table["layer"], kind="stable")
    return Table({name: values[order] for name, values in table.columns.items()})


def _measured(
    plan: SkipPlan, kind: str, redundancy: Table, attention: Table, t: float, judged: str
) -> dict[str, float]:
    """The conditions of one plan from the rows of its data set, which are sorted by layer."""
    names = ("distance", "within", "closeness", "distance_from_entry", "attention", "attention_answer")
    values: dict[str, float] = dict.fromkeys(names, np.nan)
    depth = max(len(redundancy), len(attention))
    if not depth:
        return values
    skipped = sorted(plan.layers("vision", depth))
    back = max(set(range(depth)) - set(skipped), default=-1)
    boundary = skipped[-1] if kind == "late entry" else skipped[0]
    if len(redundancy):
        within = redundancy[f"within_{t:g}"].astype(np.float64)
        values["distance"], values["within"] = float(redundancy["distance"][boundary]), float(within[boundary])
        returning = [layer for layer in skipped if layer < back]
        values["closeness"] = float(within[returning].min()) if returning else np.nan
        if kind == "late entry":
            values["distance_from_entry"] = float(redundancy["distance_from_entry"][boundary])
    if len(attention):
        for name, column in (("attention", judged), ("attention_answer", "ratio")):
            values[name] = float(attention[column].astype(np.float64)[skipped].max())
    return values
