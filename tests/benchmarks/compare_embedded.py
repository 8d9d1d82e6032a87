"""Named methods, random controls and the planner's plans on the four embedded models; resumable.

OMP_NUM_THREADS=1 python -m tests.benchmarks.compare_embedded --out runs/methods
python -m tests.benchmarks.method_figure runs/methods FIGURE.png

One question about each image ("which digit is at b3?"), answered by one token. First methods that choose image tokens,
beside random tokens, on every model; then what consecutive positions do to random tokens; then methods that choose
layers, beside all sets of as many, or 1,000 of them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

import vlm
from vlm import SkipPlan, load
from vlm.atomic_files import write_atomically
from vlm.comparison.comparing import compare_methods
from vlm.comparison.method_plans import Costs
from vlm.datasets import read
from vlm.item import Item
from vlm.selectors import keep_plan, random_tokens
from vlm.table import Table
from vlm.tiny.architecture import IMAGE_TOKENS

MODELS = ("tiny", "tiny-scaled", "tiny-priced", "tiny-late")


def compare(name: str, kind: str, options: argparse.Namespace) -> None:
    """One kind of methods on one model; methods that choose layers at each budget in a folder of its own."""
    model, processor = load(name)
    runs: list[tuple[str, list[float], dict[str, SkipPlan]]]
    if kind == "layers":
        runs = [(f"layers-{ratio:g}", [ratio], {}) for ratio in options.layer_budgets]
    elif kind == "layout":
        runs = [(kind, options.budgets, layout_plans(model, options.budgets))]
    else:
        runs = [(kind, options.budgets, planned(name, model, processor, options))]
    judged = options.layer_images if kind == "layers" else options.images
    draws = options.layer_draws if kind == "layers" else options.draws
    for place, budgets, plans in runs:
        folder = options.out / name / place
        result = compare_methods(
            model,
            processor,
            questions(judged + options.calibration, seed=0),
            out=folder,
            budgets=budgets,
            draws=draws,
            layer_draws=draws,
            calibration_images=options.calibration,
            plans=plans,
            kinds=[] if kind == "layout" else ["layers" if kind == "layers" else "tokens"],
            max_new_tokens=1,
            batch_size=options.batch_size,
            done=lambda stage, number, total, place=place: print(name, place, stage, number, total, flush=True),
        )
        result.table().save(folder / "methods.csv")
        result.controls().save(folder / "controls.csv")
        print(result.table().text(), flush=True)


def questions(images: int, *, seed: int) -> list[Item]:
    """One question about each image."""
    found = read("tiny", limit=5 * images, seed=seed)
    return [item for item in found if isinstance(item, Item) and "which digit is at" in item.question]


def planned(name: str, model, processor, options: argparse.Namespace) -> dict[str, SkipPlan]:
    """The plans that `vlm.optimize` certifies for three promises on other images, and what its search found beside."""
    path = options.out / name / "planner.json"
    if not path.exists():
        items = questions(options.search + options.certification, seed=1)
        shown = {
            image_id for item in questions(options.images + options.calibration, seed=0) for image_id in [item.image_id]
        }
        assert not shown & {item.image_id for item in items}
        found: dict[str, str] = {}
        for promise in (0.01, 0.02, 0.05):
            best = vlm.optimize(
                model,
                processor,
                items,
                max_loss=promise,
                actions=("freeze", "remove"),
                fractions=(),
                batch_size=64,
                max_new_tokens=1,
                search_images=options.search,
                forwards=options.forwards,
                candidates=5,
                out=options.out / name / "planner",
            )
            found[f"planner, certified at {promise:g}"] = str(best.plan)
            print(name, promise, best, flush=True)
        for scored in best.frontier:
            if str(scored.plan) not in found.values() and scored.loss <= 0.2:
                found[f"planner, search {scored.cost:.3f}"] = str(scored.plan)
        write_atomically(path, json.dumps(found, indent=1) + "\n")
    return {method: SkipPlan.parse(text) for method, text in json.loads(path.read_text()).items()}


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
        for folder in [out / name / "tokens", *sorted((out / name).glob("layers-*"), reverse=True)]:
            if (path := folder / f"{part}.csv").exists():
                rows += list(Table.load(path).rows())
        Table.from_rows(rows).save(out / f"{part}_{name}.csv")


def main() -> None:
    """Compare on every model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="runs/methods", type=Path)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--kinds", nargs="+", default=["tokens", "layout", "layers"])
    parser.add_argument("--images", type=int, default=128, help="judged, for choices of tokens")
    parser.add_argument("--layer-images", type=int, default=48, help="judged, for sets of layers")
    parser.add_argument("--calibration", type=int, default=24)
    parser.add_argument("--budgets", nargs="+", type=float, default=[0.75, 0.6, 0.45])
    parser.add_argument("--layer-budgets", nargs="+", type=float, default=[0.6])
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--layer-draws", type=int, default=1000)
    parser.add_argument("--search", type=int, default=256, help="images on which vlm.optimize searches")
    parser.add_argument("--certification", type=int, default=1280, help="images on which it certifies")
    parser.add_argument("--forwards", type=int, default=9000, help="budget of its search")
    parser.add_argument("--batch-size", type=int, default=64)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for kind in options.kinds:
        for name in options.models:
            compare(name, kind, options)
            joined(options.out, name)


if __name__ == "__main__":
    main()
