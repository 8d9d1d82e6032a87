"""Draw and print the tables of tests.benchmarks.compare_embedded: methods, their random controls, the planner's plans.

python -m tests.benchmarks.method_figure runs/methods FIGURE.png    (and Markdown tables on the screen)
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from vlm.reports.plots import require_matplotlib
from vlm.table import Table

MODELS = ("tiny", "tiny-scaled", "tiny-priced", "tiny-late")
BANDS = (("random tokens from layer 0", "#8a8a8a"), ("random tokens from layer 2", "#6f9fc8"))


def draw(folder: str | Path, path: str | Path) -> None:
    """One column per model: accuracy against operations of token methods, and sets of layers with theirs."""
    plt = require_matplotlib()
    models = [name for name in MODELS if (Path(folder) / f"methods_{name}.csv").exists()]
    sets = [row for name in models for row in Table.load(_table(folder, "controls", name)).rows()]
    both = any(row["control"].startswith("random: ") for row in sets)
    size = (4.6 * len(models) + 2.6, 9.8 if both else 4.9)
    figure, axes = plt.subplots(1 + both, len(models), figsize=size, layout="constrained", squeeze=False)
    entries: dict[str, object] = {}
    shown: list[str] = []
    for place, name in enumerate(models):
        methods, controls = (Table.load(_table(folder, part, name)) for part in ("methods", "controls"))
        _tokens(axes[0][place], methods, controls, shown)
        about = {"xlim": (0.2, 0.8), "ylim": (-0.02, 1.03), "xlabel": "operations of a prompt / full model"}
        axes[0][place].set(title=name, **about)
        if both and not any(row["control"].startswith("random: ") for row in controls.rows()):
            axes[1][place].set_axis_off()
        elif both:
            _layers(axes[1][place], methods, controls)
            axes[1][place].set(ylim=(-0.02, 1.03))
        for line, label in zip(*axes[0][place].get_legend_handles_labels(), strict=True):
            entries.setdefault(label, line)
    axes[0][0].set_ylabel("accuracy, image tokens chosen")
    if both:
        axes[1][0].set_ylabel("accuracy at 0.6, layers chosen")
    figure.legend(entries.values(), entries, fontsize=8.5, frameon=False, loc="outside right upper")
    figure.savefig(path, dpi=80)


def _table(folder: str | Path, part: str, model: str) -> Path:
    return Path(folder) / f"{part}_{model}.csv"


def _tokens(ax, methods: Table, controls: Table, shown: list[str]) -> None:
    import matplotlib.pyplot as plt

    for control, colour in BANDS:
        rows = sorted(controls.where(control=control).rows(), key=lambda row: row["operations_ratio"])
        x, low, high = (np.array([row[k] for row in rows]) for k in ("operations_ratio", "low", "high"))
        ax.fill_between(x, low, high, color=colour, alpha=0.4, label=f"{control}, range of the draws", lw=0)
    rows = list(methods.rows())
    planner = sorted(
        (row for row in rows if row["method"].startswith("planner") and row["plan"] != "none"),
        key=lambda row: row["operations_ratio"],
    )
    found, certified = planner, [row for row in planner if "certified" in row["method"]]
    for part, style, label in ((found, "k.-", "vlm.optimize: search"), (certified, "k*", "vlm.optimize: certified")):
        x, y = ([row[k] for row in part] for k in ("operations_ratio", "accuracy"))
        ax.plot(x, y, style, ms=11 if "*" in style else 5, lw=0.8, label=label, zorder=3)
    tokens = [row for row in rows if row["control"].startswith("random tokens")]
    for method in dict.fromkeys(row["method"] for row in tokens):
        if method not in shown:
            shown.append(method)
        number = shown.index(method)
        x, y = ([row[k] for row in tokens if row["method"] == method] for k in ("operations_ratio", "accuracy"))
        colour = plt.get_cmap("tab20")(number % 20)
        ax.plot(x, y, "ov^"[number // 10] + "-", ms=5, lw=0.6, label=method, color=colour)


def _layers(ax, methods: Table, controls: Table) -> None:
    rows = controls.rows()
    sets = [row for row in rows if row["control"].startswith("random: ") and row["draws"] > 1]
    labels = []
    for place, row in enumerate(sets):
        action, _, number = row["control"].removeprefix("random: ").partition(", ")
        short = action.replace(" image tokens", "").replace("drop sub-", "sub-")
        labels.append(f"{short}\n{number}\n{row['draws']:.0f} sets")
        ax.bar(place, row["high"] - row["low"], bottom=row["low"], width=0.6, color="#d8d8d8")
        middle = row["three_quarters"] - row["quarter"]
        ax.bar(place, middle, bottom=row["quarter"], width=0.6, color="#9a9a9a")
        ax.plot([place - 0.3, place + 0.3], [row["median"]] * 2, "k-", lw=1.5)
        own = [one["accuracy"] for one in methods.where(control=row["control"]).rows()]
        ax.plot(place + np.linspace(-0.2, 0.2, len(own)), own, "o", ms=5, color="#c0392b")
    ax.set_xticks(range(len(sets)), labels, fontsize=8.5)
    ax.set_xlim(-0.5, max(len(sets), 1) - 0.5)


def page(folder: str | Path) -> str:
    """The tables in Markdown: token methods at every budget, layer methods beside all sets."""
    out = []
    for name in MODELS:
        if not (Path(folder) / f"methods_{name}.csv").exists():
            continue
        methods, controls = (list(Table.load(Path(folder) / f"{p}_{name}.csv").rows()) for p in ("methods", "controls"))
        tokens = [row for row in methods if row["control"].startswith("random tokens")]
        budgets = sorted({row["budget"] for row in tokens}, reverse=True)
        out.append(f"\n`{name}`:\n\n| tokens from | method | " + " | ".join(
            f"at {b:g}: accuracy | place | minus the draws" for b in budgets) + " |")  # fmt: skip
        out.append("|---|---|" + "---|---|---|" * len(budgets))
        for control, _ in BANDS:
            cells = []
            for b in budgets:
                (row,) = [r for r in controls if r["control"] == control and r["budget"] == b] or [None]
                cells.append(
                    " | | " if row is None else f"{row['mean']:.3f} ({row['low']:.3f} to {row['high']:.3f}) | | "
                )
            start = control.rpartition(" ")[2]
            out.append(f"| {start} | **random, mean (range of the draws)** | " + " | ".join(cells) + " |")
            for method in dict.fromkeys(r["method"] for r in tokens if r["control"] == control):
                cells = [_cells(tokens, method, b) for b in budgets]
                label = method.replace(f" from layer {start}", "")
                out.append(f"| {start} | {label} | " + " | ".join(cells) + " |")
        layers = [row for row in methods if row["control"].startswith("random: ")]
        out += ["", f"`{name}`, layers at {layers[0]['budget']:g} of the operations:" if layers else "", ""]
        if layers:
            out += [
                "| method | plan | accuracy | sets | median (range) of the sets | place | minus the sets' mean |",
                "|---|---|---|---|---|---|---|",
            ]
        for row in sorted(layers, key=lambda r: (r["control"], -r["accuracy"])):
            (sets,) = [r for r in controls if r["control"] == row["control"] and r["budget"] == row["budget"]]
            spread = f"{sets['median']:.3f} ({sets['low']:.3f} to {sets['high']:.3f})"
            what = f"{row['control'].removeprefix('random: ')}: {row['draws']:.0f}"
            limits = f"{row['versus_control']:+.3f} [{row['versus_low']:+.3f}, {row['versus_high']:+.3f}]"
            out.append(f"| {row['method']} | `{row['plan']}` | {row['accuracy']:.3f} | {what} | {spread} "
                       f"| {100 * row['percentile']:.0f}% | {limits} |")  # fmt: skip
    out += ["", "| model | plan | found | operations | accuracy |", "| --- | --- | --- | --- | --- |"]
    for name in MODELS:
        if (path := Path(folder) / f"methods_{name}.csv").exists():
            rows = [row for row in Table.load(path).rows() if row["method"].startswith("planner")]
            for row in sorted(rows, key=lambda row: -row["operations_ratio"]):
                if "certified" in row["method"] or row["operations_ratio"] == min(r["operations_ratio"] for r in rows):
                    how = row["method"].removeprefix("planner, ")
                    how = "search, the cheapest" if how.startswith("search") else how
                    out.append(f"| `{name}` | `{row['plan']}` | {how} | {row['operations_ratio']:.3f} "
                               f"| {row['accuracy']:.3f} |")  # fmt: skip
    return "\n".join(out)


def _cells(rows: list[dict], method: str, budget: float) -> str:
    found = [r for r in rows if r["method"] == method and r["budget"] == budget]
    if not found:
        return " | | "
    (row,) = found
    limits = f"{row['versus_control']:+.3f} [{row['versus_low']:+.3f}, {row['versus_high']:+.3f}]"
    return f"{row['accuracy']:.3f} | {100 * row['percentile']:.0f}% | {limits}"


if __name__ == "__main__":
    print(page(sys.argv[1]))
    if len(sys.argv) > 2:
        draw(sys.argv[1], sys.argv[2])
