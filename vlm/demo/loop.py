"""The demo: measure the embedded model, decide on a plan, skip layers, and validate the result on held-out images."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypedDict, TypeVar

import torch
from numpy.typing import ArrayLike

from redundancy.display import Displayed
from vlm import tiny
from vlm.datasets.reading import read
from vlm.decisions.conditions import Decision, decide
from vlm.evaluation.accuracy import TOLERANCE, certified_layer
from vlm.evaluation.plan_accuracy import PlanAccuracy, prompt_batch
from vlm.evaluation.timing import prefill_times
from vlm.hidden_states.moment_losses import ReconstructionLosses, reconstruction_losses
from vlm.hidden_states.moment_recorder import MomentsRecord
from vlm.hidden_states.moment_recording import moments
from vlm.item import Item
from vlm.measure.attention_ratio import AttentionRecord, attention
from vlm.measure.distances import ProbeRecord, probe
from vlm.models.loading import load
from vlm.models.types import Model, Processor
from vlm.notions.measured_profile import profile
from vlm.notions.profile_result import Profile
from vlm.notions.readable_tables import summary
from vlm.plans.plan import INDEX_CONVENTION, SkipPlan
from vlm.table import Table

T = TypeVar("T")


class Bar(Protocol):
    """Wraps an iterable in a progress bar with a name."""

    def __call__(self, items: Iterable[T], name: str, /) -> Iterable[T]:
        """The same items."""


class Report(TypedDict):
    """Contents of `report.json`; an interval is [low, high]."""

    model: str
    plan: str
    late_entry: int | None
    early_exit: int | None
    accuracy_full: float
    accuracy_full_interval: list[float]
    accuracy_blank: float
    accuracy_blank_interval: list[float]
    accuracy_chance: float
    accuracy_plan: float
    accuracy_plan_interval: list[float]
    accuracy_change: float
    accuracy_change_interval: list[float]
    operations_ratio: float
    time_ratio: float
    plan_certified: str
    accuracy_certified: float
    accuracy_certified_interval: list[float]
    operations_ratio_certified: float
    time_ratio_certified: float
    questions: int
    images: int
    seed: int
    conditions: Mapping[str, object]
    versions: Mapping[str, str]
    notions: list[dict[str, object]]


@dataclass(frozen=True, eq=False, repr=False)
class Outcome(Displayed):
    """Everything the demo measured and decided.

    Attributes
    ----------
    decision : Decision
        The plan and its reasons.
    record, attention : ProbeRecord, AttentionRecord
        The measurements behind the decision.
    sweep : Table
        One row per late-entry and early-exit layer: accuracy and its change, both with intervals, and cost.
    comparison : Table
        No skip, the plan, and deliberately bad plans, side by side.
    report : Report
        Contents of `report.json`.
    notions : Profile
        What two layers share, in the four notions, on the measurement images.
    """

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
    """Measure on one set of images, decide on a plan, and validate it on another set.

    Parameters
    ----------
    name : str
        An embedded model: "tiny", "tiny-plain", "tiny-scaled", "tiny-priced" or "tiny-late".
    limit : int
        Questions in each of the two sets.
    seed : int
        Of the questions and images.
    batch_size : int
        Questions per forward call.
    say : function
        Receives the text output, line by line.
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
    say(f"model {name}: {sum(p.numel() for p in model.parameters()):,} parameters")
    say(INDEX_CONVENTION + "\n")

    record, seen = measure_questions(model, processor, calibration, batch_size=batch_size, bar=bar)
    losses = measure_losses(model, processor, calibration, batch_size=batch_size, bar=bar)
    decision = decide(record, seen, losses=losses, groups=[q.image_id for q in calibration])
    say(_shown_columns(decision).text() + "\n")
    for line in decision.reasons():
        say(line)
    say(f"\nplan by the conditions: {decision.plan}")

    depth = record.depth
    certified = certified_plan(PlanAccuracy(model, processor, calibration, batch_size), depth)
    say(f"plan by certified accuracy on the same images (may fall by {TOLERANCE:g}): {certified}\n")

    accuracy_of = PlanAccuracy(model, processor, held_out, batch_size)
    sweep = _sweep(accuracy_of, depth, bar)
    comparison = _compare(accuracy_of, decision.plan, certified, depth)
    say(comparison.text() + "\n")
    notions = measure_notions(model, processor, limit=limit, seed=seed, batch_size=batch_size, progress=progress)
    say(summary(notions).text() + "\n")
    report = _report(name, decision, accuracy_of, comparison, limit=limit, seed=seed, notions=_numbers(notions))
    say(_summary(report))
    return Outcome(decision, record, seen, sweep, comparison, report, notions)


