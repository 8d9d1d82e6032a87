"""Which predictor orders plans as their loss does: all windows of removing and freezing, and random mixed plans.

    python tests/benchmarks/predictors.py --model tiny --out runs/predictors
    python tests/benchmarks/predictors.py --table --out runs/predictors

The first runs every plan on held-out questions (`MODEL-answers.npz`, continued after an interruption) and measures the
predictors on other images (`MODEL-predictors.csv`). The second joins all models that are there: `predictors.csv` with
rank correlations, `plans.csv` with every plan, `together.csv` with layers that stand in for each other, `predictors.md`
with the page's tables, and `predictors.png`. Sets of plans that are not finished are left out.
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
from scipy.stats import rankdata

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
PROFILED = 500  # prompts of the notions, which fit maps, codes and readers
RESAMPLES = 200
CEILING = "divergence of the questions themselves"


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
        "LLM-Drop (feed-forward)": selectors.sublayer_similarity(seen.similarity, "mlp").layer_scores.mean(axis=0),
        "angular distance": selectors.angular_distance(seen.similarity).layer_scores.mean(axis=0),
        "ShortV (layer contribution)": selectors.layer_contribution(frozen).layer_scores.mean(axis=0),
        "VTW (withdrawal)": selectors.withdrawal(left).layer_scores.mean(axis=0),
    }


# Rows of `vlm.profile` that become predictors: name, view, notion, method, and whether a large value says "redundant".
NOTIONS = (
    ("P(d > 0.05), image tokens", "vision", "proximal", "within 0.05", True),
    ("cosine distance, text tokens", "text", "geometric", "cosine distance", False),
    ("reconstruction error, image tokens", "vision", "next state", "ridge: later from earlier", False),
    ("reconstruction error back, image tokens", "vision", "next state", "ridge: earlier from later", False),
    ("reconstruction error, text tokens", "text", "next state", "ridge: later from earlier", False),
    ("1 - CKA, image tokens", "vision", "similarity", "linear CKA", True),
    ("1 - CKA, text tokens", "text", "similarity", "linear CKA", True),
    ("Gaussian information, image tokens", "vision", "mutual information", "Gaussian", True),
    ("H(X|Y), mean image token", "vision-mean", "informational", "plug-in", False),
    ("H(X|Y), answer token", "last", "informational", "plug-in", False),
    ("functional gap (log-loss), mean image token", "vision-mean", "functional", "ridge: log-loss", False),
    ("functional gap (log-loss), answer token", "last", "functional", "ridge: log-loss", False),
    ("PID, unique to the earlier, mean image token", "vision-mean", "pid", "BROJA: unique to the earlier", False),
    ("PID, unique to the later, answer token", "last", "pid", "BROJA: unique to the later", False),
)


def notion_scores(model: Any, processor: Any) -> dict[str, FloatArray]:
    """Per-layer scores of the notions from one `vlm.profile`; large means harmful.

    Functional gaps and PID read the answers; nothing else does. A value that says "redundant" counts as its distance
    from the layers' largest, a gap by its size, and a layer where a notion is absent as its worst layer.
    """
    items = list(vlm.datasets.read("tiny", split="validation", limit=PROFILED))
    profile = vlm.profile(
        model,
        processor,
        items,
        notions=("usable information", *dict.fromkeys(notion for _, _, notion, _, _ in NOTIONS)),
        readers="linear",
        predictors="ridge",
        replicates=2,
        batch_size=50,
        progress=False,
    )
    scores: dict[str, FloatArray] = {}
    for name, view, notion, method, redundant in NOTIONS:
        values = np.full(DEPTH, np.nan)
        for row in profile.rows(view=view, notion=notion, method=method).rows():
            values[row["layer"]] = abs(row["value"])
        if np.isnan(values).all():
            continue
        values = np.nanmax(values) - values if redundant else values
        scores[name] = np.where(np.isnan(values), np.nanmax(values), values)
    usable = np.full(DEPTH + 1, np.nan)
    for row in profile.rows(view="last", notion="usable information", method="linear").rows():
        usable[row["layer"]] = row["value"]
    if np.isfinite(usable).all():
        scores["usable information gained, answer token"] = np.maximum(np.diff(usable), 0)
    return scores


def predict(name: str, out: Path, calibration: int) -> None:
    """Every predictor of every plan, from prompts of the validation split, whose labels only some notions read."""
    path = out / f"{name}-predictors.csv"
    if path.exists():
        return
    model, processor = vlm.load(name)
    asked = tiny.questions(split="validation", limit=calibration, kinds=tiny.IMAGE_KINDS)
    batch = prompt_batch(model, processor, asked)
    scores = layer_scores(model, batch) | notion_scores(model, processor)
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
        done = len(data["right"]) - 1
        finished = {part: where for part, where in sets.items() if where.stop <= done}
        if len(finished) < len(sets):
            print(f"{name}: {done} of {count + MIXED} plans so far; left out: {', '.join(set(sets) - set(finished))}")
        table = read_csv(out / f"{name}-predictors.csv")
        images, index = np.unique(data["groups"], return_inverse=True)
        sums = np.zeros((len(images), 2, done + 1))
        np.add.at(sums, index, np.stack([data["right"], data["divergence"]], axis=0).transpose(2, 0, 1))
        sizes = np.bincount(index)
        rng = np.random.default_rng(0)
        draws = [np.arange(len(images))] + [rng.integers(len(images), size=len(images)) for _ in range(RESAMPLES)]
        truths = []
        for draw in draws:
            means = sums[draw].sum(axis=0) / sizes[draw].sum()
            truths.append((means[0, 0] - means[0, 1:], means[1, 1:]))
        values = {n: np.array(column, dtype=np.float64)[:done] for n, column in table.items() if n != "plan"}
        values[CEILING] = truths[0][1]
        predicted = np.array(list(values.values()))
        for part, where in finished.items():
            found = {
                f"{truth} {name}": of(predicted[:, where], np.array([drawn[k][where] for drawn in truths]))
                for k, truth in enumerate(("accuracy drop", "divergence"))
                for name, of in (("spearman", spearman), ("kendall", kendall))
            }
            for number, predictor in enumerate(values):
                row: dict[str, Any] = {"model": name, "questions": len(data["groups"]), "images": len(images)}
                row |= {"plans": part, "predictor": predictor}
                for column, correlations_of in found.items():
                    value, *drawn = correlations_of[number]
                    low, high = np.quantile(drawn, (0.025, 0.975))
                    row |= {column: value, f"{column} low": low, f"{column} high": high}
                correlations.append(row)
        for number, plan in enumerate(table["plan"][:done]):
            part = "mixed" if number >= count else "removing" if number < count // 2 else "freezing"
            row = {"model": name, "plans": part, "plan": plan, "accuracy drop": truths[0][0][number]}
            row |= {"divergence": truths[0][1][number]}
            plans.append(row | {n: float(column[number]) for n, column in values.items() if n != CEILING})
    if not correlations:
        raise SystemExit(f"{out}: expected a finished set of plans of some model; run with --model first")
    return Table.from_rows(plans), Table.from_rows(correlations)


def spearman(predicted: FloatArray, truths: FloatArray) -> FloatArray:
    """Rank correlations (predictors, draws) of predictors (predictors, plans) and truths (draws, plans).

    NaN where either side is constant, as the loss of freezing is in three of the models.
    """
    ranks = (rankdata(values, axis=1) for values in (predicted, truths))
    return cosines(*(rank - rank.mean(axis=1, keepdims=True) for rank in ranks))


def kendall(predicted: FloatArray, truths: FloatArray) -> FloatArray:
    """Kendall's tau-b (predictors, draws), as :func:`spearman`."""
    first, second = np.triu_indices(predicted.shape[1], 1)
    return cosines(*(np.sign(v[:, first] - v[:, second]) for v in (predicted, truths)))


