"""What each reading of the conditions licenses on an embedded model, and what that costs on other images.

    python tests/benchmarks/licences.py --model tiny-late --out runs/licences --sweep

Writes, per model, `MODEL-layers.csv` (both conditions and the removal effect in every layer), `MODEL-licences.csv` (the
plan that each rule licenses, its accuracy with interval and its operations) and `MODEL-sweep.csv` (every entry and exit
layer, as in the paper's Tables 1 and 2). With --draw, a figure of what is there.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from predictors import DEPTH, MODELS, Prompts, read_csv

import vlm
from vlm import SkipPlan, Table, tiny
from vlm.evaluation.accuracy import paired_difference, score_accuracy
from vlm.evaluation.plan_accuracy import prompt_batch

RULES: Mapping[str, Mapping[str, Any]] = {
    "paper's rule (answer token, mean over heads)": {"tokens": "answer", "heads": "mean"},
    "answer token, largest head": {"tokens": "answer", "heads": "largest"},
    "all text tokens, mean over heads": {"tokens": "all", "heads": "mean"},
    "safe rule (all text tokens, largest head)": {},
    "removal effect, all text tokens": {"condition": "effect"},
}


def measured(model: Any, processor: Any, images: int) -> tuple[Any, Any, Any, list[int]]:
    """Records of distances, attention and removal effects, and the image of each prompt; no answer is read.

    One question about each image, of each kind in turn: images are the unit.
    """
    kinds = len(tiny.IMAGE_KINDS)
    every = tiny.questions(split="validation", limit=kinds * images, kinds=tiny.IMAGE_KINDS)
    asked = [every[kinds * scene + scene % kinds] for scene in range(images)]
    with torch.inference_mode(), vlm.probe(model) as near, vlm.attention(model) as seen, vlm.removal(model) as removed:
        for start in range(0, len(asked), 100):
            model(**prompt_batch(model, processor, asked[start : start + 100]), logits_to_keep=1)
    return near, seen, removed, [q.image_id for q in asked]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, help="default with --sweep: tiny-priced and tiny-late, one by one")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=int, default=1000, help="images measured")
    parser.add_argument("--limit", type=int, default=1000, help="questions answered, about other images")
    parser.add_argument("--sweep", action="store_true", help="every entry and exit layer too")
    parser.add_argument("--weights", type=Path, help="judge these in place of the embedded ones: a repeated training")
    parser.add_argument("--draw", action="store_true")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    names = (given.model,) if given.model else ("tiny-priced", "tiny-late") if given.sweep else ()
    for name in names:
        judge(name, given.out, given.images, given.limit, sweep=given.sweep, weights=given.weights)
    if given.draw:
        draw(given.out)


def judge(name: str, out: Path, images: int, limit: int, *, sweep: bool, weights: Path | None = None) -> None:
    """All tables of one model; that of every entry and exit layer only if asked for."""
    model, processor = vlm.load(name if weights is None else weights)
    near, seen, removed, groups = measured(model, processor, images)
    readings = {
        f"{tokens}, {heads}": seen.reading(tokens=tokens, heads=heads).mean(axis=0)
        for tokens in ("answer", "all")
        for heads in ("mean", "largest")
    }
    vision = near.table().where(modality="vision")
    columns = {n: vision[n].reshape(-1, DEPTH).mean(axis=0) for n in ("distance", "distance_from_entry", "within_0.05")}
    effects = {f"effect, {tokens}": removed.effects(tokens=tokens).mean(axis=0) for tokens in ("answer", "all")}
    Table({"layer": np.arange(DEPTH), **columns, **readings, **effects}).save(out / f"{name}-layers.csv")
    decisions = {
        rule: vlm.decide(near, seen, groups=groups, removal=removed if "condition" in options else None, **options)
        for rule, options in RULES.items()
    }
    plans = {rule: decision.plan for rule, decision in decisions.items()}
    plans |= {f"regimes, {rule}": vlm.regimes(decision).plan for rule, decision in decisions.items()}
    asked = tiny.questions(split="test", limit=limit, kinds=tiny.IMAGE_KINDS)
    prompts = Prompts(model, processor, asked)
    scenes = [q.image_id for q in asked]
    tokens = int((prompts.batches[0]["attention_mask"].sum(dim=1).float()).mean()) - 36
    answers: dict[str, np.ndarray] = {}

    def row(plan: SkipPlan) -> dict[str, Any]:
        for text in ("none", str(plan)):
            if text not in answers:
                logs = prompts.log_probabilities(SkipPlan.parse(text))
                answers[text] = logs.argmax(axis=1) == prompts.answers
        right, full = answers[str(plan)], answers["none"]
        accuracy, change = score_accuracy(right, scenes), paired_difference(right, full, scenes)
        values = {"plan": str(plan), "accuracy": accuracy.value, "low": accuracy.low, "high": accuracy.high}
        values |= {"change": change.value, "change_low": change.low, "change_high": change.high}
        return values | {"operations": vlm.operations_ratio(model, plan, vision=36, text=tokens)}

    Table.from_rows([{"rule": rule, **row(plan)} for rule, plan in {"none": SkipPlan(), **plans}.items()]).save(
        out / f"{name}-licences.csv"
    )
    if not sweep:
        return
    rows = []
    paper, safe = (list(decisions[rule].layers.rows()) for rule in list(RULES)[::3])
    for kind, layers in (("late entry", range(1, DEPTH + 1)), ("early exit", range(DEPTH))):
        for layer in layers:
            late = kind == "late entry"
            plan = (SkipPlan.late_entry(layer) if late else SkipPlan.early_exit(layer)).resolved(DEPTH)
            bypassed = range(layer) if late else range(layer, DEPTH)

            def met(rows_of: list[dict[str, Any]], bypassed: range = bypassed, late: bool = late) -> bool:
                small = all(rows_of[i]["attention_small"] == "holds" for i in bypassed)
                return small and (not late or all(rows_of[i]["redundant"] == "holds" for i in bypassed))

            at = paper[layer - 1] if late else paper[layer]
            seen_here = max(paper[i]["ratio"] for i in bypassed)
            safe_here = max(safe[i]["ratio"] for i in bypassed)
            rows.append(
                {"kind": kind, "layer": layer}
                | {"distance": at["distance"], "from entry": at["distance_from_entry"], "within 0.05": at["close"]}
                | {"ratio, answer token": seen_here, "ratio, all tokens": safe_here}
                | {"met, paper": met(paper), "met, safe": met(safe)}
                | row(plan)
            )
    Table.from_rows(rows).save(out / f"{name}-sweep.csv")


def draw(out: Path) -> None:
    """Per model: attention by reading along depth, and accuracy of every entry and exit."""
    from matplotlib.figure import Figure

    names = [name for name in MODELS if (out / f"{name}-sweep.csv").exists()]
    figure = Figure(figsize=(4.0 * len(names), 6.2), layout="constrained")
    axes = figure.subplots(2, len(names), squeeze=False, sharey="row")
    for column, name in enumerate(names):
        layers, sweep = read_csv(out / f"{name}-layers.csv"), read_csv(out / f"{name}-sweep.csv")
        above, below = axes[:, column]
        for reading, style in (("answer, mean", "o-"), ("all, mean", "s--"), ("all, largest", "^:")):
            label = {"answer, mean": "answer token, mean over heads", "all, mean": "all text tokens, mean over heads"}
            values = np.array(layers[reading], dtype=float)
            above.plot(range(DEPTH), values, style, ms=4, label=label.get(reading, "all text tokens, largest head"))
        above.plot(range(DEPTH), np.array(layers["distance"], dtype=float), "x-", color="0.5", ms=4, label="distance")
        above.axhline(0.1, ls=":", lw=0.8, color="k")
        above.set(title=name, ylim=(-0.02, 1.02), xlabel="decoder layer")
        for kind, style in (("late entry", "o-"), ("early exit", "s-")):
            chosen = [i for i, k in enumerate(sweep["kind"]) if k == kind]
            x, y, low, high = (
                np.array([float(sweep[c][i]) for i in chosen]) for c in ("layer", "accuracy", "low", "high")
            )
            below.errorbar(x, y, yerr=np.maximum([y - low, high - y], 0), fmt=style, ms=4, lw=1, label=kind)
        below.set(ylim=(0, 1.02), xlabel="entry or exit layer")
    axes[0, 0].set_ylabel("share of attention on the image")
    axes[1, 0].set_ylabel("accuracy on held-out questions")
    axes[0, 0].legend(fontsize=7)
    axes[1, 0].legend(fontsize=7)
    figure.savefig(out / "licences.png", dpi=110)


if __name__ == "__main__":
    main()