def measure_questions(
    model: Model, processor: Processor, questions: Sequence[tiny.Question], *, batch_size: int, bar: Bar
) -> tuple[ProbeRecord, AttentionRecord]:
    """Run the prompts once under probe and attention; nothing is generated and no answers are used."""
    starts = range(0, len(questions), batch_size)
    with torch.inference_mode(), probe(model, thresholds=(0.01, 0.02, 0.05, 0.1)) as record, attention(model) as seen:
        for start in bar(starts, "measure"):
            model(**prompt_batch(model, processor, questions[start : start + batch_size]), logits_to_keep=1)
    return record, seen


def measure_losses(
    model: Model, processor: Processor, questions: Sequence[tiny.Question], *, batch_size: int, bar: Bar
) -> ReconstructionLosses | None:
    """How well image tokens after a layer are rebuilt from those before it: fitted on every other image, and judged on
    the rest. None where there are too few images.
    """
    fitting = set(list(dict.fromkeys(q.image_id for q in questions))[::2])
    halves = [[q for q in questions if (q.image_id in fitting) == fits] for fits in (True, False)]

    def run(record: MomentsRecord | ReconstructionLosses, asked: Sequence[tiny.Question]) -> None:
        for start in bar(range(0, len(asked), batch_size), "rebuild"):
            batch = asked[start : start + batch_size]
            record.expect([q.image_id for q in batch])
            model(**prompt_batch(model, processor, batch), logits_to_keep=1)

    with torch.inference_mode():
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


class Answers(Protocol):
    """What certifying a plan needs: the answers under any plan, and those without one."""

    @property
    def full(self) -> ArrayLike:
        """Whether the model without a plan answers each question correctly."""

    @property
    def groups(self) -> ArrayLike:
        """Image of each question."""

    def right(self, plan: SkipPlan) -> ArrayLike:
        """Whether each question is answered correctly under a plan."""


def certified_plan(accuracy_of: Answers, depth: int, tolerance: float = TOLERANCE) -> SkipPlan:
    """The plan that skips most among those whose own loss of accuracy is certified to be at most `tolerance`.

    Two sequences of plans, fixed before any answer is seen and mildest first, are tested at half the error
    probability each, and each stops at its first plan that is not certified: early exits alone, and early exit and late
    entry together, in turn one layer more of each. Only a plan that was itself tested is returned: two parts that cost
    nothing apart can cost everything together.
    """
    certified = [SkipPlan()]
    for plans in plan_sequences(depth):
        last = _last_certified(accuracy_of, plans, tolerance)
        if last is not None:
            certified.append(plans[last])
    return max(certified, key=lambda plan: _layers_without_vision(plan, depth))


def _last_certified(accuracy_of: Answers, plans: Sequence[SkipPlan], tolerance: float) -> int | None:
    return certified_layer(
        lambda k: accuracy_of.right(plans[k]),
        accuracy_of.full,
        accuracy_of.groups,
        range(len(plans)),
        tolerance=tolerance,
        confidence=0.975,
    )


def plan_sequences(depth: int) -> tuple[list[SkipPlan], list[SkipPlan]]:
    """Early exits alone, and early exit and late entry in turn one layer further; both from the mildest plan on."""
    exits = [SkipPlan.early_exit(layer).resolved(depth) for layer in range(depth - 1, 0, -1)]
    joint: list[SkipPlan] = []
    for step in range(1, depth):
        leave, enter = depth - (step + 1) // 2, step // 2
        if enter < leave:
            joint.append((SkipPlan.late_entry(enter) | SkipPlan.early_exit(leave)).resolved(depth))
    return exits, joint


