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
    figure, axes = plt.subplots(1, len(folders), figsize=(7.2 * len(folders), 5.2), layout="constrained", squeeze=False)
    for ax, (name, folder) in zip(axes[0], folders.items(), strict=True):
        methods, controls = (Table.load(Path(folder) / f"{part}.csv") for part in ("methods", "controls"))
        for control, colour in BANDS:
            rows = sorted(controls.where(control=control).rows(), key=lambda row: row["operations_ratio"])
            x, low, high = (np.array([row[k] for row in rows]) for k in ("operations_ratio", "low", "high"))
            ax.fill_between(x, low, high, color=colour, alpha=0.35, label=f"{control}, range of the draws")
        names = list(dict.fromkeys(methods["method"].tolist()))
        for place, method in enumerate(names):
            rows = list(methods.where(method=method).rows())
            x, y = ([row[k] for row in rows] for k in ("operations_ratio", "accuracy"))
            layers = rows[0]["plan"] != "one per prompt" and not str(rows[0]["plan"]).startswith("prune")
            ax.plot(x, y, "s" if layers else "o", ms=5, ls=":" if layers else "-", lw=0.8, label=method,
                    color=plt.get_cmap("tab20")(place % 20))  # fmt: skip
        ax.set(xlabel="operations of a prompt / full model", ylabel="accuracy", title=name)
        ax.legend(fontsize=6, frameon=False, ncols=2, loc="lower right")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    draw(sys.argv[1], dict(text.split("=", 1) for text in sys.argv[2:]))
