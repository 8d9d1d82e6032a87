"""Compare named methods with random choices at equal cost, on any model and questions."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from redundancy import checks
from redundancy.array_types import FloatArray
from vlm import selectors
from vlm.comparison.method_plans import Costs, PlanSet, layer_sets, look, token_sets
from vlm.comparison.outcomes import outcomes
from vlm.comparison.result import Comparison, Outcome
from vlm.evaluation.answering import Answerer, PreparedQuestion, alike, prompt_tokens
from vlm.evaluation.protocols import PROTOCOLS
from vlm.item import Failure, Item
from vlm.models.families import anatomy
from vlm.models.layer_parts import find_attention
from vlm.models.types import Model, Processor
from vlm.models.weights_fingerprint import weights_fingerprint
from vlm.planner.answered_batch import answered_batch
from vlm.planner.answered_questions import AnsweredQuestion, answered, generating
from vlm.planner.image_split import data_hash, split_images
from vlm.plans.plan import SkipPlan
from vlm.record_log import appending, read
from vlm.selectors.ranking import Ranking

Kind = Literal["layers", "tokens"]
Done = Callable[[str, int, int], None]
T = TypeVar("T")
KINDS: tuple[Kind, ...] = ("layers", "tokens")
BUDGETS = (0.85, 0.75, 0.6, 0.45, 0.35)


def compare_methods(
    model: Model,
    processor: Processor,
    items: Iterable[Item | Failure],
    *,
    out: str | Path,
    budgets: Sequence[float] = BUDGETS,
    draws: int = 20,
    layer_draws: int = 100,
    calibration_images: int | None = None,
    plans: Mapping[str, SkipPlan] | None = None,
    kinds: Sequence[Kind] = KINDS,
    protocol: str = "skip-it",
    max_new_tokens: int | None = None,
    batch_size: int = 8,
    confidence: float = 0.95,
    seed: int = 0,
    done: Done = lambda stage, number, total: None,
) -> Comparison:
    """Answer the same questions under the plans of every method and of its random controls, at equal operations.

    Methods that rank layers measure some images and are judged on the others; those that choose image tokens look at
    each judged prompt. Everything measured is kept in `out`, and the same call continues after a kill.

    Parameters
    ----------
    model, processor
        As `vlm.load` returns them.
    items : iterable of Item
        As `vlm.datasets.read` yields them. Labels are used if all items have them; agreement with the full model's
        answer needs none.
    out : str or Path
        Folder of the records.
    budgets : sequence of float
        Operations of a prompt over those of the full model, each in (0, 1).
    draws, layer_draws : int
        Random draws of tokens at every budget, and of sets of layers for every action and number; all sets where they
        are fewer.
    calibration_images : int, optional
        Images by which layers are ranked; a fifth by default, at least 16 and at most 256.
    plans : mapping, optional
        Plans of your own, by name, the same at every budget; compared at their own cost.
    kinds : sequence of {"layers", "tokens"}
        Which methods: those that choose layers, those that choose image tokens, or both; none for your plans alone.
    protocol, max_new_tokens, batch_size
        As in :func:`vlm.optimize`.
    confidence : float
        With which all intervals of the table hold together.
    seed : int
        Of the division of images and of every draw.
    done : function, optional
        Called with the stage, the number of batches done and their total.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        Arguments out of range, or records of other settings in the folder.

    See Also
    --------
    vlm.optimize : Searches for a plan instead.
    """
    checks.probability(confidence, name="confidence")
    if not budgets or any(not 0 < ratio < 1 for ratio in budgets):
        raise ValueError(f"budgets: expected shares of the operations between 0 and 1, got {list(budgets)}")
    if draws < 1 or layer_draws < 1 or batch_size < 1:
        got = f"{draws}, {layer_draws}, {batch_size}"
        raise ValueError(f"draws, layer_draws, batch_size: expected at least 1, got {got}")
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol: expected one of {', '.join(PROTOCOLS)}, got {protocol!r}")
    own = dict(plans or {})
    if not (kinds or own) or not set(kinds) <= set(KINDS):
        raise ValueError(f"kinds: expected one or both of {', '.join(KINDS)}, or plans of your own, got {list(kinds)}")
    usable = [item for item in items if isinstance(item, Item)]
    split = split_images(usable, calibration_images, seed)
    labelled = all(item.answers for item in usable)
    answerer = Answerer(model, processor, generating(PROTOCOLS[protocol], max_new_tokens), 0)
    settings = {
        "weights": weights_fingerprint(model),
        "calibration": data_hash(split.search),
        "judged": data_hash(split.certification),
        "references": _references(usable, PROTOCOLS[protocol].scorers),
        "protocol": f"{protocol} {answerer.protocol.version}",
        "max_new_tokens": str(max_new_tokens),
        "batch_size": str(batch_size),
        "budgets": " ".join(f"{ratio:g}" for ratio in budgets),
        "draws": f"{draws} {layer_draws} {seed}",
        "plans": " ".join(f"{name}={plan}" for name, plan in sorted(own.items())),
        "kinds": " ".join(sorted(set(kinds))),
        "dtype": str(model.dtype).removeprefix("torch."),
    }
    with appending(Path(out) / "outcomes.jsonl") as log:
        known = list(read(log.path))
        if not known:
            log.append([{"kind": "settings", **settings}])
        elif {k: v for k, v in known[0].items() if k != "kind"} != settings:
            other = [name for name, value in settings.items() if known[0].get(name) != value]
            raise ValueError(f"out: {log.path} holds a comparison with other {', '.join(other)}; choose another folder")
        stored = {r["item"]: r for r in known if r["kind"] == "answer"}
        questions, failures = answered(
            answerer, split.certification, "judged", batch_size=batch_size, known=stored, keep=log.append
        )
        if not questions:
            raise ValueError(f"items: expected questions that the model can answer, got none; {failures[0].reason}")
        finished = {r["batch"]: r for r in known if r["kind"] == "batch"}
        rankings: list[Ranking] | None = None
        fit: list[FloatArray] = []
        costs: dict[int, Costs] = {}
        batches = _batches(questions, batch_size)
        results: list[Outcome] = []
        for number, places in enumerate(batches):
            record: dict[str, Any] | None = dict(finished[number]) if number in finished else None
            if record is None:
                if rankings is None:
                    calibration = (answerer, split.search, batch_size)
                    rankings = layer_rankings(*calibration, done=done) if "layers" in kinds else []
                    fit = read_attention(*calibration, done=done) if "tokens" in kinds else []
                record = _judged(
                    answerer,
                    [questions[place] for place in places],
                    rankings,
                    fit,
                    costs,
                    budgets,
                    own,
                    kinds=kinds,
                    scored=labelled,
                    draws=(draws, layer_draws),
                    seed=seed,
                )
                record = record | {"kind": "batch", "batch": number, "places": list(places)}
                log.append([record])
            results += [
                Outcome(
                    budget=entry["budget"],
                    method=entry["method"],
                    draw=entry["draw"],
                    control=entry["control"],
                    plan=entry["plan"],
                    cost=entry["cost"],
                    places=tuple(places),
                    same=tuple(entry["same"]),
                    scores=tuple(entry["scores"]),
                )
                for entry in record["sets"]
            ]
            done("questions", number + 1, len(batches))
    groups = [question.item.image_id for question in questions]
    full = [float(score_of(answerer, question)) if labelled else float("nan") for question in questions]
    return Comparison(tuple(results), tuple(groups), tuple(full), confidence, tuple(failures))


def score_of(answerer: Answerer, question: AnsweredQuestion) -> float:
    """Score of the full model's answer."""
    from vlm.scoring import score

    return float(score(question.item, question.text, scorer=answerer.protocol.scorer(question.item)).value)


