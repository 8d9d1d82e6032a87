"""Compare named methods with random choices at equal cost, on any model and questions."""

from __future__ import annotations

import hashlib
import json
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from torch import Tensor

from redundancy import checks
from redundancy.array_types import FloatArray
from vlm.comparison.calibration import Choices, Done, layer_choices, read_attention
from vlm.comparison.encoded_once import encoded_once
from vlm.comparison.method_plans import Costs, PlanSet, layer_sets, look, token_sets
from vlm.comparison.outcomes import outcomes
from vlm.comparison.result import Comparison, Outcome
from vlm.evaluation.answering import Answerer, alike, prompt_tokens
from vlm.evaluation.protocols import PROTOCOLS
from vlm.item import Failure, Item
from vlm.models.families import anatomy
from vlm.models.types import Model, Processor
from vlm.models.weights_fingerprint import weights_fingerprint
from vlm.planner.answered_batch import answered_batch
from vlm.planner.answered_questions import AnsweredQuestion, answered, generating
from vlm.planner.image_split import data_hash, split_images
from vlm.plans.plan import SkipPlan
from vlm.record_log import Record, appending, read

Kind = Literal["layers", "tokens"]
# Budget, method and draw.
Key = tuple[float, str, int]
KINDS: tuple[Kind, ...] = ("layers", "tokens")
BUDGETS = (0.85, 0.75, 0.6, 0.45, 0.35)
# What a kill loses at most, beside one plan.
KEEP_SECONDS = 5.0
# Questions whose lengths say what a typical prompt is.
TYPICAL = 64


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
    each judged prompt. Everything measured is kept in `out` every few seconds, what methods learn from the calibration
    images as well, and the same call continues after a kill.

    Parameters
    ----------
    model, processor
        As `vlm.load` returns them.
    items : iterable of Item
        As `vlm.datasets.read` yields them; those without an image are not asked. Labels are used if all items have
        them; agreement with the full model's answer needs none.
    out : str or Path
        Folder of the records.
    budgets : sequence of float
        Operations of a prompt over those of the full model, each in (0, 1).
    draws, layer_draws : int
        Random draws of tokens at every budget, and of sets of layers at equal cost for every action and number; all
        such sets where they are fewer.
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
    given = list(items)
    unread = [one if isinstance(one, Failure) else _without_image(one) for one in given if not _shown(one)]
    usable = [one for one in given if isinstance(one, Item) and one.images]
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
        batches = _batches(questions, batch_size)
        parts: dict[int, dict[Key, Record]] = {number: {} for number in range(len(batches))}
        finished = {r["batch"] for r in known if r["kind"] == "part" and r["done"]}
        for record in known:
            if record["kind"] == "part":
                parts[record["batch"]] |= {_key(entry): entry for entry in record["sets"]}
        judge: _Judge | None = None
        for number, places in enumerate(batches):
            if number not in finished:
                if judge is None:
                    fitted_on = answerer, split.search, batch_size
                    judge = _Judge(
                        answerer,
                        budgets,
                        own,
                        kinds,
                        labelled,
                        (draws, layer_draws),
                        seed,
                        layer_choices(*fitted_on, known=known, log=log, done=done) if "layers" in kinds else [],
                        read_attention(*fitted_on, folder=Path(out), done=done) if "tokens" in kinds else [],
                        _typical(answerer, questions, batches),
                        {
                            e["method"]: e["budget"]
                            for part in parts.values()
                            for e in part.values()
                            if e["method"] in own
                        },
                    )

                def keep(sets: list[Record], number: int = number, whole: bool = False) -> None:
                    parts[number] |= {_key(entry): entry for entry in sets}
                    if sets or whole:
                        log.append([{"kind": "part", "batch": number, "sets": sets, "done": whole}])

                judge.judge([questions[place] for place in places], parts[number], keep)
                keep([], whole=True)
            done("questions", number + 1, len(batches))
    results = [
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
        for number, places in enumerate(batches)
        for entry in parts[number].values()
    ]
    groups = [question.item.image_id for question in questions]
    full = [float(score_of(answerer, question)) if labelled else float("nan") for question in questions]
    return Comparison(
        tuple(results), tuple(groups), tuple(full), confidence, (*unread, *failures), tuple(sorted(set(kinds)))
    )


def _shown(one: Item | Failure) -> bool:
    return isinstance(one, Item) and bool(one.images)


def _without_image(item: Item) -> Failure:
    reason = "no image: these methods choose among image tokens, or layers by what they do to them"
    return Failure(item.dataset, item.id, reason, item.digest)


def score_of(answerer: Answerer, question: AnsweredQuestion) -> float:
    """Score of the full model's answer."""
    from vlm.scoring import score

    return float(score(question.item, question.text, scorer=answerer.protocol.scorer(question.item)).value)


def _references(items: Sequence[Item], scorers: str) -> str:
    """What answers are scored by: a corrected reference, or another version of a scorer, gives other scores."""
    stated = [[item.dataset, item.id, list(item.answers), sorted(item.details.items())] for item in items]
    return hashlib.sha256(json.dumps([scorers, stated]).encode()).hexdigest()[:12]


def _key(entry: Record) -> Key:
    return entry["budget"], entry["method"], entry["draw"]


