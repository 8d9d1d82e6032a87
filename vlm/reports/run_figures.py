"""Figures of a run, each a function that draws on an `ax` it is given; those of a measurement are in `vlm.plots`."""

from __future__ import annotations

from typing import Any

import numpy as np

from vlm.reports.condition_prediction import Prediction
from vlm.reports.plots import COLOURS, layer_ticks
from vlm.table import Table

_MARKS = "osD^vP*X<>"


def plot_cost(ax: Any, summary: Table, times: Table | None = None) -> None:
    """Operations (lines) and, where measured, prefill time (dashed) against the entry or exit layer, as ratios.

    Parameters
    ----------
    summary : Table
        Rows of one data set or group, from :func:`vlm.reports.summary`.
    times : Table, optional
        The same data set's rows of :func:`vlm.reports.times`.
    """
    taken = {} if times is None else {row["plan"]: row["prefill_ratio"] for row in times.rows()}
    layers: set[int] = set()
    for kind in ("late entry", "early exit"):
        rows = sorted(summary.where(kind=kind).rows(), key=lambda row: int(row["layer"]))
        if not rows:
            continue
        x = [row["layer"] for row in rows]
        layers |= set(x)
        ax.plot(x, [row["operations_ratio"] for row in rows], "o-", color=COLOURS[kind], label=f"{kind}: operations")
        if any(row["plan"] in taken for row in rows):
            seconds = [taken.get(row["plan"], np.nan) for row in rows]
            ax.plot(x, seconds, "s--", ms=4, alpha=0.7, color=COLOURS[kind], label=f"{kind}: prefill time")
    ax.axhline(1, ls=":", color="k", label="no skip")
    ax.set(xlabel="k: vision enters at layer k / leaves at layer k", ylabel="ratio to no skip", ylim=(0, None))
    layer_ticks(ax, sorted(layers))
    ax.legend(fontsize=8, frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def plot_prediction(ax: Any, found: Prediction, *, by: str = "model", predictor: str = "closeness") -> None:
    """Condition against change of accuracy: one point per cell; what lies in the shaded corner was not predicted.

    Parameters
    ----------
    found : Prediction
        From :func:`vlm.reports.prediction`.
    by : str
        Column of the cells that chooses colour and mark.
    predictor : {"closeness", "attention"}
        What the horizontal axis shows.
    """
    cells, settings = found.cells, found.settings
    seen = ~np.isnan(cells[predictor].astype(np.float64))
    labels = sorted(set(cells[by][seen]))
    for number, label in enumerate(labels):
        for met in (True, False):
            rows = list(Table({n: v[seen] for n, v in cells.columns.items()}).where(**{by: label, "met": met}).rows())
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
    limit = 1 - settings["delta"] if predictor == "closeness" else settings["attention_limit"]
    left, right = (limit, 1.02) if predictor == "closeness" else (-0.02, limit)
    ends = np.concatenate([cells[name][seen].astype(np.float64) for name in ("change", "change_low", "change_high")])
    bottom, top = min(-0.05, 1.05 * float(np.nanmin(ends))), max(0.05, 1.05 * float(np.nanmax(ends)))
    ax.fill_between([left, right], bottom, -settings["tolerance"], color="#b00020", alpha=0.08, lw=0)
    ax.axvline(limit, ls="--", lw=1, color="k")
    ax.axhline(-settings["tolerance"], ls="--", lw=1, color="k")
    ax.plot([], [], "o", color="k", label="conditions met")
    ax.plot([], [], "o", color="k", mfc="none", label="not met")
    names = {"closeness": "fraction of vision tokens within t", "attention": "visual attention ratio"}
    ax.set(xlabel=names[predictor], ylabel="change of accuracy", xlim=(-0.02, 1.02), ylim=(bottom, top))
    ax.legend(fontsize=8, frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def _plain(text: str) -> str:
    """A label without the marks that matplotlib reads: dollars, and an underscore that would hide it."""
    escaped = text.replace("$", r"\$")
    return f" {escaped}" if escaped.startswith("_") else escaped