def _told(batches: Sequence[T], stage: str, done: Done) -> Iterator[T]:
    for number, batch in enumerate(batches, 1):
        yield batch
        done(stage, number, len(batches))


def layer_rankings(
    answerer: Answerer, items: Sequence[Item], batch_size: int, *, done: Done = lambda stage, number, total: None
) -> list[Ranking]:
    """Every method that ranks layers or sub-layers, with images as the unit of averaging."""
    model = answerer.model
    batches: list[dict[str, Tensor]] = []
    groups: list[str] = []
    for start in range(0, len(items), batch_size):
        prepared = answerer.questions(items[start : start + batch_size])
        for group in alike([q for q in prepared if isinstance(q, PreparedQuestion)]):
            batches += [answerer.inputs(group)]
            groups += [q.item.image_id for q in group]
    with torch.inference_mode(), selectors.observing(model) as seen:
        for batch in _told(batches, "calibration, layers", done):
            model(**batch, use_cache=False, logits_to_keep=1)
    depth = anatomy(model).depth
    stages = [_told(batches, f"calibration, {what}", done) for what in ("contributions", "withdrawals")]
    frozen = selectors.prediction_divergence(model, stages[0], selectors.contribution_plans(depth))
    withdrawn = selectors.prediction_divergence(model, stages[1], selectors.withdrawal_plans(depth))
    rankings = [
        selectors.redundancy(seen.probe),
        selectors.redundancy(seen.probe, last_free=True),
        selectors.redundancy(seen.probe, freeze=False),
        selectors.small_attention(seen.attention),
        selectors.layer_contribution(frozen),
        selectors.withdrawal(withdrawn),
        selectors.block_influence(seen.similarity),
        selectors.angular_distance(seen.similarity),
        selectors.sublayer_similarity(seen.similarity, "attention"),
        selectors.sublayer_similarity(seen.similarity, "mlp"),
        selectors.adaskip(seen.similarity),
        selectors.attention_map_rank(seen.ranks),
        selectors.late_insertion(depth),
    ]
    return [ranking.over_images(groups) for ranking in rankings]


