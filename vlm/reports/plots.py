"""Figures of a run, each a function that draws on an `ax` it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from redundancy.optional_imports import optional_import
from vlm.measure.attention_ratio import AttentionRecord
from vlm.measure.distances import ProbeRecord
from vlm.table import Table

COLOURS = {"vision": "#0b6e99", "text": "#c4622d", "late entry": "#0b6e99", "early exit": "#7a3b8f"}


def require_matplotlib() -> Any:
    """matplotlib.pyplot without a display, or one line that says what to install."""
    optional_import("matplotlib", extra="plot", purpose="drawing figures").use("Agg")
    return optional_import("matplotlib.pyplot", extra="plot", purpose="drawing figures")


def layer_ticks(ax: Any, layers: Sequence[int]) -> None:
    """A tick at each layer, or at some where there are too many."""
    if len(layers) <= 16:
        ax.set_xticks(layers)
    else:
        ax.xaxis.get_major_locator().set_params(integer=True)


def plot_redundancy(ax: Any, record: ProbeRecord | Table, t: float = 0.05) -> None:
    """Mean adjacent distance (lines) and fraction of tokens within t (dashed), per layer and modality.

    Takes a probe's record, its table, or a measurement's table of one row per layer and modality.
    """
    table = record if isinstance(record, Table) else record.table()
    layers = np.arange(int(table["layer"].max()) + 1)
    near = ax.twinx()
    for modality in ("vision", "text"):
        rows = table.where(modality=modality)
        seen = ~np.isnan(rows["distance"])
        if not seen.any():
            continue
        mean, close = (
            [rows[name][seen & (rows["layer"] == i)].mean() for i in layers] for name in ("distance", f"within_{t:g}")
        )
        ax.plot(layers, mean, "o-", color=COLOURS[modality], label=f"{modality}: mean distance")
        near.plot(layers, close, "s--", ms=4, alpha=0.7, color=COLOURS[modality], label=f"{modality}: within {t:g}")
    ax.set(xlabel="decoder layer", ylabel="cosine distance, state l to l+1", ylim=(0, None))
    layer_ticks(ax, layers.tolist())
    near.set(ylabel=f"fraction of tokens within {t:g}", ylim=(0, 1.02))
    handles = [h for a in (ax, near) for h in a.get_legend_handles_labels()[0]]
    ax.legend(handles=handles, fontsize=8, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)


def plot_attention(ax: Any, record: AttentionRecord | Table, limit: float | None = None) -> None:
    """Visual attention ratio per layer: mean over heads, and the range of the heads.

    Of a measurement's table (one row per layer) the interval is shown in place of the range of the heads.
    """
    if isinstance(record, Table):
        layers, mean, low, high = (record[name] for name in ("layer", "ratio", "ratio_low", "ratio_high"))
        shade = "interval"
    else:
        by_head = np.nanmean(record.ratios(), axis=0)
        layers, mean, low, high = (
            np.arange(len(by_head)),
            by_head.mean(axis=1),
            by_head.min(axis=1),
            by_head.max(axis=1),
        )
        shade = "range of heads"
    ax.fill_between(layers, low, high, alpha=0.2, color="#0b6e99", label=shade)
    ax.plot(layers, mean, "o-", color="#0b6e99", label="mean over heads")
    if limit is not None:
        ax.axhline(limit, ls=":", color="k", label=f"limit {limit:g}")
    ax.set(xlabel="decoder layer", ylabel="visual attention ratio", ylim=(0, 1))
    layer_ticks(ax, layers.tolist())
    ax.legend(fontsize=8, frameon=False)


def plot_sweep(
    ax: Any,
    sweep: Table,
    chance: float | None = None,
    marked: tuple[int, int] | None = None,
    *,
    depth: int | None = None,
) -> None:
    """Accuracy with interval against the entry or exit layer.

    Parameters
    ----------
    sweep : Table
        kind ("none", "late entry", "early exit"), layer, accuracy, accuracy_low, accuracy_high.
    chance : float, optional
        Accuracy of the best constant answer.
    marked : (int, int), optional
        Entry and exit layer that the conditions chose; needs `depth`.
    depth : int, optional
        Number of layers: where early exit skips nothing.
    """
    none = next(sweep.where(kind="none").rows())
    ax.axhline(none["accuracy"], lw=1, color="0.6", label="no skip", zorder=0)
    shown = set()
    for kind, free, shift in (("late entry", 0, -0.06), ("early exit", depth, 0.06)):
        rows = list(sweep.where(kind=kind).rows())
        if not rows:
            continue
        rows += [] if free is None else [{**none, "layer": free}]
        rows.sort(key=lambda row: row["layer"])
        x, y, low, high = (
            np.array([row[name] for row in rows]) for name in ("layer", "accuracy", "accuracy_low", "accuracy_high")
        )
        shown |= set(x.tolist())
        spread = [np.maximum(y - low, 0), np.maximum(high - y, 0)]
        ax.errorbar(x + shift, y, yerr=spread, fmt="o-", ms=4, capsize=3, color=COLOURS[kind], label=kind)
    if chance is not None:
        ax.axhline(chance, ls=":", color="k", label="best constant answer")
    for layer, kind, free in zip(marked or (), ("late entry", "early exit"), (0, depth), strict=False):
        label = f"conditions: no {kind}" if layer == free else f"conditions: {kind} at {layer}"
        ax.axvline(layer, ls="--", lw=1, color=COLOURS[kind], label=label)
    ax.set(xlabel="k: vision enters at layer k / leaves at layer k", ylabel="accuracy", ylim=(0, 1.02))
    layer_ticks(ax, sorted(shown))
    ax.legend(fontsize=8, frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def save_figures(drawings: Mapping[str, Callable[[Any], None]], folder: Path) -> list[Path]:
    """One PNG file per name, drawn by its function."""
    plt = require_matplotlib()
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, draw in drawings.items():
        figure, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
        draw(ax)
        path = folder / f"{name}.png"
        # Without the program's version in it, the same figure is the same file.
        figure.savefig(path, dpi=140, metadata={"Software": None})
        plt.close(figure)
        paths.append(path)
    return paths
