"""What the demo found, as numbers for `report.json` and as lines, the first of which is the result."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import TypedDict

import torch

from vlm import tiny
from vlm.decisions.conditions import Decision
from vlm.evaluation.accuracy import Score
from vlm.evaluation.plan_accuracy import PlanAccuracy
from vlm.planner.best_plan import BestPlan
from vlm.plans.plan import SkipPlan
from vlm.table import Table


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
    plan_promised: str
    promise: Mapping[str, object]
    answers_changed_promised: float
    answers_changed_promised_interval: list[float]
    accuracy_promised: float
    accuracy_promised_interval: list[float]
    accuracy_change_promised: float
    accuracy_change_promised_interval: list[float]
    operations_ratio_promised: float
    time_ratio_promised: float
    plan_rule: str
    accuracy_rule: float
    accuracy_rule_interval: list[float]
    questions: int
    images: int
    seed: int
    conditions: Mapping[str, object]
    versions: Mapping[str, str]
    notions: list[dict[str, object]]


def demo_report(
    name: str,
    decision: Decision,
    best: BestPlan,
    changed: Score,
    accuracy_of: PlanAccuracy,
    comparison: Table,
    *,
    limit: int,
    seed: int,
    notions: list[dict[str, object]],
) -> Report:
    """The contents of `report.json`; `changed` is the share of held-out answers that the promised plan changes."""
    full, planned, rule, promised, certified = list(comparison.rows())[:5]
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
        "plan_promised": promised["plan"],
        "promise": {
            "loss": best.file.loss,
            "max_loss": best.file.max_loss,
            "confidence": best.file.confidence,
            "images": best.file.images,
            "estimate": best.file.estimate,
            "interval": [best.file.low, best.file.high],
            "limit": best.file.limit,
            "guarantee": best.file.guarantee,
            "forwards": best.forwards,
        },
        "answers_changed_promised": changed.value,
        "answers_changed_promised_interval": [changed.low, changed.high],
        "accuracy_promised": promised["accuracy"],
        "accuracy_promised_interval": [promised["accuracy_low"], promised["accuracy_high"]],
        "accuracy_change_promised": promised["change"],
        "accuracy_change_promised_interval": [promised["change_low"], promised["change_high"]],
        "operations_ratio_promised": promised["operations_ratio"],
        "time_ratio_promised": promised["time_ratio"],
        "plan_rule": rule["plan"],
        "accuracy_rule": rule["accuracy"],
        "accuracy_rule_interval": [rule["accuracy_low"], rule["accuracy_high"]],
        "questions": limit,
        "images": len(set(accuracy_of.groups)),
        "seed": seed,
        "conditions": decision.settings,
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "machine": platform.machine()},
        "notions": notions,
    }


def first_line(report: Report) -> str:
    """The result: the plan, its cost, the promise, and what it does to questions that it was not chosen on."""
    promise = report["promise"]
    allowed = f"{promise['max_loss']:.0%} of the answers change"
    validated = (
        f"on {report['questions']:,} other questions {report['answers_changed_promised']:.1%} change, and accuracy is "
        f"{report['accuracy_promised']:.3f} against {report['accuracy_full']:.3f}"
    )
    if report["plan_promised"] == "none":
        return f"{report['model']}: no cheaper plan is certified so that at most {allowed}; {validated}"
    return (
        f"{report['model']}: plan {report['plan_promised']} needs {report['operations_ratio_promised']:.1%} of the "
        f"operations; at most {allowed}, with {promise['confidence']:.0%} confidence; {validated}"
    )


def summary_lines(report: Report) -> str:
    """What else was found, line by line."""
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
        f"the paper's rule (answer token, mean over heads): plan {report['plan_rule']}: accuracy "
        f"{report['accuracy_rule']:.3f}\n"
        f"{measured}\n"
        f"blank image {report['accuracy_blank']:.3f}, best constant answer {report['accuracy_chance']:.3f}"
    )