def _batches(questions: Sequence[AnsweredQuestion], batch_size: int) -> list[tuple[int, ...]]:
    """Questions that share a call."""
    out: list[tuple[int, ...]] = []
    for start in range(0, len(questions), batch_size):
        by_id = {id(questions[i].question): i for i in range(start, min(start + batch_size, len(questions)))}
        groups = alike([questions[place].question for place in by_id.values()])
        out += [tuple(by_id[id(question)] for question in group) for group in groups]
    return out


def _typical(
    answerer: Answerer, questions: Sequence[AnsweredQuestion], batches: Sequence[tuple[int, ...]]
) -> tuple[int, int]:
    """Mean numbers of image and text tokens of the first `TYPICAL` questions."""
    vision: list[int] = []
    text: list[int] = []
    for places in batches:
        shown, words = prompt_tokens(answerer.model, dict(answerer.inputs([questions[i].question for i in places])))
        vision, text = [*vision, *shown], [*text, *words]
        if len(vision) >= TYPICAL:
            break
    return round(float(np.mean(vision))), round(float(np.mean(text)))


@dataclass(eq=False)
class _Judge:
    """Judges batches of questions under every plan at every budget.

    Attributes
    ----------
    choices, fit
        What was learnt from the calibration images.
    draws : (int, int)
        Of tokens and of sets of layers.
    tokens : (int, int)
        Image and text tokens of a typical prompt, for which sets of layers are chosen: the same in every batch.
    own_budgets : dict
        The cost under which a plan of the user's own stands in the table.
    costs, layers
        What is known for prompts of a length: operations; and the sets of layers of every budget.
    """

    answerer: Answerer
    budgets: Sequence[float]
    own: Mapping[str, SkipPlan]
    kinds: Sequence[Kind]
    scored: bool
    draws: tuple[int, int]
    seed: int
    choices: Sequence[Choices]
    fit: Sequence[FloatArray]
    tokens: tuple[int, int]
    own_budgets: dict[str, float]
    costs: dict[int, Costs] = field(default_factory=dict)
    layers: dict[float, list[PlanSet]] = field(default_factory=dict)

    def judge(
        self, questions: Sequence[AnsweredQuestion], known: Mapping[Key, Record], keep: Callable[[list[Record]], None]
    ) -> None:
        """Judge a batch under the plans whose outcomes are not `known`, and give them to `keep` every few seconds."""
        answerer, model = self.answerer, self.answerer.model
        answerer.forget_inputs()
        prompt = answerer.inputs([q.question for q in questions])
        batch = answered_batch(model, prompt, [q.tokens for q in questions])
        encoded = encoded_once(model, batch)
        judged: dict[tuple[SkipPlan, ...], np.ndarray] = {}
        new: list[Record] = []
        last = time.monotonic()
        for ratio, one in self._sets(questions, prompt):
            stored = known.get((ratio, one.method, one.draw))
            digest = hashlib.sha256("\0".join(map(str, one.plans)).encode()).hexdigest()[:12]
            if stored is not None and stored["digest"] == digest:
                continue
            if one.plans not in judged:
                judged[one.plans] = outcomes(answerer, questions, batch, one.plans, scored=self.scored, encoded=encoded)
            found = judged[one.plans]
            new.append(
                {
                    "budget": ratio,
                    "method": one.method,
                    "draw": one.draw,
                    "control": one.control,
                    "plan": str(one.plans[0]) if len(set(one.plans)) == 1 else "one per prompt",
                    "digest": digest,
                    "cost": one.cost,
                    "same": [int(x) for x in found[:, 0]],
                    "scores": [None if np.isnan(x) else float(x) for x in found[:, 1]],
                }
            )
            if time.monotonic() - last > KEEP_SECONDS:
                keep(new)
                new, last = [], time.monotonic()
        keep(new)

    def _sets(
        self, questions: Sequence[AnsweredQuestion], prompt: Mapping[str, Tensor]
    ) -> Iterator[tuple[float, PlanSet]]:
        """Every plan, or one plan per question, with its budget, in the same order at every call."""
        model, depth = self.answerer.model, anatomy(self.answerer.model).depth
        vision, text = prompt_tokens(model, dict(prompt))
        words, shown = round(float(np.mean(text))), round(float(np.mean(vision)))
        costs = self.costs.setdefault(words, Costs(model, words))
        seen = look(model, prompt) if "tokens" in self.kinds else None
        seeds = [zlib.crc32(f"{self.seed} {q.item.id}".encode()) for q in questions]
        for ratio in self.budgets:
            for one in self._layer_sets(ratio):
                yield ratio, replace(one, cost=costs(one.plans[0], shown))
            if seen is not None:
                for one in token_sets(seen, costs, depth, ratio, draws=self.draws[0], seeds=seeds, fit=self.fit):
                    yield ratio, one
        for name, plan in self.own.items():
            cost = costs(plan, shown)
            yield self.own_budgets.setdefault(name, round(cost, 3)), PlanSet(name, 0, (plan,), cost)

    def _layer_sets(self, ratio: float) -> list[PlanSet]:
        vision, words = self.tokens
        if ratio not in self.layers:
            costs = self.costs.setdefault(words, Costs(self.answerer.model, words))
            rng = np.random.default_rng(int(hashlib.sha256(f"{self.seed} {ratio:g}".encode()).hexdigest()[:8], 16))
            self.layers[ratio] = list(layer_sets(self.choices, costs, vision, ratio, draws=self.draws[1], rng=rng))
        return self.layers[ratio]
