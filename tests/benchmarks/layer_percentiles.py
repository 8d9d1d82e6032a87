"""Where named methods stand among all sets of as many layers, from the table of all 3^L plans.

python -m tests.benchmarks.layer_percentiles tests/benchmarks/plans_tiny-scaled.npz ShortV=freeze:5-10 VTW=vision:6-10
python -m tests.benchmarks.layer_percentiles tests/benchmarks/plans_tiny-scaled.npz runs/methods/tiny-scaled/layers-0.6
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from vlm.comparison.calibration import Choices
from vlm.plans.plan import SkipPlan
from vlm.record_log import read
from vlm.table import Table


def percentiles(path: str | Path, plans: dict[str, SkipPlan]) -> Table:
    """One row per plan: its loss, the distribution of the loss over all sets of as many layers, and its percentile.

    The loss is the share of prompts whose answer differs from the full model's. Sets of as many frozen and as many
    removed layers need the same operations, so the comparison is at exactly equal cost. The percentile is the share of
    the sets that do worse, ties half.
    """
    data = np.load(path)
    differing, prompts = data["differing"].astype(np.int64), int(data["prompts"])
    depth = round(np.log(len(differing)) / np.log(3))
    numbers = np.arange(len(differing))
    digits = np.stack([numbers // 3 ** (depth - 1 - layer) % 3 for layer in range(depth)], axis=1)
    counts = (digits == 1).sum(axis=1), (digits == 2).sum(axis=1)
    rows = []
    for name, plan in plans.items():
        frozen, removed = plan.layers("frozen", depth), plan.layers("vision", depth)
        own = [1 if layer in frozen else 2 if layer in removed else 0 for layer in range(depth)]
        number = int(sum(action * 3 ** (depth - 1 - layer) for layer, action in enumerate(own)))
        alike = (counts[0] == len(frozen)) & (counts[1] == len(removed))
        losses, mine = differing[alike], differing[number]
        low, middle, high = np.quantile(losses, [0.05, 0.5, 0.95]) / prompts
        rows.append(
            {
                "method": name,
                "plan": str(plan),
                "sets": len(losses),
                "differing": mine / prompts,
                "median": middle,
                "from_5_percent": low,
                "to_95_percent": high,
                "percentile": float((losses > mine).mean() + 0.5 * (losses == mine).mean()),
            }
        )
    return Table.from_rows(rows)


def every_number(path: str | Path, choices: list[Choices]) -> str:
    """Markdown: the place of each method that freezes or removes among all sets, for every number of layers."""
    rows: dict[str, dict[int, tuple[float, float, float]]] = {}
    for one in choices:
        if "image tokens" not in one.action:
            continue
        frozen = one.action.startswith("freeze")
        what = "freeze" if frozen else "remove"
        for number, plan in enumerate(one.plans):
            if 2 <= number <= 8 and len(plan.layers("frozen" if frozen else "vision", one.depth)) == number:
                (row,) = percentiles(path, {"": plan}).rows()
                rows.setdefault(f"{what} | {one.method}", {})[number] = (
                    row["percentile"],
                    row["differing"],
                    row["median"],
                )
    numbers = range(2, 9)
    lines = ["| | method | " + " | ".join(map(str, numbers)) + " |", "|---|---|" + "---|" * len(numbers)]
    for what in ("freeze", "remove"):
        own = {name: found for name, found in rows.items() if name.startswith(what)}
        middle = [next(f[n][2] for f in own.values() if n in f) for n in numbers]
        lines.append(f"| {what} | *median of all sets: changed* | " + " | ".join(f"{m:.2f}" for m in middle) + " |")
        for name, found in own.items():
            cells = [f"{100 * found[n][0]:.0f}% ({found[n][1]:.2f})" if n in found else "" for n in numbers]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    if "=" not in sys.argv[2]:
        records = read(Path(sys.argv[2]) / "outcomes.jsonl")
        print(every_number(sys.argv[1], [Choices.read(record) for record in records if record["kind"] == "choices"]))
    else:
        given = dict(text.split("=", 1) for text in sys.argv[2:])
        print(percentiles(sys.argv[1], {name: SkipPlan.parse(plan) for name, plan in given.items()}).text())
