"""The paper's published numbers
=============================

The paper's own tables: do the conditions that it states predict the degradation that it measured?

Runs the decision rule and the prediction statistics on the published numbers, and says where they do not fit. The
tables have the redundancy of layers; the visual attention ratio, the other condition, was published as a figure only.

::

    python examples/08_published_numbers.py --out figures
"""

from __future__ import annotations

import argparse
from pathlib import Path

from vlm import published
from vlm.reports import plot_prediction, prediction
from vlm.reports.plots import require_matplotlib


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("figures"))
    parser.add_argument("--tolerance", type=float, default=0.02, help="loss of accuracy that counts as harmless")
    given = parser.parse_args()

    print("Entry allowed by redundancy (95% of vision tokens within 0.05), and what it cost:")
    print(published.decisions().text() + "\n")

    cells = published.cells()
    results = {
        kind: prediction(cells.where(kind=kind), tolerance=given.tolerance) for kind in ("late entry", "early exit")
    }
    for kind, result in results.items():
        print(f"{kind}: {len(result.cells)} cells, degraded when accuracy fell by more than {given.tolerance:g}")
        for sentence in result.sentences():
            print(f"  {sentence}")
        print(f"  by model, harmless when met: {by_model(result)}")
        print("  condition met and degraded all the same:")
        for row in result.cells.where(met=True, degraded=True).rows():
            print(f"    {row['model']}, {row['dataset']}, {row['layer']}: {row['closeness']:.3f}, {row['change']:+.3f}")
    own = published.cells(exit_reference="deepest exit").where(kind="early exit")
    lost = [row for row in own.rows() if row["change"] < -given.tolerance]
    print(f"early exit against the deepest exit of its own table: {len(lost)} of {len(own)} cells degraded")
    for row in lost:
        print(f"    {row['model']}, {row['dataset']}, {row['layer']}: {row['closeness']:.3f}, {row['change']:+.3f}")
    for assumption in result.assumptions:
        print(assumption)

    print("\nWhat the tables contradict:")
    for row in published.inconsistencies().rows():
        print(f"  {row['where']}: {row['problem']} ({row['detail']})")

    plt = require_matplotlib()
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
    for ax, (kind, result) in zip(axes, results.items(), strict=True):
        plot_prediction(ax, result)
        ax.set_xlabel(f"{kind}: fraction of vision tokens within 0.05 at the layer")
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / "published_numbers.png"
    figure.savefig(path, dpi=120)
    print(f"\nfigure: {path}")


def by_model(result) -> str:
    """k of n for each model."""
    counts = []
    for model in dict.fromkeys(result.cells["model"].tolist()):
        met = result.cells.where(model=model, met=True)
        counts.append(f"{model} {int((~met['degraded']).sum())} of {len(met)}")
    return ", ".join(counts)


if __name__ == "__main__":
    main()
