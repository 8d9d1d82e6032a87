"""Which predictor orders plans as their loss does: all windows of removing and freezing, and random mixed plans.

    python tests/benchmarks/predictors.py --model tiny --out runs/predictors
    python tests/benchmarks/predictors.py --table --out runs/predictors

The first runs every plan on held-out questions (`MODEL-answers.npz`, continued after an interruption) and measures the
predictors on other images without labels (`MODEL-predictors.csv`). The second joins all models that are there:
`predictors.csv` with rank correlations, `plans.csv` with every plan, and `predictors.png`.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from scipy.stats import kendalltau, spearmanr

import vlm
from redundancy.array_types import FloatArray
from vlm import SkipPlan, Table, selectors, tiny
from vlm.engine.hooks import attached
from vlm.engine.last_token import last_logits
from vlm.evaluation.plan_accuracy import prompt_batch
from vlm.plans.plan import LayerPlan

MODELS = ("tiny", "tiny-scaled", "tiny-priced", "tiny-late")
DEPTH = 10
MIXED = 150
FEW = (8, 16)
RESAMPLES = 100


def windows() -> list[SkipPlan]:
    """All 110 windows of removing and of freezing."""
    pairs = [(a, b) for a in range(DEPTH) for b in range(a + 1, DEPTH + 1)]
    return [SkipPlan.skip("vision", a, b) for a, b in pairs] + [SkipPlan.freeze(a, b) for a, b in pairs]


def mixed_plans(number: int = MIXED, seed: int = 0) -> list[SkipPlan]:
    """Random plans: 1 to 6 layers, each of which removes, freezes, or drops attention or feed-forward."""
    rng = np.random.default_rng(seed)
    makers: tuple[Callable[[int], SkipPlan], ...] = (
        lambda layer: SkipPlan.skip("vision", layer, layer + 1),
        lambda layer: SkipPlan.freeze(layer, layer + 1),
        lambda layer: SkipPlan.drop_attention([layer]),
        lambda layer: SkipPlan.drop_mlp([layer]),
    )
    plans: list[SkipPlan] = []
    while len(plans) < number:
        plan = SkipPlan()
        for layer in rng.choice(DEPTH, size=int(rng.integers(1, 7)), replace=False):
            plan |= makers[rng.choice(4, p=(0.4, 0.4, 0.1, 0.1))](int(layer))
        if plan not in plans:
            plans.append(plan)
    return plans


class Prompts:
    """Questions as batches whose images are encoded once, and whose states before a plan's first layer are kept."""

    def __init__(self, model: Any, processor: Any, questions: list[tiny.Question], size: int = 200) -> None:
        self.model, self.questions = model, questions
        self.batches, self.features, self.states = [], [], []
        for start in range(0, len(questions), size):
            batch = prompt_batch(model, processor, questions[start : start + size])
            with torch.inference_mode():
                self.features.append(model.model.get_image_features(pixel_values=batch["pixel_values"]))
            self.batches.append(batch | {"pixel_values": batch["pixel_values"][:, :, :1, :1]})
        tokens = {word: processor.tokenizer.convert_tokens_to_ids(word) for word in {q.answer for q in questions}}
        self.answers = np.array([tokens[q.answer] for q in questions])

    @torch.inference_mode()
    def log_probabilities(self, plan: SkipPlan) -> FloatArray:
        """(questions, vocabulary) of the answer under a plan, float64."""
        inner, out = self.model.model, []
        original = inner.get_image_features
        changed = [layer for layer, step in enumerate(plan.steps(DEPTH)) if step != LayerPlan()]
        first = min(changed, default=0) if self.states else 0
        try:
            with attached(self.model) as engine:
                for number, (batch, features) in enumerate(zip(self.batches, self.features, strict=True)):
                    inner.get_image_features = lambda *_, given=features, **__: SimpleNamespace(**given)
                    out.append(self._run(engine, number, batch, plan, first))
        finally:
            inner.get_image_features = original
        return np.concatenate(out)

    def _run(self, engine: Any, number: int, batch: Mapping[str, torch.Tensor], plan: SkipPlan, first: int) -> Any:
        """One batch; layers before the plan's first are left out, and the full run's state takes their place."""
        if len(self.states) <= number:
            states: list[torch.Tensor] = []
            with engine.watch_layers(lambda call, layer, before, after: states.append(before), lambda call: None):
                last_logits(self.model, batch)
            self.states.append(states)

        def put(call: Any, index: int, state: torch.Tensor) -> torch.Tensor:
            return self.states[number][index] if index == first else state

        shorter = plan | SkipPlan.drop(range(first))
        with engine.rewrite_states(put) if first else nullcontext(), vlm.skipping(self.model, shorter):
            return last_logits(self.model, batch).log_softmax(dim=1).numpy()


