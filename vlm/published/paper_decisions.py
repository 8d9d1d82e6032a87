"""The decision rule applied to the published numbers, as far as they allow it."""

from __future__ import annotations

from typing import Any

from redundancy import checks
from vlm.published.paper_tables import cells
from vlm.table import Table


def decisions(*, delta: float = 0.05) -> Table:
    """The latest entry that the published redundancy of vision tokens allows, and the accuracy it cost.

    Entry at a layer of the table is allowed if P(distance <= 0.05) >= 1 - delta there and at all earlier layers of the
    table. This is `vlm.decide` on point estimates, without the second condition, since the visual attention ratio was
    published only as a figure, and without intervals, since no numbers of items were published.

    Parameters
    ----------
    delta : float
        Fraction of vision tokens that may be farther apart, in [0, 1].

    Returns
    -------
    Table
        One row per model and task group: model, group, late_entry (0: none), accuracy, reference (unskipped), change.

    See Also
    --------
    vlm.decide : The full rule.

    References
    ----------
    Hartman et al. (2025), *Skip-It? Theoretical Conditions for Layer Skipping in Vision-Language Models*,
    arXiv:2509.25584.

    Examples
    --------
    >>> from vlm import published
    >>> table = published.decisions(delta=0.5)
    >>> table.where(model="llava-1.5-7b")["late_entry"].tolist()
    [4, 4, 4, 4]
    >>> table.where(model="llava-1.5-7b")["change"].tolist()
    [-0.011, -0.015, -0.005, -0.004]
    """
    checks.probability(delta, name="delta")
    late = cells().where(kind="late entry")
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    stopped = set()
    for row in late.rows():  # layers rise within a model and group
        key = row["model"], row["dataset"]
        reference = row["reference"]
        start = {"late_entry": 0, "accuracy": reference, "reference": reference, "change": 0.0}
        rows.setdefault(key, {"model": key[0], "group": key[1], **start})
        if row["closeness"] < 1 - delta - 1e-12:
            stopped.add(key)
        elif key not in stopped:
            rows[key] |= {"late_entry": row["layer"], "accuracy": row["accuracy"], "change": row["change"]}
    return Table.from_rows(list(rows.values()))