def cosines(x: FloatArray, y: FloatArray) -> FloatArray:
    """Cosines of all pairs of rows; NaN for a row of zeros."""
    sizes = np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(y, axis=1)
    return np.divide(x @ y.T, sizes, out=np.full(sizes.shape, np.nan), where=sizes > 0)


def together(plans: Table) -> Table:
    """Per model, the two or three layers whose removal loses most beyond what their layers lose one by one.

    Beside the losses: what one pass predicts from single layers, and what a run of the plan on 16 prompts shows.
    """
    rows = []
    for model in dict.fromkeys(plans["model"].tolist()):
        by_plan = {row["plan"]: row for row in plans.where(model=model, plans="removing").rows()}
        excess = []
        for text, row in by_plan.items():
            layers = sorted(SkipPlan.parse(text).layers("vision", DEPTH))
            if not 2 <= len(layers) <= 3:
                continue
            single = sum(max(by_plan[f"vision:{layer}-{layer + 1}"]["accuracy drop"], 0) for layer in layers)
            excess.append((row["accuracy drop"] - single, single, text, row))
        for _, single, text, row in sorted(excess, key=lambda e: -e[0])[:3]:
            names = ("accuracy drop", "damage, surrogate", "damage, measured", f"run on {FEW[-1]} prompts")
            rows.append({"model": model, "plan": text, "one by one": single} | {name: row[name] for name in names})
            others = [r for r in by_plan.values() if r["damage, measured"] >= row["damage, measured"] and r is not row]
            mild = min(others, key=lambda r: r["accuracy drop"], default=None)
            rows[-1] |= {"milder, more damage": "" if mild is None else mild["plan"]}
            rows[-1] |= {"its drop": np.nan if mild is None else mild["accuracy drop"]}
    return Table.from_rows(rows)


