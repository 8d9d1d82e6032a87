"""The demo: measure the embedded model, find a plan with a promise, and validate it on held-out images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import torch

from redundancy.display import Displayed
from vlm import tiny
from vlm.datasets.reading import read
from vlm.decisions.conditions import Decision, decide
from vlm.demo.certified_accuracy import certified_plan
from vlm.demo.demo_report import Report, demo_report, first_line, summary_lines
from vlm.engine.planned_loading import load
from vlm.engine.skipping import skipping
from vlm.evaluation.accuracy import TOLERANCE, Score, score_accuracy
from vlm.evaluation.plan_accuracy import PlanAccuracy, prompt_batch
from vlm.evaluation.timing import prefill_times
from vlm.hidden_states.moment_losses import ReconstructionLosses, reconstruction_losses
from vlm.hidden_states.moment_recorder import MomentsRecord
from vlm.hidden_states.moment_recording import moments
from vlm.item import Item
from vlm.measure.attention_ratio import AttentionRecord, attention
from vlm.measure.distances import ProbeRecord, probe
from vlm.models.types import Model, Processor
from vlm.notions.measured_profile import profile
from vlm.notions.profile_result import Profile
from vlm.notions.readable_tables import summary
from vlm.planner.best_plan import BestPlan
from vlm.planner.optimizing import optimize
from vlm.planner.promise import Promise, least_number
from vlm.plans.plan import INDEX_CONVENTION, SkipPlan
from vlm.table import Table

T = TypeVar("T")

# Promises that the demo tries, the first for which there are enough images.
PROMISES = (0.02, 0.05, 0.1, 0.2)
# Question-forwards of the search for each question of the demo.
FORWARDS = 8
CANDIDATES = 8


class Bar(Protocol):
    """Wraps an iterable in a progress bar with a name."""

    def __call__(self, items: Iterable[T], name: str, /) -> Iterable[T]:
        """The same items."""


@dataclass(frozen=True, eq=False, repr=False)
class Outcome(Displayed):
    """Everything the demo measured and decided.

    Attributes
    ----------
    best : BestPlan
        The plan with a promise.
    decision : Decision
        The plan that the conditions allow, and its reasons.
    record, attention : ProbeRecord, AttentionRecord
        The measurements behind the decision.
    sweep : Table
        One row per late-entry and early-exit layer: accuracy and its change, both with intervals, and cost.
    comparison : Table
        No skip, the plans of the conditions, of the paper's rule, of the promise and of certified accuracy, and
        deliberately bad plans, side by side.
    report : Report
        Contents of `report.json`.
    notions : Profile
        What two layers share, in the four notions, on the measurement images.
    """

    best: BestPlan
    decision: Decision
    record: ProbeRecord
    attention: AttentionRecord
    sweep: Table
    comparison: Table
    report: Report
    notions: Profile


def run_demo(
    name: str = "tiny",
    *,
    limit: int = 1000,
    seed: int = 0,
    batch_size: int = 60,
    say: Callable[[str], None] = print,
    progress: bool = True,
) -> Outcome:
    """Measure on one set of images, find a plan with a promise there, and validate it on another set.

    Parameters
    ----------
    name : str
        An embedded model: "tiny", "tiny-plain", "tiny-scaled", "tiny-priced" or "tiny-late".
    limit : int
        Questions to measure on, images for the promise, and questions to validate on.
    seed : int
        Of the questions and images.
    batch_size : int
        Questions per forward call.
    say : function
        Receives the text output, line by line; the first line is the result.
    progress : bool
        Show progress bars.

    Returns
    -------
    Outcome
    """
    bar = _bar(progress)
    model, processor = load(name)
    calibration = tiny.questions(split="validation", limit=limit, seed=seed, kinds=tiny.IMAGE_KINDS)
    held_out = tiny.questions(split="test", limit=limit, seed=seed, kinds=tiny.IMAGE_KINDS)

    record, seen = measure_questions(model, processor, calibration, batch_size=batch_size, bar=bar)
    losses = measure_losses(model, processor, calibration, batch_size=batch_size, bar=bar)
    groups = [q.image_id for q in calibration]
    decision = decide(record, seen, losses=losses, groups=groups)
    rule = decide(record, seen, groups=groups, tokens="answer", heads="mean")
    best = promised_plan(model, processor, limit, seed=seed, batch_size=batch_size, progress=progress)
    certified = certified_plan(PlanAccuracy(model, processor, calibration, batch_size), record.depth)

    accuracy_of = PlanAccuracy(model, processor, held_out, batch_size)
    changed = answers_changed(accuracy_of, best.plan)
    sweep = _sweep(accuracy_of, record.depth, bar)
    plans = {
        "no skip": SkipPlan(),
        "planned": decision.plan,
        "the paper's rule": rule.plan,
        "with a promise": best.plan,
        "certified by accuracy": certified,
        **bad_plans(best.plan, record.depth),
    }
    comparison = _compare(accuracy_of, plans)
    notions = measure_notions(model, processor, limit=limit, seed=seed, batch_size=batch_size, progress=progress)
    report = demo_report(
        name, decision, best, changed, accuracy_of, comparison, limit=limit, seed=seed, notions=_numbers(notions)
    )

    say(first_line(report))
    say(f"\nmodel {name}: {sum(p.numel() for p in model.parameters()):,} parameters")
    say(INDEX_CONVENTION + "\n")
    say(summary(notions).fitted() + "\n")
    say(_shown_columns(decision).fitted() + "\n")
    for line in decision.reasons():
        say(line)
    say(f"\nplan by the conditions: {decision.plan}; by the paper's rule: {rule.plan}")
    say(f"plan by certified accuracy on the same images (may fall by {TOLERANCE:g}): {certified}")
    say(f"plan with a promise, without labels: {best.plan}\n")
    for message in best.messages:
        say(message)
    say("\n" + best.table().fitted() + "\n\n" + best.file.guarantee + "\n")
    say(comparison.fitted() + "\n")
    say(summary_lines(report))
    return Outcome(best, decision, record, seen, sweep, comparison, report, notions)


def promised_plan(
    model: Model, processor: Processor, images: int, *, seed: int, batch_size: int, progress: bool
) -> BestPlan:
    """The cheapest certified plan from one question about each of some images, kinds in turn; no label is used."""
    kinds = len(tiny.IMAGE_KINDS)
    items = [
        item
        for number, item in enumerate(read("tiny", split="validation", limit=images * kinds, seed=seed))
        if number % kinds == number // kinds % kinds
    ]
    searching = min(max(len(items) // 5, 16), 256, len(items) - 1)
    possible = [t for t in PROMISES if least_number(Promise(t, binary=True)) <= len(items) - searching]
    if not possible:
        raise ValueError(
            f"questions: expected enough for a promise of {PROMISES[-1]:g}, got {images}; ask at least "
            f"{least_number(Promise(PROMISES[-1], binary=True)) + 16}"
        )
    return optimize(
        model,
        processor,
        items,
        max_loss=possible[0],
        actions=("freeze", "remove"),
        fractions=(),
        search_images=searching,
        batch_size=batch_size,
        forwards=FORWARDS * images,
        candidates=CANDIDATES,
        seed=seed,
        progress=progress,
    )


def answers_changed(accuracy_of: PlanAccuracy, plan: SkipPlan) -> Score:
    """Share of the held-out questions whose answer differs from the full model's, with its interval over images."""
    model, processor, questions = accuracy_of.model, accuracy_of.processor, accuracy_of.questions
    full = tiny.predict(model, processor, questions, batch_size=accuracy_of.batch_size)
    with skipping(model, plan):
        answers = tiny.predict(model, processor, questions, batch_size=accuracy_of.batch_size)
    return score_accuracy(np.array(full) != np.array(answers), accuracy_of.groups)


