"""The published tables, as printed and as cells: one row per model, task group and layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vlm.plans.plan import SkipPlan
from vlm.table import Table

_FOLDER = Path(__file__).parent
# Names of the files' columns here. In the early-exit table, a is vision and b is text, in the order of the paper's
# rows. Probabilities are those of a cosine distance of at most T.
T = 0.05
_LATE = {
    "model": "model",
    "task": "group",
    "entry_layer": "layer",
    "vision_mean_cosine_distance": "distance_vision",
    "vision_prob_within_0.05": "within_vision",
    "accuracy": "accuracy",
}
_EARLY = {
    "model": "model",
    "task": "group",
    "exit_layer": "layer",
    "mean_cosine_distance_a": "distance_vision",
    "mean_cosine_distance_b": "distance_text",
    "prob_within_0.05_a": "within_vision",
    "prob_within_0.05_b": "within_text",
    "accuracy": "accuracy",
}


def late_entry() -> Table:
    """The paper's table of late entry: vision tokens enter at the layer.

    Returns
    -------
    Table
        48 rows: model, group, layer (0: the unskipped model), distance_vision (mean cosine distance between
        adjacent layers, in [0, 2]; NaN at layer 0), within_vision (P(distance <= 0.05); NaN at layer 0), accuracy.
        Three decimals, as printed; no numbers of items and no intervals were published.

    See Also
    --------
    vlm.published.cells : Both tables in one form.

    References
    ----------
    Hartman et al. (2025), *Skip-It? Theoretical Conditions for Layer Skipping in Vision-Language Models*,
    arXiv:2509.25584.

    Examples
    --------
    >>> from vlm import published
    >>> table = published.late_entry()
    >>> len(table), list(table.columns)
    (48, ['model', 'group', 'layer', 'distance_vision', 'within_vision', 'accuracy'])
    >>> print(table.where(model="llava-1.5-7b", layer=4).text())
           model                              group  layer  distance_vision  within_vision  accuracy
    llava-1.5-7b                        general_vqa      4            0.025          0.972     0.553
    llava-1.5-7b                       text_doc_vqa      4            0.020          0.992     0.564
    llava-1.5-7b      multimodal_reasoning_guessing      4            0.019          0.987     0.250
    llava-1.5-7b  multimodal_reasoning_not_guessing      4            0.025          0.965     0.321
    """
    return _read("late_entry.csv", _LATE)


def early_exit() -> Table:
    """The paper's table of early exit: vision tokens leave at the layer.

    Returns
    -------
    Table
        44 rows: as :func:`late_entry`, with distance_text and within_text besides those of vision, and without the
        unskipped model.

    See Also
    --------
    vlm.published.cells : Both tables in one form.

    References
    ----------
    Hartman et al. (2025), *Skip-It? Theoretical Conditions for Layer Skipping in Vision-Language Models*,
    arXiv:2509.25584.

    Examples
    --------
    >>> from vlm import published
    >>> len(published.early_exit())
    44
    >>> published.early_exit().where(model="llava-1.5-7b", layer=20)["within_text"].tolist()
    [0.939, 0.871, 0.829, 0.905]
    """
    return _read("early_exit.csv", _EARLY)


def cells(*, exit_reference: Literal["unskipped", "deepest exit"] = "unskipped") -> Table:
    """Both tables in the form that `vlm.reports.prediction` reads: one row per model, task group, kind and layer.

    Parameters
    ----------
    exit_reference : {"unskipped", "deepest exit"}
        What early exit is compared with: the unskipped model, which only the late-entry table has and which does not
        fit some groups of the early-exit table; or the deepest exit of the same model and group, which then has no
        cell of its own.

    Returns
    -------
    Table
        80 rows (68 with "deepest exit"): model, dataset (the task group), kind, layer, plan, distance, closeness
        (P(distance <= 0.05) of vision tokens at that layer), attention (NaN: the visual attention ratio was
        published as a figure only), accuracy, reference, change, change_low and change_high (NaN).

    See Also
    --------
    vlm.published.late_entry, vlm.published.early_exit : The tables as printed.

    References
    ----------
    Hartman et al. (2025), *Skip-It? Theoretical Conditions for Layer Skipping in Vision-Language Models*,
    arXiv:2509.25584.

    Examples
    --------
    >>> from vlm import published
    >>> len(published.cells()), len(published.cells(exit_reference="deepest exit"))
    (80, 68)
    """
    late, early = late_entry(), early_exit()
    unskipped = {_place(row): row for row in late.where(layer=0).rows()}
    deepest = {_place(row): row for row in early.rows()}  # layers rise within a model and group
    exits = unskipped if exit_reference == "unskipped" else deepest
    return Table.from_rows(
        [
            *_rows(late, "late entry", SkipPlan.late_entry, unskipped),
            *_rows(early, "early exit", SkipPlan.early_exit, exits),
        ]
    )


def _place(row: dict[str, Any]) -> tuple[str, str]:
    return row["model"], row["group"]


def _rows(
    table: Table, kind: str, plan: Callable[[int], SkipPlan], references: dict[tuple[str, str], dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    for row in table.rows():
        reference = references[_place(row)]
        if row == reference or not np.isfinite(row["within_vision"]):
            continue
        yield {
            "model": row["model"],
            "dataset": row["group"],
            "kind": kind,
            "layer": row["layer"],
            "plan": str(plan(row["layer"])),
            "distance": row["distance_vision"],
            "closeness": row["within_vision"],
            "attention": np.nan,
            "accuracy": row["accuracy"],
            "reference": reference["accuracy"],
            # Differences of three-decimal numbers, rounded so that floating-point errors do not decide ties.
            "change": round(row["accuracy"] - reference["accuracy"], 3),
            "change_low": np.nan,
            "change_high": np.nan,
        }


def _read(name: str, columns: dict[str, str]) -> Table:
    table = Table.load(_FOLDER / name)
    return Table({new: _numbers(table[old]) for old, new in columns.items()})


def _numbers(values: NDArray[Any]) -> NDArray[Any]:
    """A column whose only text is empty cells, as numbers with NaN; any other column unchanged."""
    try:
        return np.array([v or "nan" for v in values], dtype=np.float64) if values.dtype.kind == "U" else values
    except ValueError:
        return values
