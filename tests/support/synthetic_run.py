"""A merged run that was never run: records, times and measurements of known effects, with hostile text in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from vlm.experiments.spec import DataChoice, Spec
from vlm.plans.plan import SkipPlan
from vlm.record_log import line
from vlm.table import Table

DEPTH = 32
HOSTILE = "<img src=x onerror=alert(1)> & 50% of $x_1$ | \\input{/etc/passwd} `rm` \"q\" 'q' ~^#{}"
SETS = {"gqa": ("General VQA", 3), "textvqa": ("Text/Doc VQA", 1), "own & odd_set": ("", 2)}
PLANS = (SkipPlan(), *(SkipPlan.late_entry(k) for k in (4, 8)), *(SkipPlan.early_exit(k) for k in (20, 28)))
# Chance of a right answer: late entry at 8 breaks textvqa, the rest is harmless.
RIGHT = {"none": 0.8, "vision:0-4": 0.8, "vision:0-8": 0.75, "vision:20-": 0.79, "vision:28-": 0.8}


def spec() -> Spec:
    data = tuple(DataChoice(name, limit=100) for name in SETS)
    return Spec(model="tiny", data=data, plans=tuple(str(plan) for plan in PLANS))


def records(images: int = 60, seed: int = 0) -> list[dict[str, Any]]:
    """In the order of the spec; every question has a difficulty of its own, so plans are paired."""
    rng = np.random.default_rng(seed)
    out = []
    for dataset, (group, questions) in SETS.items():
        for image in range(images):
            for question in range(questions):
                difficulty = rng.random()
                out += [_record(dataset, group, image, question, difficulty, plan) for plan in PLANS]
    return out


def _record(dataset: str, group: str, image: int, question: int, difficulty: float, plan: SkipPlan) -> dict[str, Any]:
    chance = 0.2 if dataset == "textvqa" and str(plan) == "vision:0-8" else RIGHT[str(plan)]
    failed = dataset == "gqa" and image == 0 and str(plan) == "vision:0-4"
    unparsed = dataset == "textvqa" and image < 5 and bool(plan)
    right = difficulty < chance and not unparsed
    unjudged = dataset == "own & odd_set" and image == 1 and str(plan) == "vision:20-"
    judge = {"status": "failed", "source": "chat", "raw": "", "reason": HOSTILE, "score": None} if unjudged else None
    vision = len(range(DEPTH)) - len(plan.layers("vision", DEPTH))
    return {
        "dataset": dataset,
        "item": f"{image}-{question}",
        "image_id": f"image {image}",
        "group": group,
        "plan": str(plan),
        "plan_digest": plan.digest,
        "protocol": "skip-it",
        "prediction": None if failed else HOSTILE,
        "letter_probabilities": None,
        "parsed": None if failed or unparsed else "b",
        "score": None if failed or unjudged else float(right),
        "failure": HOSTILE if failed else None,
        "judge": judge,
        "tokens": None if failed else {"vision": 576, "text": 40, "new": 3},
        "operations": None if failed else {"plan": 10.0 * DEPTH + 90.0 * vision, "full": 100.0 * DEPTH},
        "model": f"owner/model_7b {HOSTILE}",
        "versions": {"torch": "2"},
        "seed": 0,
    }


def times(answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A call of four took four times an item's seconds; skipping saves half of prefill."""
    names = ("dataset", "item", "plan", "plan_digest")
    run = {"seconds_decode": 0.8, "batch": 4, "shard": "1-of-1", "attempt": 1}
    return [
        {**{n: r[n] for n in names}, "run": {**run, "seconds_prefill": 4.0 if r["plan"] == "none" else 2.0}}
        for r in answers
    ]


def measured() -> tuple[Table, Table]:
    """Close in layers 0-5 of every set; little attention to the image in layers 0-3 and from 20 on."""
    layer = np.arange(DEPTH)
    near, far, seen = [], [], []
    groups = [("all", group) for group, _ in SETS.values()] + [("all", "all")]
    for dataset, group in [(name, group) for name, (group, _) in SETS.items()] + groups:
        for i in layer.tolist():
            place = {"group": group, "dataset": dataset, "layer": i}
            distance, within = (0.02, 0.97) if i < 6 else (0.07, 0.4)
            row = {"distance": distance, "distance_low": distance - 0.01, "distance_high": distance + 0.01}
            row |= {"distance_from_entry": 0.02 * (i + 1), "within_0.05": within}
            row |= {"within_0.05_low": within - 0.02, "within_0.05_high": within + 0.02}
            near.append({**place, "modality": "vision", "images": 60, **row})
            far.append({**place, "modality": "text", "images": 60, **row, "distance": 2 * distance})
            ratio = 0.04 if i < 4 or i >= 20 else 0.3
            row = {"ratio": ratio, "ratio_low": ratio - 0.02, "ratio_high": ratio + 0.02, "largest": ratio + 0.05}
            seen.append({**place, "images": 60, **row})
    return Table.from_rows(near + far), Table.from_rows(seen)


def write_run(folder: Path) -> tuple[Path, Path]:
    """The run's directory and the measurement's."""
    answers, run, measurement = records(), folder / "run", folder / "measure"
    (run / "merged").mkdir(parents=True)
    (run / "spec.json").write_text(json.dumps({"content": spec().content(), "versions": {"torch": "2"}}))
    (run / "merged" / "records.jsonl").write_text("".join(map(line, answers)))
    (run / "merged" / "times.jsonl").write_text("".join(map(line, times(answers))))
    for name, table in zip(("redundancy", "attention"), measured(), strict=True):
        table.save(measurement / f"{name}.csv")
    return run, measurement