def measure_questions(
    model: Model, processor: Processor, questions: Sequence[tiny.Question], *, batch_size: int, bar: Bar
) -> tuple[ProbeRecord, AttentionRecord]:
    """Run the prompts once under probe and attention; nothing is generated and no answers are used."""
    starts = range(0, len(questions), batch_size)
    with torch.no_grad(), probe(model, thresholds=(0.01, 0.02, 0.05, 0.1)) as record, attention(model) as seen:
        for start in bar(starts, "measure"):
            model(**prompt_batch(model, processor, questions[start : start + batch_size]), logits_to_keep=1)
    return record, seen


def measure_losses(
    model: Model, processor: Processor, questions: Sequence[tiny.Question], *, batch_size: int, bar: Bar
) -> ReconstructionLosses | None:
    """How well image tokens after a layer are rebuilt from those before it: fitted on every other image, and judged on
    the rest. None where there are too few images.
    """
    # Image tokens come first and see no question: one question shows all that they do.
    shown = list({q.image_id: q for q in reversed(questions)}.values())[::-1]
    halves = [shown[::2], shown[1::2]]

    def run(record: MomentsRecord | ReconstructionLosses, asked: Sequence[tiny.Question]) -> None:
        for start in bar(range(0, len(asked), batch_size), "rebuild"):
            batch = asked[start : start + batch_size]
            record.expect([q.image_id for q in batch])
            model(**prompt_batch(model, processor, batch), logits_to_keep=1)

    with torch.no_grad():
        with moments(model, modality="vision", normalise=True) as sums:
            run(sums, halves[0])
        fitted = sums.moments()
        if not fitted.prompts.all() or not halves[1]:
            return None
        with reconstruction_losses(model, fitted, direction="forward") as losses:
            run(losses, halves[1])
    return losses


