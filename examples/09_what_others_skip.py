"""What other methods skip
=======================

What published training-free methods would skip in the embedded model, beside what the theory calls redundant.

One pass measures all scores; VTW and ShortV run the model under plans as well. Then every method's choice is tried at
equal cost on other images. The default is small; ``--full`` makes the tables of the how-to page "Compare with
published selectors" (minutes).

::

    python examples/09_what_others_skip.py --out figures --full
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

import vlm
from vlm import selectors, tiny
from vlm.evaluation.plan_accuracy import PlanAccuracy
from vlm.reports.plots import require_matplotlib
from vlm.selectors import published_choices
from vlm.selectors.equal_cost import Ladder, equal_cost
from vlm.selectors.rank_agreement import agreement, token_agreement

CHARACTER = {"tiny": "image tokens of usual norm", "tiny-scaled": "image tokens of large norm"}
BATCH = 50
RATIOS = (0.75, 0.5)


def batches(processor: Any, questions: list[tiny.Question]) -> list[dict[str, Any]]:
    """Keyword arguments of the model's forward, some questions at a time."""
    parts = [questions[i : i + BATCH] for i in range(0, len(questions), BATCH)]
    return [
        dict(processor(images=[q.image for q in p], text=[q.prompt for q in p], return_tensors="pt", padding=True))
        for p in parts
    ]


def observed(model: Any, inputs: list[dict[str, Any]]) -> selectors.Observations:
    """One pass over the prompts."""
    with torch.inference_mode(), selectors.observing(model) as seen:
        for batch in inputs:
            model(**batch, logits_to_keep=1)
    return seen


def rankings(model: Any, inputs: list[dict[str, Any]], seen: selectors.Observations) -> list[selectors.Ranking]:
    """Every method that ranks layers or sub-layers."""
    depth = seen.probe.depth
    withdrawn = selectors.prediction_divergence(model, inputs, selectors.withdrawal_plans(depth))
    frozen = selectors.prediction_divergence(model, inputs, selectors.contribution_plans(depth))
    return [
        selectors.layer_contribution(frozen),
        selectors.withdrawal(withdrawn),
        selectors.block_influence(seen.similarity),
        selectors.angular_distance(seen.similarity),
        selectors.sublayer_similarity(seen.similarity, "attention"),
        selectors.sublayer_similarity(seen.similarity, "mlp"),
        selectors.adaskip(seen.similarity),
        selectors.attention_map_rank(seen.ranks),
        selectors.late_insertion(depth),
        selectors.random_order(depth, rng=0),
    ]


def token_rows(seen: selectors.Observations, images: list[str]) -> list[dict[str, Any]]:
    """Methods that remove image tokens: do they remove those that move least afterwards?"""
    distances = seen.tokens.distances()
    stage = selectors.sparse_stages(seen.probe.depth)[0]
    scores = {
        "FastV": (2, seen.tokens.last_token(1)),
        "SparseVLM": (stage + 1, seen.tokens.text_raters(stage)),
        "PruMerge": (0, list(seen.encoder.scores())),
    }
    rows = []
    for method, (start, values) in scores.items():
        ranks = token_agreement(values, [d[start:].mean(axis=0) for d in distances], images)
        rows.append({"method": method, **{name: str(value) for name, value in ranks.items()}})
    return rows


def ladders(judge: PlanAccuracy, theory: list[selectors.Ranking], others: list[selectors.Ranking]) -> list[Ladder]:
    """What every method would do at every budget; token methods look at each held-out prompt."""
    seen = observed(judge.model, batches(judge.processor, judge.questions))
    tokens, depth = judge.tokens[0], seen.probe.depth
    stages = selectors.sparse_stages(depth)
    rated = list(zip(*(seen.tokens.text_raters(stage) for stage in stages), strict=True))
    encoded = seen.encoder.scores()
    counts = range(tokens, -1, -1)
    return [
        *map(Ladder.of, theory),
        *map(Ladder.of, others),
        Ladder("FastV", "prune image tokens", [selectors.fastv_plan(1 - n / tokens) for n in counts]),
        Ladder(
            "SparseVLM",
            "prune image tokens in stages",
            ([selectors.sparsevlm_plan(scores, stages, n / tokens) for scores in rated] for n in counts),
        ),
        Ladder("PruMerge", "keep image tokens", ([selectors.prumerge_plan(row, n) for row in encoded] for n in counts)),
    ]