def answer_plans(name: str, out: Path, limit: int) -> None:
    """Per plan and question: whether the answer is right, and the divergence from the full model; resumes."""
    path = out / f"{name}-answers.npz"
    asked = tiny.questions(split="test", limit=limit, kinds=tiny.IMAGE_KINDS)
    plans = [SkipPlan(), *windows(), *mixed_plans()]
    done = dict(np.load(path)) if path.exists() else {}
    if len(done.get("right", ())) == len(plans):
        return
    prompts = Prompts(*vlm.load(name), asked)
    full = prompts.log_probabilities(SkipPlan())
    right, divergence = list(done.get("right", ())), list(done.get("divergence", ()))
    for number in range(len(right), len(plans)):
        logs = full if number == 0 else prompts.log_probabilities(plans[number])
        right.append(logs.argmax(axis=1) == prompts.answers)
        divergence.append((np.exp(full) * (full - logs)).sum(axis=1).astype(np.float32))
        if number % 20 == 0 or number + 1 == len(plans):
            partial = path.with_suffix(".tmp.npz")
            groups = np.array([q.image_id for q in asked])
            np.savez_compressed(partial, right=np.array(right), divergence=np.array(divergence), groups=groups)
            os.replace(partial, path)


def pair_distances(model: Any, batch: Mapping[str, torch.Tensor]) -> FloatArray:
    """Mean cosine distance of image tokens between every two states, (L + 1, L + 1)."""
    states: list[torch.Tensor] = []

    def keep(call: Any, layer: int, before: torch.Tensor, after: torch.Tensor) -> None:
        states.extend([before[call.vision], after[call.vision]] if layer == 0 else [after[call.vision]])

    with torch.inference_mode(), attached(model) as engine, engine.watch_layers(keep, lambda call: None):
        model(**batch)
    unit = torch.nn.functional.normalize(torch.stack(states).double(), dim=-1)
    return (1 - torch.einsum("lnd,mnd->lmn", unit, unit)).mean(dim=-1).clamp(min=0).numpy()


def runs(layers: list[int]) -> list[tuple[int, int]]:
    """Maximal runs of consecutive layers, half-open, of a rising list."""
    out: list[tuple[int, int]] = []
    for layer in layers:
        if out and out[-1][1] == layer:
            out[-1] = (out[-1][0], layer + 1)
        else:
            out.append((layer, layer + 1))
    return out