def measure_notions(
    model: Model, processor: Processor, *, limit: int, seed: int, batch_size: int, progress: bool
) -> Profile:
    """The four notions along depth and usable information, for the last prompt token and the mean image token."""
    items = [item for item in read("tiny", split="validation", limit=limit, seed=seed) if isinstance(item, Item)]
    return profile(
        model,
        processor,
        items,
        notions=("geometric", "proximal", "functional", "next state", "informational", "usable information"),
        predictors=("ridge",),
        readers=("linear",),
        tokens=False,
        batch_size=batch_size,
        progress=progress,
    )


def _numbers(notions: Profile) -> list[dict[str, object]]:
    """The rows that have certified limits, for `report.json`."""
    names = ("layer", "later", "view", "notion", "method", "value", "low", "high", "images", "unit")
    rows = [row for row in notions.rows().rows() if row["guarantee"].startswith("certified")]
    return [{name: row[name] for name in names} for row in rows]


def _sweep(accuracy_of: PlanAccuracy, depth: int, bar: Bar) -> Table:
    """Accuracy without a plan, and under late entry and early exit at every layer."""
    plans = [("late entry", k, SkipPlan.late_entry(k)) for k in range(1, depth + 1)]
    plans += [("early exit", k, SkipPlan.early_exit(k)) for k in range(depth)]
    rows = [accuracy_of.row(SkipPlan(), "none", 0)]
    rows += [accuracy_of.row(plan, kind, k) for kind, k, plan in bar(plans, "sweep")]
    return Table.from_rows(rows)


def bad_plans(plan: SkipPlan, depth: int) -> dict[str, SkipPlan]:
    """Deliberately bad plans that differ from the plan itself: skipping the middle layers, and entry in the middle."""
    third = depth // 3
    middle = SkipPlan.skip("vision", third, depth - third)
    candidates = {
        "late entry at the middle": SkipPlan.late_entry(depth // 2),
        "all tokens out of the middle": SkipPlan.drop(range(third, depth - third)),
        "vision out of the middle": middle,
    }
    return {name: other for name, other in candidates.items() if other.resolved(depth) != plan}


def _compare(accuracy_of: PlanAccuracy, named: dict[str, SkipPlan]) -> Table:
    _, ratios = prefill_times(accuracy_of.model, accuracy_of.batch, list(named.values()))
    rows: list[dict[str, str | int | float]] = []
    known: dict[SkipPlan, dict[str, str | int | float]] = {}
    for (name, plan), ratio in zip(named.items(), ratios, strict=True):
        if plan not in known:
            known[plan] = accuracy_of.row(plan, name, 0)
            known[plan].pop("layer")
        rows.append({**known[plan], "kind": name, "time_ratio": ratio})
    return Table.from_rows(rows)


def _shown_columns(decision: Decision) -> Table:
    names = ("layer", "distance", "distance_from_entry", "close", "redundant", "ratio", "attention_small", "decision")
    return Table({name: decision.layers[name] for name in names})


def _bar(progress: bool) -> Bar:
    from tqdm import tqdm

    def bar(items: Iterable[T], name: str, /) -> Iterable[T]:
        shown: Iterable[T] = tqdm(items, desc=name, disable=None if progress else True)
        return shown

    return bar
