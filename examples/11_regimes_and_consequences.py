"""Regimes and consequences
========================

Remove, freeze or keep: sort layers into regimes, and follow the error of a plan to the answer.
"""

import argparse
from pathlib import Path

import torch

import vlm
from vlm import SkipPlan, consequences, plot_consequences, plot_regimes, regimes, removal, tiny
from vlm.demo.loop import measure_questions
from vlm.evaluation.plan_accuracy import PlanAccuracy
from vlm.reports.plots import require_matplotlib


def one_per_scene(number):
    kinds = len(tiny.IMAGE_KINDS)
    questions = tiny.questions(split="validation", limit=number * kinds, kinds=tiny.IMAGE_KINDS)
    return [questions[scene * kinds + scene % kinds] for scene in range(number)]


def batches(processor, questions, size=40):
    for start in range(0, len(questions), size):
        part = questions[start : start + size]
        shown, prompts = [q.image for q in part], [q.prompt for q in part]
        yield dict(processor(images=shown, text=prompts, return_tensors="pt", padding=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("figures"))
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--questions", type=int, default=200, help="to measure on, and to validate on")
    parser.add_argument("--followed", type=int, default=10, help="of these, how many to follow to the answer")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    plt = require_matplotlib()
    model, processor = vlm.load(given.model)

    # One question per scene to measure on, since scenes are what is independent.
    seen = one_per_scene(given.questions)
    record, attention = measure_questions(model, processor, seen, batch_size=60, bar=lambda items, name: items)
    images = [q.image_id for q in seen]
    decision = vlm.decide(record, attention, groups=images)
    result = regimes(decision)
    print("\n".join(result.reasons()))
    print(f"\n{result}")
    print(result.runs.text())
    # Distances of adjacent layers may add up along a run; those from state 0 are what a run from layer 0 really makes.
    strict = regimes(vlm.decide(record, attention, groups=images, accumulated=True))
    print(f"by accumulated distances: {strict}")
    print(f"{strict.runs.text()}\n")

    judge = PlanAccuracy(model, processor, tiny.questions(limit=given.questions, kinds=tiny.IMAGE_KINDS), 60)
    # What redundancy alone would have suggested: removing where the regime says freeze.
    removed = SkipPlan(vision=result.plan.vision + result.plan.frozen)
    plans = {"no skip": SkipPlan(), "conditions": decision.plan, "regimes": result.plan, "removed instead": removed}
    print(vlm.Table.from_rows([judge.row(plan, name, 0) for name, plan in plans.items()]).text())

    # What the answer would lose with the image in one layer, beside the theorem: no Lipschitz constant is needed here.
    followed = seen[: given.followed]
    with torch.inference_mode(), removal(model) as lost:
        for batch in batches(processor, followed):
            model(**batch, logits_to_keep=1)
    table = lost.table()
    print("\nchange of the last token's attention output without the image keys, and its bound")
    for layer in range(record.depth):
        rows = table.where(layer=layer)
        print(
            f"layer {layer}: ratio {rows['ratio'].mean():.2f}, change {rows['change'].mean():.2f}, bound "
            f"{rows['bound'].mean():.2f}, largest change / bound {(rows['change'] / rows['bound']).max():.2f}"
        )
    followed_runs = consequences(model, batches(processor, followed), groups=[q.image_id for q in followed])
    table = followed_runs.table()
    print(f"\n{followed_runs}: the recursions are diagnostics, not certificates")
    print(table.text())

    figure, axes = plt.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
    plot_regimes(axes[0], result)
    for ax, kind in zip(axes[1:], ("early exit", "freeze"), strict=True):
        plot_consequences(ax, table, kind=kind)
    figure.savefig(given.out / "regimes.png", dpi=110)
    print(f"figure: {given.out / 'regimes.png'}")


if __name__ == "__main__":
    main()