def layer_scores(model: Any, batch: Mapping[str, torch.Tensor]) -> dict[str, FloatArray]:
    """Per-layer scores of the notions and of the named selectors, from unlabelled prompts; large means harmful."""
    with torch.inference_mode(), selectors.observing(model) as seen, vlm.removal(model) as removed:
        model(**batch)
    with torch.inference_mode():
        frozen, left = (
            selectors.prediction_divergence(model, [batch], plans(DEPTH))
            for plans in (selectors.contribution_plans, selectors.withdrawal_plans)
        )
    return {
        "attention ratio, answer token": seen.attention.reading(tokens="answer", heads="mean").mean(axis=0),
        "attention ratio, all tokens": seen.attention.reading().mean(axis=0),
        "cosine distance, adjacent": selectors.redundancy(seen.probe, t=None).layer_scores.mean(axis=0),
        "removal effect, text": removed.effects().mean(axis=0),
        "ShortGPT (block influence)": selectors.block_influence(seen.similarity).layer_scores.mean(axis=0),
        "gamma-MoD (attention rank)": selectors.attention_map_rank(seen.ranks).layer_scores.mean(axis=0),
        "AdaSkip": selectors.adaskip(seen.similarity).layer_scores.mean(axis=0),
        "LLM-Drop (attention)": selectors.sublayer_similarity(seen.similarity).layer_scores.mean(axis=0),
        "angular distance": selectors.angular_distance(seen.similarity).layer_scores.mean(axis=0),
        "ShortV (layer contribution)": selectors.layer_contribution(frozen).layer_scores.mean(axis=0),
        "VTW (withdrawal)": selectors.withdrawal(left).layer_scores.mean(axis=0),
    }


def predict(name: str, out: Path, calibration: int) -> None:
    """Every predictor of every plan, from unlabelled prompts of the validation split."""
    path = out / f"{name}-predictors.csv"
    if path.exists():
        return
    model, processor = vlm.load(name)
    asked = tiny.questions(split="validation", limit=calibration, kinds=tiny.IMAGE_KINDS)
    batch = prompt_batch(model, processor, asked)
    scores = layer_scores(model, batch)
    distances = pair_distances(model, batch)
    surrogate, measured = (vlm.damage(model, batch, method=method) for method in ("surrogate", "measured"))
    few = {number: Prompts(model, processor, asked[:number]) for number in FEW}
    full = {number: prompts.log_probabilities(SkipPlan()) for number, prompts in few.items()}
    rows = []
    for plan in [*windows(), *mixed_plans()]:
        steps = plan.steps(DEPTH)
        changed = [
            layer for layer, step in enumerate(steps) if step.vision != "run" or not (step.attention and step.mlp)
        ]
        removed = [layer for layer, step in enumerate(steps) if step.vision == "skipped" or not step.attention]
        row: dict[str, Any] = {"plan": str(plan), "number of layers": len(changed)}
        for predictor, values in scores.items():
            chosen = removed if predictor.startswith(("attention ratio", "removal effect")) else changed
            row[predictor] = float(values[chosen].sum())
        row["cosine distance, accumulated"] = float(sum(distances[a, b] for a, b in runs(changed)))
        row["damage, surrogate"], row["damage, measured"] = surrogate.of(plan), measured.of(plan)
        for number, prompts in few.items():
            logs = prompts.log_probabilities(plan)
            row[f"run on {number} prompts"] = float((np.exp(full[number]) * (full[number] - logs)).sum(axis=1).mean())
        rows.append(row)
    Table.from_rows(rows).save(path)


