"""`vlm.optimize` on the embedded models: certified plan, its true loss, the exhaustive optimum, and named methods.

True losses are measured on images of another seed, which neither the search nor the certification saw. Everything is
kept, so that the same command continues after a kill.

python -m tests.benchmarks.promised_plans --models tiny tiny-scaled tiny-priced tiny-late --out FOLDER
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

import vlm
from redundancy.array_types import BoolArray
from tests.benchmarks.exhaustive_plans import PROMISES, questions
from tests.benchmarks.plan_tables import FOLDER, read_table
from vlm import tiny
from vlm.atomic_files import write_atomically
from vlm.datasets import read
from vlm.evaluation.plan_accuracy import prompt_batch
from vlm.item import Item
from vlm.planner.certification import images_for
from vlm.planner.seed_plans import method_seeds
from vlm.plans.plan import SkipPlan

MODELS = ("tiny", "tiny-scaled", "tiny-priced", "tiny-late")
EXHAUSTIVE = 59_049 * 64
OTHER_SEED = 12


class TrueLoss:
    """Share of answers that plans change on the first questions of another seed; each plan is asked once."""

    def __init__(self, model, processor, count: int, path: Path) -> None:
        self.model, self.processor, self.path = model, processor, path
        self.asked = questions(count, seed=OTHER_SEED)
        self.full = np.array(tiny.predict(model, processor, self.asked, batch_size=64))
        self.known: dict[str, list[int]] = json.loads(path.read_text()) if path.exists() else {}

    def changed(self, plan: SkipPlan, count: int) -> BoolArray:
        """Which of the first `count` answers differ from the full model's."""
        have = self.known.get(str(plan), [])
        if len(have) < count:
            with vlm.skipping(self.model, plan):
                more = tiny.predict(self.model, self.processor, self.asked[len(have) : count], batch_size=64)
            have = have + (np.array(more) != self.full[len(have) : count]).astype(int).tolist()
            self.known[str(plan)] = have
            write_atomically(self.path, json.dumps(self.known))
        return np.array(have[:count], dtype=bool)


def items(images: int) -> list[Item]:
    """One question about each image, kinds in turn: the first 1,024 are those of the tables."""
    kinds = len(tiny.IMAGE_KINDS)
    found = [item for item in read("tiny", split="test", limit=images * kinds, seed=11) if isinstance(item, Item)]
    return [item for number, item in enumerate(found) if number % kinds == number // kinds % kinds]


def methods(model, processor, true: TrueLoss, count: int) -> dict[str, list[tuple[float, float]]]:
    """Of each named method (cost, loss) of its plans from the mildest on, until one loses more than a tenth."""
    batches = [prompt_batch(model, processor, questions(16, seed=13))]
    by_method: dict[str, list[tuple[float, SkipPlan]]] = {}
    for seed in method_seeds(model, batches, groups=range(16)):
        cost = vlm.operations_ratio(model, seed.plan, vision=36, text=10)
        by_method.setdefault(seed.method, []).append((cost, seed.plan))
    out: dict[str, list[tuple[float, float]]] = {}
    for method, plans in by_method.items():
        for cost, plan in sorted(plans, key=lambda pair: -pair[0]):
            if true.changed(plan, 64).mean() > 0.15:
                break
            loss = float(true.changed(plan, count).mean())
            out.setdefault(method, []).append((cost, loss))
            if loss > 0.1:
                break
    return out


def run(name: str, options: argparse.Namespace, promises: Sequence[float]) -> list[dict[str, object]]:
    """One row per promise."""
    model, processor = vlm.load(name)
    true = TrueLoss(model, processor, options.validation, options.out / f"{name}-true.json")
    rows: list[dict[str, object]] = []
    asked = items(options.search + options.certification)
    for max_loss in promises:
        start = time.process_time()
        best = vlm.optimize(
            model,
            processor,
            asked,
            max_loss=max_loss,
            actions=("freeze", "remove"),
            fractions=(),
            batch_size=64,
            search_images=options.search,
            forwards=options.forwards,
            candidates=options.candidates,
            out=options.out,
        )
        seconds = time.process_time() - start
        changed = true.changed(best.plan, options.validation)
        used = sum(best.forwards.values())
        chosen = next((t.candidate for t in best.tested if t.candidate.plan == best.plan), None)
        rate = 0.0 if chosen is None else chosen.loss
        row: dict[str, object] = {
            "model": name,
            "promise": max_loss,
            "plan": str(best.plan),
            "cost": best.cost,
            "true_loss": float(changed.mean()),
            "forwards": used,
            "share_of_exhaustive": used / EXHAUSTIVE,
            "images": best.file.images,
            "limit": best.file.limit,
            "asked_by_search": images_for(max_loss, rate, confidence=0.95, binary=True),
            "needed": images_for(max_loss, float(changed.mean()), confidence=0.95, binary=True),
            "cpu_seconds": seconds,
            "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
        if (FOLDER / f"plans_{name}.npz").exists():
            row["optimum"] = read_table(name).optimum(max_loss)
            row["over_optimum"] = best.cost / float(str(row["optimum"]))
        rows.append(row)
        print(json.dumps(row), flush=True)
    named = methods(model, processor, true, options.method_images)
    for row in rows:
        # On the same images; a method may lose as much as the certified plan does.
        allowed = float(true.changed(SkipPlan.parse(str(row["plan"])), options.method_images).mean())
        row["methods"] = {
            method: min((cost for cost, loss in plans if loss <= allowed), default=1.0)
            for method, plans in sorted(named.items())
        }
        print(json.dumps({"model": name, "promise": row["promise"], "methods": row["methods"]}), flush=True)
    return rows


def main() -> None:
    """Print and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--promises", nargs="+", type=float, default=PROMISES)
    parser.add_argument("--search", type=int, default=512, help="images for the search")
    parser.add_argument("--certification", type=int, default=2048, help="images that certify")
    parser.add_argument("--validation", type=int, default=2000, help="images for the true loss")
    parser.add_argument("--method-images", type=int, default=500, help="images for the named methods")
    parser.add_argument("--forwards", type=int, default=20_000, help="budget of the search")
    parser.add_argument("--candidates", type=int, default=8)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.models:
        rows = run(name, options, options.promises)
        write_atomically(options.out / f"{name}-promised.json", json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
