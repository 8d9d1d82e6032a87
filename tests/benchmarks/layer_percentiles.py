"""Where named methods stand among all sets of as many layers, from the table of all 3^L plans.

python -m tests.benchmarks.layer_percentiles tests/benchmarks/plans_tiny-scaled.npz ShortV=freeze:5-10 VTW=vision:6-10
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from vlm.plans.plan import SkipPlan
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


if __name__ == "__main__":
    given = dict(text.split("=", 1) for text in sys.argv[2:])
    print(percentiles(sys.argv[1], {name: SkipPlan.parse(plan) for name, plan in given.items()}).text())