def predictor_names(correlations: Table) -> list[str]:
    """All predictors, in the order of the model that has most; the ceiling last."""
    models = dict.fromkeys(correlations["model"].tolist())
    orders = [dict.fromkeys(correlations.where(model=model)["predictor"].tolist()) for model in models]
    names = dict.fromkeys(name for order in sorted(orders, key=len, reverse=True) for name in order)
    return [*(name for name in names if name != CEILING), CEILING]


def markdown(correlations: Table, pairs: Table) -> str:
    """The page's tables: Spearman with the drop of accuracy, Kendall and divergence, and layers that stand in."""
    models = list(dict.fromkeys(correlations["model"].tolist()))
    names = predictor_names(correlations)
    found = {(r["model"], r["plans"], r["predictor"]): r for r in correlations.rows()}
    parts = [(model, part) for model in models for part in ("windows", "mixed") if (model, part, names[0]) in found]
    lines = []

    def head(columns: list[str]) -> None:
        lines.extend(["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)])

    def number(value: float) -> str:
        return "" if np.isnan(value) else f"{value:.2f}".replace("0.", ".").replace("-0", "-")

    head(["predictor", *(f"`{model}`, {part}" for model, part in parts)])
    for name in names:
        cells = []
        for model, part in parts:
            row = found.get((model, part, name))
            value, low, high = (
                np.nan if row is None else row[f"accuracy drop spearman{e}"] for e in ("", " low", " high")
            )
            cells.append("" if np.isnan(value) else f"{number(value)} [{number(low)}, {number(high)}]")
        lines.append("| " + " | ".join([name.replace("|", "\\|"), *cells]) + " |")
    lines.append("")
    head(["predictor", *(f"`{model}`, {part}" for model, part in parts)])
    for name in names:
        cells = []
        for model, part in parts:
            row = found.get((model, part, name))
            kinds = ("accuracy drop kendall", "divergence spearman", "divergence kendall")
            numbers = [number(np.nan if row is None else row[kind]) for kind in kinds]
            cells.append(" / ".join(text or "–" for text in numbers) if any(numbers) else "")
        lines.append("| " + " | ".join([name.replace("|", "\\|"), *cells]) + " |")
    lines.append("")
    head(list(pairs.columns))
    lines.extend(
        "| " + " | ".join(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()) + " |"
        for row in pairs.rows()
    )
    return "\n".join(lines) + "\n"


def read_csv(path: Path) -> dict[str, list[str]]:
    """Columns of a CSV file by name."""
    import csv

    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: [row[name] for row in rows] for name in rows[0]}


def draw(correlations: Table, path: Path) -> None:
    """Spearman correlation with the accuracy drop, one panel per set of plans, one colour per model."""
    from matplotlib.figure import Figure

    names = predictor_names(correlations)
    figure = Figure(figsize=(11, 1.5 + 0.24 * len(names)), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for ax, part in zip(axes, ("windows", "mixed"), strict=True):
        for k, model in enumerate(MODELS):
            rows = {row["predictor"]: row for row in correlations.where(model=model, plans=part).rows()}
            if not rows:
                continue
            y = np.array([i for i, name in enumerate(names) if name in rows])
            chosen = [rows[names[i]] for i in y]
            value, low, high = (
                np.array([row[f"accuracy drop spearman{end}"] for row in chosen]) for end in ("", " low", " high")
            )
            spread = np.maximum([value - low, high - value], 0)
            ax.errorbar(value, y + 0.18 * (k - 1.5), xerr=spread, fmt="o", color=f"C{k}", ms=3.5, lw=1, label=model)
        ax.axvline(0.9, ls=":", color="k", lw=0.8)
        ax.axvline(0, color="k", lw=0.6)
        ax.set(title=part, xlabel="Spearman correlation with the loss of accuracy", xlim=(-0.1, 1.02))
        ax.set_yticks(range(len(names)), names, fontsize=8)
        ax.grid(axis="y", lw=0.3)
    axes[0].invert_yaxis()
    axes[0].legend(fontsize=8, loc="center right")
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=1000, help="held-out questions per plan")
    parser.add_argument("--calibration", type=int, default=100, help="unlabelled prompts of the predictors")
    parser.add_argument("--table", action="store_true", help="join the models that are there")
    parser.add_argument("--draw", type=Path, metavar="CSV", help="draw predictors.png from such a table alone")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if given.model:
        predict(given.model, given.out, given.calibration)
        answer_plans(given.model, given.out, given.limit)
    if given.draw:
        draw(Table.load(given.draw), given.out / "predictors.png")
    if given.table:
        plans, correlations = joined(given.out)
        plans.save(given.out / "plans.csv")
        correlations.save(given.out / "predictors.csv")
        pairs = together(plans)
        pairs.save(given.out / "together.csv")
        (given.out / "predictors.md").write_text(markdown(correlations, pairs), encoding="utf-8")
        draw(correlations, given.out / "predictors.png")
        print((given.out / "predictors.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