def draw(
    axes: Any, name: str, theory: selectors.Ranking, others: list[selectors.Ranking], cost: vlm.Table, full: float
) -> None:
    """Left: which layers go first, by method. Right: accuracy at equal cost."""
    shown = [theory, *others]
    places = np.array([np.argsort(ranking.order) for ranking in shown])
    axes[0].imshow(places, cmap="viridis", aspect="auto")
    for (row, layer), place in np.ndenumerate(places):
        axes[0].text(layer, row, place + 1, ha="center", va="center", size=7, color="w" if place < 6 else "k")
    axes[0].set(xticks=range(theory.depth), yticks=range(len(shown)), xlabel="decoder layer")
    axes[0].set_yticklabels([ranking.method for ranking in shown], size=8)
    axes[0].set_title(f"{name}, {CHARACTER[name]}:\nplace at which a layer goes", size=9)
    ratios = sorted(set(cost["at_most"].tolist()), reverse=True)
    names = list(cost.where(at_most=ratios[0])["method"])
    for shift, (ratio, colour) in enumerate(zip(ratios, ("#0b6e99", "#c4622d"), strict=False)):
        rows = cost.where(at_most=ratio)
        y = np.arange(len(rows)) + 0.25 * shift
        spread = np.maximum(0, [rows["accuracy"] - rows["accuracy_low"], rows["accuracy_high"] - rows["accuracy"]])
        axes[1].errorbar(
            rows["accuracy"], y, xerr=spread, fmt="o", ms=4, capsize=2, color=colour, label=f"operations <= {ratio:g}"
        )
    axes[1].axvline(full, ls=":", color="k", lw=1, label="no plan")
    axes[1].set(yticks=range(len(names)), xlabel="accuracy, 95% interval over images", xlim=(0, 1.02))
    axes[1].set_yticklabels(names, size=8)
    axes[1].invert_yaxis()
    axes[1].legend(fontsize=8, frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("figures"))
    parser.add_argument("--full", action="store_true", help="both models, 500 and 1,000 questions")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    names, measured, judged = (("tiny", "tiny-scaled"), 500, 1000) if given.full else (("tiny",), 30, 30)
    plt = require_matplotlib()
    figure, axes = plt.subplots(len(names), 2, figsize=(12, 4.6 * len(names)), layout="constrained", squeeze=False)
    for row, name in enumerate(names):
        model, processor = vlm.load(name)
        asked = tiny.questions(split="validation", limit=measured, kinds=tiny.IMAGE_KINDS)
        images = [q.image_id for q in asked]
        inputs = batches(processor, asked)
        seen = observed(model, inputs)
        theory = selectors.redundancy(seen.probe).over_images(images)
        others = [ranking.over_images(images) for ranking in rankings(model, inputs, seen)]
        close = selectors.redundancy(seen.probe, t=0.05).over_images(images)
        looked = selectors.small_attention(seen.attention).over_images(images)
        table = agreement(theory, [close, looked, *others])
        print(f"{name}: layers that {theory.method} chooses first: {' '.join(map(str, theory.order))}")
        print(f"{table.text()}\n")
        print(f"{vlm.Table.from_rows(token_rows(seen, images)).text()}\n")
        for ranking in others:
            print(f"{ranking.method}, its authors' setting: {ranking.plan()}")

        judge = PlanAccuracy(
            model, processor, tiny.questions(split="test", limit=judged, kinds=tiny.IMAGE_KINDS), BATCH
        )
        free = selectors.redundancy(seen.probe, last_free=True).over_images(images)
        removed = selectors.redundancy(seen.probe, freeze=False).over_images(images)
        cost = equal_cost(judge, ladders(judge, [theory, free, removed, looked], others), RATIOS)
        print(f"\naccuracy without a plan: {judge.full.mean():.3f}\n{cost.text()}\n")
        table.save(given.out / f"09_agreement_{name}.csv")
        cost.save(given.out / f"09_equal_cost_{name}.csv")
        draw(axes[row], name, theory, others, cost, judge.full.mean())
    print(f"{published_choices.published_regions().text()}\n\n{published_choices.published_orders().text()}")
    figure.savefig(given.out / "09_what_others_skip.png", dpi=130)
    print(f"\nfigure: {given.out / '09_what_others_skip.png'}")


if __name__ == "__main__":
    main()
