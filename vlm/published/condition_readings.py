"""Which reading of the paper's conditions its own tables support."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from redundancy import checks
from redundancy.array_types import BoolArray, FloatArray
from vlm.published.paper_tables import cells, early_exit
from vlm.table import Table

_Judge = Callable[[Mapping[str, FloatArray]], BoolArray]
# Which cells of a table meet the reading, by name. "text" is the second modality of the early-exit table.
_LATE: Mapping[str, _Judge] = {
    "P(d <= 0.05) >= 0.95, image tokens, adjacent layers": lambda c: c["closeness"] >= 0.95,
    "mean distance <= 0.03, image tokens, adjacent layers": lambda c: c["distance"] <= 0.03,
    "mean distance <= 0.01, image tokens, adjacent layers": lambda c: c["distance"] <= 0.01,
}
_EXIT: Mapping[str, _Judge] = {
    "P(d <= 0.05) >= 0.95, image tokens": lambda c: c["closeness"] >= 0.95,
    "P(d <= 0.05) >= 0.95, text tokens": lambda c: c["text"] >= 0.95,
    "no redundancy asked": lambda c: np.ones(len(c["closeness"]), dtype=bool),
}


def readings(*, tolerance: float = 0.02) -> Table:
    """How the published tables fare under each reading of the redundancy condition.

    The visual attention ratio was published as a figure only, so no reading can ask for small attention.

    Parameters
    ----------
    tolerance : float
        Largest loss of accuracy that counts as harmless, in [0, 1].

    Returns
    -------
    Table
        One row per kind (late entry; early exit against the unskipped model, and against the deepest exit of its own
        table), reading and model ("all" first): met, harmless_when_met, not_met, degraded_when_not_met (numbers of
        cells). A sufficient condition has harmless_when_met = met, a necessary one degraded_when_not_met = not_met.

    Raises
    ------
    ValueError
        A tolerance outside [0, 1].

    See Also
    --------
    vlm.published.decisions : The latest entry that the first reading allows.

    References
    ----------
    Hartman et al. 2025, "Skip-It? Theoretical Conditions for Layer Skipping in Vision-Language Models",
    arXiv:2509.25584, tables 1 and 2.

    Examples
    --------
    >>> from vlm import published
    >>> table = published.readings().where(kind="late entry")
    >>> [(row["model"], row["harmless_when_met"], row["met"]) for row in table.rows()][:4]
    [('all', 8, 11), ('llava-1.5-7b', 4, 4), ('llava-next-7b', 0, 3), ('llava-1.5-13b', 4, 4)]
    """
    checks.probability(tolerance, name="tolerance")
    text = {(r["model"], r["group"], r["layer"]): r["within_text"] for r in early_exit().rows()}
    unskipped, deepest = cells(), cells(exit_reference="deepest exit")
    rows = []
    for kind, table, judges in (
        ("late entry", unskipped.where(kind="late entry"), _LATE),
        ("early exit, against the unskipped model", unskipped.where(kind="early exit"), _EXIT),
        ("early exit, against the deepest exit", deepest.where(kind="early exit"), _EXIT),
    ):
        columns = {name: table[name].astype(np.float64) for name in ("closeness", "distance", "change")}
        places = zip(table["model"], table["dataset"], table["layer"], strict=True)
        columns["text"] = np.array([text.get((m, d, layer), np.nan) for m, d, layer in places], dtype=np.float64)
        harmless = columns["change"] >= -tolerance - 1e-12
        for reading, judge in judges.items():
            met = judge(columns)
            for model in ("all", *dict.fromkeys(table["model"].tolist())):
                of = (table["model"] == model) | (model == "all")
                rows.append(
                    {
                        "kind": kind,
                        "reading": reading,
                        "model": model,
                        "met": int((met & of).sum()),
                        "harmless_when_met": int((met & of & harmless).sum()),
                        "not_met": int((~met & of).sum()),
                        "degraded_when_not_met": int((~met & of & ~harmless).sum()),
                    }
                )
    return Table.from_rows(rows)
