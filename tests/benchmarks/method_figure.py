"""Draw the tables of ``skipit compare-methods``: accuracy against operations, the draws of random tokens as bands.

python -m tests.benchmarks.method_figure FIGURE.png NAME=FOLDER [NAME=FOLDER ...]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from vlm.reports.plots import require_matplotlib
from vlm.table import Table

BANDS = (("random tokens from layer 0", "#8a8a8a"), ("random tokens from layer 2", "#6f9fc8"))


def draw(path: str | Path, folders: dict[str, str]) -> None:
    """One panel per comparison."""
    plt = require_matplotlib()
    figure, axes = plt.subplots(
        1, len(folders), figsize=(6 * len(folders) + 3.4, 5.2), layout="constrained", squeeze=False
    )
    shown: list[str] = []
    entries: dict[str, object] = {}
    for ax, (name, folder) in zip(axes[0], folders.items(), strict=True):
        methods, controls = (Table.load(Path(folder) / f"{part}.csv") for part in ("methods", "controls"))
        for control, colour in BANDS:
            rows = sorted(controls.where(control=control).rows(), key=lambda row: row["operations_ratio"])
            x, low, high = (np.array([row[k] for row in rows]) for k in ("operations_ratio", "low", "high"))
            ax.fill_between(x, low, high, color=colour, alpha=0.35, label=f"{control}, range of the draws")
        names = list(dict.fromkeys(methods["method"].tolist()))
        shown += [name for name in names if name not in shown]
        for method in names:
            place = shown.index(method)
            rows = list(methods.where(method=method).rows())
            x, y = ([row[k] for row in rows] for k in ("operations_ratio", "accuracy"))
            layers = rows[0]["plan"] != "one per prompt" and not str(rows[0]["plan"]).startswith("prune")
            marker, style = ("sD"[place // 20], ":") if layers else ("ov"[place // 20], "-")
            colour = plt.get_cmap("tab20")(place % 20)
            ax.plot(x, y, marker, ms=5, ls=style, lw=0.8, label=method, color=colour)
        ax.set(xlabel="operations of a prompt / full model", ylabel="accuracy", title=name)
        for line, label in zip(*ax.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, line)
    figure.legend(entries.values(), entries, fontsize=7, frameon=False, loc="outside right upper")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    draw(sys.argv[1], dict(text.split("=", 1) for text in sys.argv[2:]))
