"""Figures of measurements and sweeps; each function draws on the axes it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from redundancy.array_types import FloatArray
from redundancy.optional_imports import optional_import
from vlm.progress_bar import by_count
from vlm.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from vlm.measure.attention_ratio import AttentionRecord
    from vlm.measure.distances import ProbeRecord

COLOURS = {"vision": "#0b6e99", "text": "#c4622d", "late entry": "#0b6e99", "early exit": "#7a3b8f"}


def require_matplotlib() -> Any:
    """Import matplotlib.pyplot with a backend that needs no display.

    Raises
    ------
    ImportError
        matplotlib is missing: pip install 'skipit[plot]'.
    """
    optional_import("matplotlib", extra="plot", purpose="drawing figures").use("Agg")
    return optional_import("matplotlib.pyplot", extra="plot", purpose="drawing figures")


def layer_ticks(ax: Axes, layers: Sequence[int]) -> None:
    """Put a tick at each layer, or at some of them if there are more than 16."""
    if len(layers) <= 16:
        ax.set_xticks(layers)
    else:
        ax.locator_params(axis="x", integer=True)


def plot_redundancy(ax: Axes, record: ProbeRecord | Table, *, t: float = 0.05) -> None:
    """Draw the mean adjacent distance (lines) and the fraction of tokens within t (dashed) of each layer.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Axes to draw on.
    record : ProbeRecord or Table
        A probe's record or its table, or a measurement's table with one row per layer and modality: columns layer,
        modality ("vision", "text"), distance and ``within_{t}``.
    t : float
        Distance up to which two states are close; one of the thresholds that were measured.

    See Also
    --------
    vlm.probe : Measures the record.
    plot_attention : The second condition.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from vlm import Table, plot_redundancy
    >>> columns = {"layer": [0, 1], "modality": ["vision"] * 2, "distance": [0.3, 0.02], "within_0.05": [0.1, 1]}
    >>> ax = Figure().subplots()
    >>> plot_redundancy(ax, Table({name: np.array(values) for name, values in columns.items()}))
    >>> [line.get_label() for line in ax.lines], ax.lines[0].get_ydata().tolist()
    (['vision: mean distance'], [0.3, 0.02])
    """
    table = record if isinstance(record, Table) else record.table()
    layers = np.arange(int(table["layer"].max()) + 1)
    near = ax.twinx()
    for modality in ("vision", "text"):
        rows = table.where(modality=modality)
        measured = ~np.isnan(rows["distance"])
        if not measured.any():
            continue
        mean, close = (
            [rows[name][measured & (rows["layer"] == i)].mean() for i in layers]
            for name in ("distance", f"within_{t:g}")
        )
        ax.plot(layers, mean, "o-", color=COLOURS[modality], label=f"{modality}: mean distance")
        near.plot(layers, close, "s--", ms=4, alpha=0.7, color=COLOURS[modality], label=f"{modality}: within {t:g}")
    ax.set(xlabel="decoder layer", ylabel="cosine distance, state l to l+1", ylim=(0, None))
    layer_ticks(ax, layers.tolist())
    near.set(ylabel=f"fraction of tokens within {t:g}", ylim=(0, 1.02))
    handles = [h for a in (ax, near) for h in a.get_legend_handles_labels()[0]]
    ax.legend(handles=handles, fontsize=8, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)


def plot_attention(ax: Axes, record: AttentionRecord | Table, *, limit: float | None = None) -> None:
    """Draw the visual attention ratio of each layer: the answer token's, and the largest of all text tokens.

    The answer token is drawn as the mean over heads and the range of the heads.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Axes to draw on.
    record : AttentionRecord or Table
        A record, or a measurement's table with one row per layer: columns layer, ratio, ratio_low and ratio_high. For
        a table the interval takes the place of the range of the heads. The largest ratio of all text tokens and heads
        is drawn where it was measured (column largest).
    limit : float, optional
        Largest ratio that the condition on attention allows, drawn as a line.

    See Also
    --------
    vlm.attention : Measures the record.
    plot_redundancy : The first condition.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from vlm import Table, plot_attention
    >>> columns = {"layer": [0, 1], "ratio": [0.4, 0.1], "ratio_low": [0.3, 0.05], "ratio_high": [0.5, 0.2]}
    >>> ax = Figure().subplots()
    >>> plot_attention(ax, Table({name: np.array(values) for name, values in columns.items()}), limit=0.1)
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['interval', 'mean over heads', 'limit 0.1']
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
    largest = _largest_ratio(record)
    if largest is not None:
        ax.plot(layers, largest, "^--", ms=4, color="#b5651d", label="largest, all text tokens")
    if limit is not None:
        ax.axhline(limit, ls=":", color="k", label=f"limit {limit:g}")
    ax.set(xlabel="decoder layer", ylabel="visual attention ratio", ylim=(0, 1))
    layer_ticks(ax, layers.tolist())
    ax.legend(fontsize=8, frameon=False)


def _largest_ratio(record: AttentionRecord | Table) -> FloatArray | None:
    """Per layer the largest ratio of all text tokens and heads, mean over prompts; None where it was not measured."""
    if isinstance(record, Table):
        return record["largest"].astype(np.float64) if "largest" in record.columns else None
    return np.nanmean(record.reading(), axis=0) if record.tokens == "all" else None


def plot_sweep(
    ax: Axes,
    sweep: Table,
    *,
    chance: float | None = None,
    marked: tuple[int, int] | None = None,
    depth: int | None = None,
) -> None:
    """Draw accuracy with its interval against the layer at which vision tokens enter or leave.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Axes to draw on.
    sweep : Table
        Columns kind ("none", "late entry", "early exit"), layer, accuracy, accuracy_low and accuracy_high; one row
        of kind "none".
    chance : float, optional
        Accuracy of the best constant answer, drawn as a line.
    marked : (int, int), optional
        Entry and exit layer that the conditions chose; needs `depth`.
    depth : int, optional
        Number of decoder layers, at which early exit skips nothing.

    Raises
    ------
    ValueError
        No row of kind "none", or several.

    See Also
    --------
    vlm.sweep : Runs the plans that are drawn.
    vlm.reports.summary : The table of a run on data sets.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from vlm import Table, plot_sweep
    >>> kinds = [("none", -1, 0.8), ("late entry", 4, 0.8), ("late entry", 8, 0.6)]
    >>> rows = [
    ...     {"kind": kind, "layer": layer, "accuracy": a, "accuracy_low": a - 0.1, "accuracy_high": a + 0.1}
    ...     for kind, layer, a in kinds
    ... ]
    >>> ax = Figure().subplots()
    >>> plot_sweep(ax, Table.from_rows(rows), chance=0.25, depth=12)
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['no skip', 'best constant answer', 'late entry']
    """
    unskipped = list(sweep.where(kind="none").rows())
    if len(unskipped) != 1:
        raise ValueError(f"sweep: expected one row of kind 'none', the model without a plan, got {len(unskipped)}")
    (none,) = unskipped
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


def save_figures(drawings: Mapping[str, Callable[[Axes], None]], folder: Path) -> list[Path]:
    """Draw and save one PNG file per name; the paths, in order. Their text can be read at 390 pixels of a phone."""
    plt = require_matplotlib()
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, draw in by_count(drawings.items(), len(drawings), "drawing"):
        figure, ax = plt.subplots(figsize=(4.8, 3.3), layout="constrained")
        draw(ax)
        path = folder / f"{name}.png"
        # The file leaves out matplotlib's version, so that equal figures are equal files.
        figure.savefig(path, dpi=190, metadata={"Software": None})
        plt.close(figure)
        paths.append(path)
    return paths