def _layers_without_vision(plan: SkipPlan, depth: int) -> int:
    return sum((depth if stop is None else stop) - start for start, stop in plan.resolved(depth).vision)


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


def _compare(accuracy_of: PlanAccuracy, plan: SkipPlan, certified: SkipPlan, depth: int) -> Table:
    named = {"no skip": SkipPlan(), "planned": plan, "certified by accuracy": certified, **bad_plans(plan, depth)}
    _, ratios = prefill_times(accuracy_of.model, accuracy_of.batch, list(named.values()))
    rows = []
    for (name, candidate), ratio in zip(named.items(), ratios, strict=True):
        row = accuracy_of.row(candidate, name, 0)
        row.pop("layer")
        rows.append({**row, "time_ratio": ratio})
    return Table.from_rows(rows)


def _report(
    name: str,
    decision: Decision,
    accuracy_of: PlanAccuracy,
    comparison: Table,
    *,
    limit: int,
    seed: int,
    notions: list[dict[str, object]],
) -> Report:
    full, planned, certified = list(comparison.rows())[:3]
    blank, _ = accuracy_of.accuracy(SkipPlan(), blank=True)
    chance = tiny.chance_by_kind(accuracy_of.questions)
    return {
        "model": name,
        "plan": str(decision.plan),
        "late_entry": decision.late_entry,
        "early_exit": decision.early_exit,
        "accuracy_full": full["accuracy"],
        "accuracy_full_interval": [full["accuracy_low"], full["accuracy_high"]],
        "accuracy_blank": blank.value,
        "accuracy_blank_interval": [blank.low, blank.high],
        "accuracy_chance": chance["image"],
        "accuracy_plan": planned["accuracy"],
        "accuracy_plan_interval": [planned["accuracy_low"], planned["accuracy_high"]],
        "accuracy_change": planned["change"],
        "accuracy_change_interval": [planned["change_low"], planned["change_high"]],
        "operations_ratio": planned["operations_ratio"],
        "time_ratio": planned["time_ratio"],
        "plan_certified": certified["plan"],
        "accuracy_certified": certified["accuracy"],
        "accuracy_certified_interval": [certified["accuracy_low"], certified["accuracy_high"]],
        "operations_ratio_certified": certified["operations_ratio"],
        "time_ratio_certified": certified["time_ratio"],
        "questions": limit,
        "images": len(set(accuracy_of.groups)),
        "seed": seed,
        "conditions": decision.settings,
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "machine": platform.machine()},
        "notions": notions,
    }


def _summary(report: Report) -> str:
    low, high = report["accuracy_change_interval"]
    entry = f"late entry at {report['late_entry']}" if report["late_entry"] else "no late entry"
    measured = (
        "certified by measured accuracy: no plan; more questions shorten the intervals"
        if report["plan_certified"] == "none"
        else f"certified by measured accuracy: plan {report['plan_certified']}: accuracy "
        f"{report['accuracy_certified']:.3f}, {report['operations_ratio_certified']:.1%} of the operations, "
        f"{report['time_ratio_certified']:.1%} of the prefill time"
    )
    return (
        f"conditions: {entry}; plan {report['plan']}: accuracy {report['accuracy_plan']:.3f} against "
        f"{report['accuracy_full']:.3f} (change in [{low:+.3f}, {high:+.3f}]), "
        f"{report['operations_ratio']:.1%} of the operations, {report['time_ratio']:.1%} of the prefill time\n"
        f"{measured}\n"
        f"blank image {report['accuracy_blank']:.3f}, best constant answer {report['accuracy_chance']:.3f}"
    )


def _shown_columns(decision: Decision) -> Table:
    names = ("layer", "distance", "distance_from_entry", "close", "redundant", "ratio", "attention_small", "decision")
    return Table({name: decision.layers[name] for name in names})


def _bar(progress: bool) -> Bar:
    from tqdm import tqdm

    def bar(items: Iterable[T], name: str, /) -> Iterable[T]:
        shown: Iterable[T] = tqdm(items, desc=name, disable=None if progress else True)
        return shown

    return bar
