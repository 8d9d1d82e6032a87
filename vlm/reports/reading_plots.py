"""Figures of what reading the layers found, each a function that draws on an `ax` it is given."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from vlm.decisions.four_regimes import THEOREMS_OF, Regimes
from vlm.measure.causal_tracing import Trace
from vlm.measure.logit_lens import Lens
from vlm.table import Table

_TARGETS = {
    "vision": ("#0b6e99", "image tokens"),
    "text": ("#c4622d", "text tokens"),
    "last": ("#7a3b8f", "last token"),
}
_REGIMES = dict(zip(THEOREMS_OF, ("#0b6e99", "#2d8f6f", "#7a3b8f", "#8a8a8a"), strict=True))


def plot_lens(ax: Any, lens: Lens, tokenizer: Any, *, state: int, columns: int, sample: int = 0) -> None:
    """The likeliest word of every patch of one sample at one state, in a grid of `columns`, shaded by probability."""
    rows = np.flatnonzero(lens.sample == sample)
    if rows.size == 0:
        raise ValueError(f"sample: expected one with image tokens, got {sample}")
    order = rows[np.argsort(lens.patch[rows])]
    height = -(-rows.size // columns)
    shade = np.full(height * columns, np.nan)
    shade[: rows.size] = lens.probabilities[order, state, 0]
    ax.imshow(shade.reshape(height, columns), cmap="Blues", vmin=0, vmax=1)
    for place, row in enumerate(order):
        word = tokenizer.decode([int(lens.tokens[row, state, 0])]).strip()
        dark = shade[place] > 0.6
        ax.text(
            place % columns,
            place // columns,
            word,
            ha="center",
            va="center",
            fontsize=7,
            color="white" if dark else "black",
        )
    ax.set(xticks=[], yticks=[], title=f"state {state}")


def plot_trace(ax: Any, trace: Trace, *, groups: ArrayLike | None = None) -> None:
    """Share of the answer's probability that returns, against the first restored state; bands hold together."""
    table = trace.table(groups=groups)
    best = int(np.abs(table["gain"]).argmax())
    lost = table["gain"][best] / table["recovery"][best]
    for target in trace.targets:
        colour, name = _TARGETS[target]
        rows = table.where(target=target)
        ax.plot(rows["state"], rows["recovery"], "o-", ms=4, color=colour, label=name)
        ax.fill_between(
            rows["state"], rows["gain_low"] / lost, rows["gain_high"] / lost, alpha=0.15, lw=0, color=colour
        )
    for level in (0, 1):
        ax.axhline(level, lw=0.8, ls=":", color="k")
    until = "" if trace.window == 1 else f" .. l+{trace.window - 1}"
    ax.set(
        xlabel=f"clean state l{until} put back", ylabel="recovered share of the answer", xticks=range(trace.depth + 1)
    )
    ax.set_ylim(-0.15, 1.15)
    ax.legend(fontsize=8, frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def plot_regimes(ax: Any, found: Regimes) -> None:
    """Every layer in the plane of the two conditions, with its intervals and the limits; colours are regimes."""
    s = found.settings
    for row in found.layers.rows():
        x, y = row["close"], row["ratio"]
        ax.errorbar(
            x,
            y,
            xerr=[[max(0.0, x - row["close_low"])], [max(0.0, row["close_high"] - x)]],
            yerr=[[max(0.0, y - row["ratio_low"])], [max(0.0, row["ratio_high"] - y)]],
            fmt="o",
            ms=4,
            lw=0.8,
            color=_REGIMES[row["regime"]],
        )
        ax.annotate(str(row["layer"]), (x, y), xytext=(3, 3), textcoords="offset points", fontsize=8)
    for regime, colour in _REGIMES.items():
        if regime in found.layers["regime"]:
            ax.plot([], [], "o", color=colour, label=regime)
    ax.axvline(1 - s["delta"], ls=":", color="k", lw=0.8)
    ax.axhline(s["attention_limit"], ls=":", color="k", lw=0.8)
    ax.set(
        xlabel=f"fraction of image tokens within {s['t']:g}",
        ylabel="visual attention ratio",
        xlim=(-0.02, 1.04),
        ylim=(0, 1),
    )
    ax.legend(fontsize=8, frameon=False, loc="upper left")


def plot_consequences(ax: Any, table: Table, kind: str) -> None:
    """Measured change of the last text states and what the recursion predicts, per layer of one kind of plan."""
    rows = table.where(kind=kind)
    if not len(rows):
        raise ValueError(f"kind: expected one of {', '.join(np.unique(table['kind']))}, got {kind!r}")
    for column, mark, colour, name in (
        ("error", "o-", "#0b6e99", "measured"),
        ("predicted", "s--", "#c4622d", "recursion with empirical gains"),
    ):
        shown = np.where(rows[column] > 1e-6, rows[column], np.nan)
        ax.plot(rows["layer"], shown, mark, ms=4, color=colour, label=name)
    ax.set(xlabel="decoder layer", ylabel="change of text states", title=kind, yscale="log", xticks=rows["layer"])
    ax.legend(fontsize=8, frameon=False)