def joined(out: Path) -> tuple[Table, Table]:
    """The table of plans and the table of rank correlations with intervals over images."""
    plans: list[dict[str, Any]] = []
    correlations: list[dict[str, Any]] = []
    count = len(windows())
    sets = {
        "removing": slice(0, count // 2),
        "freezing": slice(count // 2, count),
        "windows": slice(0, count),
        "mixed": slice(count, count + MIXED),
    }
    for name in MODELS:
        if not (out / f"{name}-answers.npz").exists() or not (out / f"{name}-predictors.csv").exists():
            continue
        data = np.load(out / f"{name}-answers.npz")
        if len(data["right"]) < 1 + count + MIXED:
            print(f"{name}: {len(data['right'])} of {1 + count + MIXED} plans so far, left out")
            continue
        table = read_csv(out / f"{name}-predictors.csv")
        images, index = np.unique(data["groups"], return_inverse=True)
        sums = np.zeros((len(images), 2, len(data["right"])))
        np.add.at(sums, index, np.stack([data["right"], data["divergence"]], axis=0).transpose(2, 0, 1))
        sizes = np.bincount(index)
        rng = np.random.default_rng(0)
        draws = [np.arange(len(images))] + [rng.integers(len(images), size=len(images)) for _ in range(RESAMPLES)]
        truths = []
        for draw in draws:
            means = sums[draw].sum(axis=0) / sizes[draw].sum()
            truths.append((means[0, 0] - means[0, 1:], means[1, 1:]))
        predictors = [column for column in table if column != "plan"]
        for part, where in sets.items():
            for predictor in predictors:
                values = np.array(table[predictor], dtype=np.float64)[where]
                row: dict[str, Any] = {"model": name, "plans": part, "predictor": predictor}
                for k, truth in enumerate(("accuracy drop", "divergence")):
                    for statistic, of in (("spearman", spearmanr), ("kendall", kendalltau)):
                        drawn = [float(of(values, truth_of[k][where]).statistic) for truth_of in truths]
                        low, high = np.quantile(drawn[1:], (0.025, 0.975))
                        row |= {f"{truth} {statistic}": drawn[0], f"{truth} {statistic} low": low}
                        row[f"{truth} {statistic} high"] = high
                correlations.append(row)
        for number, plan in enumerate(table["plan"]):
            part = "mixed" if number >= count else "removing" if number < count // 2 else "freezing"
            row = {"model": name, "plans": part, "plan": plan, "accuracy drop": truths[0][0][number]}
            row |= {"divergence": truths[0][1][number]}
            plans.append(row | {predictor: float(table[predictor][number]) for predictor in predictors})
    return Table.from_rows(plans), Table.from_rows(correlations)


def read_csv(path: Path) -> dict[str, list[str]]:
    """Columns of a CSV file by name."""
    import csv

    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: [row[name] for row in rows] for name in rows[0]}


def draw(correlations: Table, path: Path) -> None:
    """Spearman correlation with the accuracy drop, one panel per set of plans, one colour per model."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5.5), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    names = list(dict.fromkeys(correlations["predictor"].tolist()))
    for ax, part in zip(axes, ("windows", "mixed"), strict=True):
        for k, model in enumerate(dict.fromkeys(correlations["model"].tolist())):
            rows = {row["predictor"]: row for row in correlations.where(model=model, plans=part).rows()}
            chosen = [rows[name] for name in names]
            value, low, high = (
                np.array([row[f"accuracy drop spearman{end}"] for row in chosen]) for end in ("", " low", " high")
            )
            y = np.arange(len(names)) + 0.18 * (k - 1.5)
            spread = np.maximum([value - low, high - value], 0)
            ax.errorbar(value, y, xerr=spread, fmt="o", ms=4, lw=1, label=model)
        ax.axvline(0.9, ls=":", color="k", lw=0.8)
        ax.axvline(0, color="k", lw=0.6)
        ax.set(title=part, xlabel="Spearman correlation with the loss of accuracy", xlim=(-0.6, 1.02))
        ax.set_yticks(range(len(names)), names)
        ax.grid(axis="y", lw=0.3)
    axes[0].invert_yaxis()
    axes[0].legend(fontsize=8, loc="lower left")
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=1000, help="held-out questions per plan")
    parser.add_argument("--calibration", type=int, default=100, help="unlabelled prompts of the predictors")
    parser.add_argument("--table", action="store_true", help="join the models that are there")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if given.model:
        predict(given.model, given.out, given.calibration)
        answer_plans(given.model, given.out, given.limit)
    if given.table:
        plans, correlations = joined(given.out)
        plans.save(given.out / "plans.csv")
        correlations.save(given.out / "predictors.csv")
        draw(correlations, given.out / "predictors.png")
        print(correlations.text())


if __name__ == "__main__":
    main()