def read_attention(
    answerer: Answerer, items: Sequence[Item], batch_size: int, *, done: Done = lambda stage, number, total: None
) -> list[FloatArray]:
    """What FitPrune is fitted to; nothing where a layer has no attention."""
    model = answerer.model
    if any(find_attention(layer) is None for layer in anatomy(model).layers):
        return []
    with torch.inference_mode(), selectors.attention_statistics(model) as record:
        for start in _told(range(0, len(items), batch_size), "calibration, tokens", done):
            prepared = answerer.questions(items[start : start + batch_size])
            for group in alike([q for q in prepared if isinstance(q, PreparedQuestion)]):
                model(**answerer.inputs(group), use_cache=False, logits_to_keep=1)
    return record.prompts()


def _references(items: Sequence[Item], scorers: str) -> str:
    """What answers are scored by: a corrected reference, or another version of a scorer, gives other scores."""
    stated = [[item.dataset, item.id, list(item.answers), sorted(item.details.items())] for item in items]
    return hashlib.sha256(json.dumps([scorers, stated]).encode()).hexdigest()[:12]


def _batches(questions: Sequence[AnsweredQuestion], batch_size: int) -> list[tuple[int, ...]]:
    """Questions that share a call."""
    out: list[tuple[int, ...]] = []
    for start in range(0, len(questions), batch_size):
        by_id = {id(questions[i].question): i for i in range(start, min(start + batch_size, len(questions)))}
        groups = alike([questions[place].question for place in by_id.values()])
        out += [tuple(by_id[id(question)] for question in group) for group in groups]
    return out


def _judged(
    answerer: Answerer,
    questions: Sequence[AnsweredQuestion],
    rankings: Sequence[Ranking],
    fit: Sequence[FloatArray],
    known_costs: dict[int, Costs],
    budgets: Sequence[float],
    own: Mapping[str, SkipPlan],
    *,
    kinds: Sequence[Kind],
    scored: bool,
    draws: tuple[int, int],
    seed: int,
) -> dict[str, Any]:
    """Outcomes of one batch under every plan at every budget."""
    model, depth = answerer.model, anatomy(answerer.model).depth
    answerer.forget_inputs()
    prompt = answerer.inputs([q.question for q in questions])
    batch = answered_batch(model, prompt, [q.tokens for q in questions])
    vision, text = prompt_tokens(model, dict(prompt))
    words = round(float(np.mean(text)))
    costs = known_costs.setdefault(words, Costs(model, words))
    shown = round(float(np.mean(vision)))
    seen = look(model, prompt) if "tokens" in kinds else None
    seeds = [zlib.crc32(f"{seed} {q.item.id}".encode()) for q in questions]
    sets: list[dict[str, object]] = []
    known: dict[tuple[SkipPlan, ...], np.ndarray] = {}

    def judge(ratio: float, one: PlanSet) -> None:
        if one.plans not in known:
            known[one.plans] = outcomes(answerer, questions, batch, one.plans, scored=scored)
        found = known[one.plans]
        sets.append(
            {
                "budget": ratio,
                "method": one.method,
                "draw": one.draw,
                "control": one.control,
                "plan": str(one.plans[0]) if len(set(one.plans)) == 1 else "one per prompt",
                "cost": one.cost,
                "same": [int(x) for x in found[:, 0]],
                "scores": [None if np.isnan(x) else float(x) for x in found[:, 1]],
            }
        )

    for ratio in budgets:
        # Every batch draws the same sets of layers.
        rng = np.random.default_rng(int(hashlib.sha256(f"{seed} {ratio:g}".encode()).hexdigest()[:8], 16))
        for one in layer_sets(rankings, costs, shown, ratio, draws=draws[1], rng=rng):
            judge(ratio, one)
        if seen is not None:
            for one in token_sets(seen, costs, depth, ratio, draws=draws[0], seeds=seeds, fit=fit):
                judge(ratio, one)
    for name, plan in own.items():
        cost = costs(plan, shown)
        judge(round(cost, 3), PlanSet(name, 0, (plan,), cost))
    return {"sets": sets}
