"""Figures of a run; each function draws on the axes it is given. Those of a measurement are in `plots`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from vlm.reports.condition_prediction import Prediction
from vlm.reports.plots import COLOURS, layer_ticks
from vlm.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKS = "osD^vP*X<>"


def plot_cost(ax: Axes, summary: Table, *, times: Table | None = None) -> None:
    """Draw operations (lines) and, where measured, prefill time (dashed), relative to no skip.

    The horizontal axis is the layer at which vision tokens enter or leave.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Axes to draw on.
    summary : Table
        Rows of one data set or task group, from :func:`summary`.
    times : Table, optional
        The same data set's rows of :func:`times`.

    See Also
    --------
    summary, times : The tables that are drawn.
    vlm.plot_sweep : Accuracy over the same axis.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from vlm import Table
    >>> from vlm.reports import plot_cost
    >>> ratios = {4: 0.9, 8: 0.8}
    >>> rows = [{"kind": "late entry", "layer": k, "plan": f"vision:0-{k}"} for k in ratios]
    >>> rows = [{**row, "operations_ratio": ratios[row["layer"]]} for row in rows]
    >>> ax = Figure().subplots()
    >>> plot_cost(ax, Table.from_rows(rows))
    >>> ax.lines[0].get_label(), ax.lines[0].get_ydata()
    ('late entry: operations', array([0.9, 0.8]))
    """
    ratios = {} if times is None else {row["plan"]: row["prefill_ratio"] for row in times.rows()}
    layers: set[int] = set()
    for kind in ("late entry", "early exit"):
        rows = sorted(summary.where(kind=kind).rows(), key=lambda row: int(row["layer"]))
        if not rows:
            continue
        x = [row["layer"] for row in rows]
        layers |= set(x)
        ax.plot(x, [row["operations_ratio"] for row in rows], "o-", color=COLOURS[kind], label=f"{kind}: operations")
        if any(row["plan"] in ratios for row in rows):
            seconds = [ratios.get(row["plan"], np.nan) for row in rows]
            ax.plot(x, seconds, "s--", ms=4, alpha=0.7, color=COLOURS[kind], label=f"{kind}: prefill time")
    ax.axhline(1, ls=":", color="k", label="no skip")
    ax.set(xlabel="k: vision enters at layer k / leaves at layer k", ylabel="ratio to no skip", ylim=(0, None))
    layer_ticks(ax, sorted(layers))
    ax.legend(fontsize=8, frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def plot_prediction(
    ax: Axes,
    prediction: Prediction,
    *,
    by: str = "model",
    predictor: Literal["closeness", "attention"] = "closeness",
) -> None:
    """Draw a condition against the change of accuracy, one point per cell.

    In the shaded corner the condition is met and accuracy fell by more than the tolerance all the same.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Axes to draw on.
    prediction : Prediction
        From :func:`prediction`.
    by : str
        Column of the cells that determines colour and marker.
    predictor : {"closeness", "attention"}
        The condition on the horizontal axis.

    See Also
    --------
    prediction : Compares conditions and degradation.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from vlm import Table
    >>> from vlm.reports import plot_prediction, prediction
    >>> row = {"model": "a", "attention": 0.05, "change_low": -0.2, "change_high": 0.02}
    >>> changes = {"gqa": -0.1, "mmmu": -0.05, "ai2d": 0.0, "mmstar": 0.01}
    >>> rows = [{**row, "dataset": name, "closeness": 0.9, "change": change} for name, change in changes.items()]
    >>> ax = Figure().subplots()
    >>> plot_prediction(ax, prediction(Table.from_rows(rows), resamples=20))
    >>> ax.get_xlabel(), [text.get_text() for text in ax.get_legend().get_texts()]
    ('fraction of vision tokens within t', ['a', 'conditions met', 'not met'])
    """
    cells, settings = prediction.cells, prediction.settings
    measured = ~np.isnan(cells[predictor].astype(np.float64))
    labels = sorted(set(cells[by][measured]))
    for number, label in enumerate(labels):
        for met in (True, False):
            rows = list(
                Table({n: v[measured] for n, v in cells.columns.items()}).where(**{by: label, "met": met}).rows()
            )
            if not rows:
                continue
            colour, mark = f"C{number % 10}", _MARKS[number % len(_MARKS)]
            x, y, low, high = (
                np.array([row[name] for row in rows]) for name in (predictor, "change", "change_low", "change_high")
            )
            spread = [np.nan_to_num(np.maximum(y - low, 0)), np.nan_to_num(np.maximum(high - y, 0))]
            face = colour if met else "none"
            ax.errorbar(x, y, yerr=spread, fmt=mark, ms=6, lw=0.8, color=colour, mfc=face)
        ax.plot([], [], mark, color=colour, label=_plain(str(label)))
    limit = 1 - settings.delta if predictor == "closeness" else settings.attention_limit
    left, right = (limit, 1.02) if predictor == "closeness" else (-0.02, limit)
    ends = np.concatenate(
        [cells[name][measured].astype(np.float64) for name in ("change", "change_low", "change_high")]
    )
    bottom, top = min(-0.05, 1.05 * float(np.nanmin(ends))), max(0.05, 1.05 * float(np.nanmax(ends)))
    ax.fill_between([left, right], bottom, -settings.tolerance, color="#b00020", alpha=0.08, lw=0)
    ax.axvline(limit, ls="--", lw=1, color="k")
    ax.axhline(-settings.tolerance, ls="--", lw=1, color="k")
    ax.plot([], [], "o", color="k", label="conditions met")
    ax.plot([], [], "o", color="k", mfc="none", label="not met")
    names = {"closeness": "fraction of vision tokens within t", "attention": "visual attention ratio"}
    ax.set(xlabel=names[predictor], ylabel="change of accuracy", xlim=(-0.02, 1.02), ylim=(bottom, top))
    ax.legend(fontsize=8, frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def _plain(text: str) -> str:
    """A label without characters that matplotlib interprets: dollars, and a leading underscore, which would hide it."""
    escaped = text.replace("$", r"\$")
    return f" {escaped}" if escaped.startswith("_") else escaped
