"""Named methods, random controls and the planner's plans on the four embedded models; resumable.

OMP_NUM_THREADS=1 python -m tests.benchmarks.compare_embedded --out runs/methods
python -m tests.benchmarks.method_figure docs/images/methods_and_controls.png tiny=runs/methods/tiny ...

One question about each image ("which digit is at b3?"). For each model in turn: a search for cheap plans on other
images (vlm.optimize), then methods that choose image tokens beside random tokens, then methods that choose layers
beside all sets of as many, or 1,000 of them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from vlm import SkipPlan, load, optimize
from vlm.comparison.comparing import compare_methods
from vlm.datasets import read
from vlm.table import Table

MODELS = ("tiny", "tiny-scaled", "tiny-priced", "tiny-late")


def asked(images: int, searched: int) -> tuple[list, list]:
    """One question about each of so many images, and one about each of others."""
    items = [i for i in read("tiny", limit=5 * (images + searched)) if "which digit is at" in i.question]
    return items[:images], items[images : images + searched]


def searched_plans(name: str, folder: Path, items: list) -> dict[str, SkipPlan]:
    """The planner's plans at losses from nothing to a fifth, cheapest within each; kept in the folder."""
    kept = folder / "planner.csv"
    if not kept.exists():
        model, processor = load(name)
        best = optimize(
            model,
            processor,
            items,
            max_loss=0.1,
            search_images=len(items) // 2,
            forwards=5000,
            batch_size=50,
            max_new_tokens=1,
            fractions=(),
            out=folder / "search",
        )
        rows = [{"plan": str(one.plan), "loss": one.loss, "cost": one.cost} for one in best.frontier]
        kept.parent.mkdir(parents=True, exist_ok=True)
        Table.from_rows(rows).save(kept)
    rows = list(Table.load(kept).rows())
    plans = {}
    for limit in (0.0, 0.02, 0.05, 0.1, 0.2):
        within = [row for row in rows if row["loss"] <= limit and row["plan"] != "none"]
        if within:
            cheapest = min(within, key=lambda row: row["cost"])
            plans[f"planner, at most {limit:g} on the search images"] = SkipPlan.parse(cheapest["plan"])
    return plans


def compare(name: str, out: Path, options: argparse.Namespace) -> None:
    """One model: search, tokens, layers."""
    judged, others = asked(options.images + options.calibration, options.searched)
    plans = searched_plans(name, out / name, others)
    model, processor = load(name)
    tokens, layers = len(judged), options.layer_images + options.calibration
    for kind, draws, images in (("tokens", options.draws, tokens), ("layers", options.layer_draws, layers)):
        result = compare_methods(
            model,
            processor,
            judged[:images],
            out=out / name / kind,
            budgets=options.budgets if kind == "tokens" else options.layer_budgets,
            draws=draws,
            layer_draws=draws,
            calibration_images=options.calibration,
            plans=plans if kind == "tokens" else None,
            kinds=[kind],
            max_new_tokens=1,
            batch_size=50,
            done=lambda stage, number, total, kind=kind: print(name, kind, stage, number, total, flush=True),
        )
        result.table().save(out / name / kind / "methods.csv")
        result.controls().save(out / name / kind / "controls.csv")
        print(result.table().text(), flush=True)


def main() -> None:
    """Compare on every model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="runs/methods", type=Path)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--images", type=int, default=100, help="judged")
    parser.add_argument("--layer-images", type=int, default=50, help="judged, for sets of layers")
    parser.add_argument("--calibration", type=int, default=24)
    parser.add_argument("--searched", type=int, default=100, help="other images, for the planner")
    parser.add_argument("--budgets", nargs="+", type=float, default=[0.75, 0.6, 0.45])
    parser.add_argument("--layer-budgets", nargs="+", type=float, default=[0.6])
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--layer-draws", type=int, default=1000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.models:
        compare(name, options.out, options)


if __name__ == "__main__":
    main()
