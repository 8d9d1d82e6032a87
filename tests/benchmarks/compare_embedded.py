"""Named methods, random controls and the planner's plans on the four embedded models; resumable.

OMP_NUM_THREADS=1 python -m tests.benchmarks.compare_embedded --out runs/methods
python -m tests.benchmarks.method_figure runs/methods FIGURE.png

One question about each image ("which digit is at b3?"), answered by one token. First methods that choose image tokens,
beside random tokens, on every model; then what consecutive positions do to random tokens; then methods that choose
layers, beside all sets of as many, or 1,000 of them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from vlm import SkipPlan, load
from vlm.comparison.comparing import compare_methods
from vlm.comparison.method_plans import Costs
from vlm.datasets import read
from vlm.selectors import keep_plan, random_tokens
from vlm.table import Table
from vlm.tiny.architecture import IMAGE_TOKENS

# Joint plans for comparison: optima of all plans, plans that searches found, a licensed one (benchmarks/plans.md).
PLANNER = {
    "tiny": ("vision:7-10/freeze:5-7", "vision:7-10/freeze:4-7", "vision:6-10/freeze:0-1+4-6"),
    "tiny-scaled": ("vision:5-6+8-10/freeze:0-5+6-8", "vision:3-6+8-10/freeze:0-3+6-8"),
    "tiny-priced": ("vision:2-3+5-6+8-10/freeze:0-2+3-5+6-8", "vision:2-6+8-10/freeze:0-2+6-8"),
    "tiny-late": ("vision:0-3+7-10/freeze:3-7",),
}


def compare(name: str, kind: str, options: argparse.Namespace) -> None:
    """One kind of methods on one model."""
    images = (options.images if kind == "tokens" else options.layer_images) + options.calibration
    draws = options.draws if kind == "tokens" else options.layer_draws
    plans = {f"planner {number}": SkipPlan.parse(text) for number, text in enumerate(PLANNER[name], 1)}
    model, processor = load(name)
    if kind == "layout":
        images, plans = options.images + options.calibration, layout_plans(model, options.budgets)
    folder = options.out / name / kind
    result = compare_methods(
        model,
        processor,
        [item for item in read("tiny", limit=5 * images) if "which digit is at" in item.question],
        out=folder,
        budgets=options.budgets if kind == "tokens" else options.layer_budgets,
        draws=draws,
        layer_draws=draws,
        calibration_images=options.calibration,
        plans=plans,
        kinds=[] if kind == "layout" else ["tokens" if kind == "tokens" else "layers"],
        max_new_tokens=1,
        batch_size=options.batch_size,
        done=lambda stage, number, total: print(name, kind, stage, number, total, flush=True),
    )
    result.table().save(folder / "methods.csv")
    result.controls().save(folder / "controls.csv")
    print(result.table().text(), flush=True)


def layout_plans(model, budgets: list[float], draws: int = 10) -> dict[str, SkipPlan]:
    """Random image tokens, the same for all questions, with their positions and with consecutive ones."""
    costs, plans = Costs(model, 10), {}
    for ratio in budgets:
        number = costs.nearest(lambda n: keep_plan(range(n), IMAGE_TOKENS), range(IMAGE_TOKENS), IMAGE_TOKENS, ratio)
        for draw in range(draws):
            rng = np.random.default_rng([draw, number])
            plan = keep_plan(random_tokens(IMAGE_TOKENS, number, rng=rng), IMAGE_TOKENS)
            plans[f"{ratio:g} original {draw}"] = plan
            plans[f"{ratio:g} consecutive {draw}"] = plan | SkipPlan.renumber(0, None)
    return plans


def joined(out: Path, name: str) -> None:
    """The tables of both kinds of methods in one file each, the planner's plans once."""
    for part in ("methods", "controls"):
        rows: list[dict] = []
        for kind in ("tokens", "layers"):
            if (path := out / name / kind / f"{part}.csv").exists():
                found = list(Table.load(path).rows())
                rows += [r for r in found if kind == "tokens" or not str(r.get("method", "")).startswith("planner")]
        Table.from_rows(rows).save(out / f"{part}_{name}.csv")


def main() -> None:
    """Compare on every model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="runs/methods", type=Path)
    parser.add_argument("--models", nargs="+", default=list(PLANNER))
    parser.add_argument("--kinds", nargs="+", default=["tokens", "layout", "layers"])
    parser.add_argument("--images", type=int, default=64, help="judged, for choices of tokens")
    parser.add_argument("--layer-images", type=int, default=32, help="judged, for sets of layers")
    parser.add_argument("--calibration", type=int, default=24)
    parser.add_argument("--budgets", nargs="+", type=float, default=[0.75, 0.6, 0.45])
    parser.add_argument("--layer-budgets", nargs="+", type=float, default=[0.6])
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--layer-draws", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=64)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for kind in options.kinds:
        for name in options.models:
            compare(name, kind, options)
            joined(options.out, name)


if __name__ == "__main__":
    main()
