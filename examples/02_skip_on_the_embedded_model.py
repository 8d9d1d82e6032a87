"""Skip on the embedded model
==========================

Measure the embedded model, let the conditions choose a plan, skip, and see what it costs in accuracy.
"""

import argparse
from pathlib import Path

import torch

import vlm
from vlm import paired_difference, plot_attention, plot_redundancy, score_accuracy, tiny
from vlm.reports.plots import require_matplotlib


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("figures"))
    parser.add_argument("--questions", type=int, default=300)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)

    model, processor = vlm.load("tiny")
    seen = tiny.questions(split="validation", limit=given.questions, kinds=tiny.IMAGE_KINDS)
    batch = processor(images=[q.image for q in seen], text=[q.prompt for q in seen], return_tensors="pt", padding=True)
    with torch.inference_mode(), vlm.probe(model) as record, vlm.attention(model) as attention:
        model(**batch, logits_to_keep=1)
    decision = vlm.decide(record, attention, groups=[q.image_id for q in seen])
    print("\n".join(decision.reasons()))
    print(f"plan: {decision.plan}")

    asked = tiny.questions(split="test", limit=given.questions, kinds=tiny.IMAGE_KINDS)
    images = [q.image_id for q in asked]
    full = tiny.correct(model, processor, asked)
    print(f"no skip: {score_accuracy(full, images)}")
    for plan in (decision.plan, vlm.SkipPlan.early_exit(record.depth - 3), vlm.SkipPlan.late_entry(1)):
        with vlm.skipping(model, plan):
            right = tiny.correct(model, processor, asked)
        cost = vlm.operations_ratio(model, plan, vision=36, text=16)
        accuracy, change = score_accuracy(right, images), paired_difference(right, full, images)
        print(f"{plan!s:>16}: {accuracy}, change {change}, operations {cost:.0%}")

    plt = require_matplotlib()
    figure, axes = plt.subplots(1, 2, figsize=(11, 3.8), layout="constrained")
    plot_redundancy(axes[0], record)
    plot_attention(axes[1], attention, limit=decision.settings["attention_limit"])
    figure.savefig(given.out / "02_skip_on_the_embedded_model.png", dpi=140)


if __name__ == "__main__":
    main()
