"""The demo's output on disk: tables, figures, report.json and one self-contained HTML page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vlm.atomic_files import write_atomically
from vlm.decisions.conditions import Decision
from vlm.demo.demo_report import first_line
from vlm.demo.figures import demo_figures
from vlm.evaluation.accuracy import TOLERANCE
from vlm.notions.notion_figures import save_notion_figures
from vlm.notions.profile_page import profile_section
from vlm.planner.plan_page import promise_sections, use_section
from vlm.plans.plan import INDEX_CONVENTION
from vlm.reports.html_parts import Figure, document, heading, lead, numbered, paragraph, title
from vlm.reports.html_parts import figures as side_by_side
from vlm.reports.table_formats import html

if TYPE_CHECKING:
    from vlm.demo.demo_report import Report
    from vlm.demo.loop import Outcome

_CAPTIONS = {
    "plan_frontier": "Cost and changed answers of everything that was tried; the tested candidates with their "
    "intervals on the certification images.",
    "redundancy": "Mean cosine distance between a layer's input and output, and the fraction of tokens within t.",
    "attention": "Share of the last prompt token's attention that falls on the image.",
    "sweep": "Accuracy on held-out images against the entry or exit layer, with image-level 95% intervals.",
}


def save(outcome: Outcome, folder: str | Path) -> list[Path]:
    """Write tables, figures, the page and report.json; each file appears complete or not at all."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = [
        outcome.record.table().save(folder / "redundancy.csv"),
        outcome.attention.table().save(folder / "attention.csv"),
        outcome.decision.layers.save(folder / "layers.csv"),
        outcome.sweep.save(folder / "sweep.csv"),
        outcome.comparison.save(folder / "comparison.csv"),
        outcome.best.table().save(folder / "certification.csv"),
        outcome.best.save(folder / "plan.json"),
        outcome.notions.table.save(folder / "notions.csv"),
        outcome.notions.chain.save(folder / "theorems.csv"),
    ]
    figures = demo_figures(outcome, folder)
    notion_figures = save_notion_figures(outcome.notions, folder)
    page = folder / "index.html"
    write_atomically(page, demo_page(outcome, figures, notion_figures, folder / "plan.json"))
    report = folder / "report.json"
    write_atomically(report, json.dumps(outcome.report, indent=2) + "\n")
    return [*written, *figures, *notion_figures, page, report]


def demo_page(
    outcome: Outcome, figures: Sequence[Path], notion_figures: Sequence[Path] = (), plan: Path = Path("plan.json")
) -> str:
    """The results of the demo as one HTML page."""
    report, decision = outcome.report, outcome.decision
    verdict = (
        f"The conditions allow vision tokens to enter at layer {report['late_entry']}."
        if report["late_entry"]
        else f"The conditions allow no late entry: {_first_failure(outcome)}."
    )
    planned = _interval(report["accuracy_plan"], report["accuracy_plan_interval"])
    rule = _interval(report["accuracy_rule"], report["accuracy_rule_interval"])
    full = _interval(report["accuracy_full"], report["accuracy_full_interval"])
    blank = _interval(report["accuracy_blank"], report["accuracy_blank_interval"])
    body = [
        title(f"Which layers can the image skip? Model {report['model']}"),
        lead(f"{first_line(report)}."),
        *use_section(outcome.best.file, plan),
        paragraph(
            f"{verdict} {_exit_verdict(outcome)} Their plan {report['plan']} has accuracy {planned} against {full} "
            f"without skipping, {report['operations_ratio']:.1%} of the operations, {report['time_ratio']:.1%} of the "
            "prefill time. The paper's rule judges the answer token and the mean over heads, and allows "
            f"{report['plan_rule']}: accuracy {rule}. Blank image: {blank}, best constant answer "
            f"{report['accuracy_chance']:.3f}."
        ),
        paragraph(_certified(report)),
        paragraph(
            f"{INDEX_CONVENTION} Measured on {decision.settings['images']} images, validated on {report['images']} "
            "others; intervals count images, not questions or tokens. Those of the conditions hold together with "
            f"probability {decision.settings['confidence']:g}; each accuracy interval holds with that probability by "
            "itself."
        ),
        heading("Plans side by side"),
        html(outcome.comparison, caption="Plans on the held-out images"),
        paragraph(
            "“Change” is the paired difference to no skip. Operations are those of the decoder for one prompt; time "
            "includes the vision tower and what Python adds, which weighs heavily on a model this small."
        ),
        side_by_side(Figure(path, _CAPTIONS.get(path.stem, path.stem)) for path in figures),
        *promise_sections(outcome.best, plan),
        heading("Conditions per layer"),
        paragraph(f"Attention is judged by {outcome.decision.reading}."),
        html(decision.layers, caption="What was measured of each layer, and the verdicts"),
        *_theorem_1(decision),
        numbered(decision.reasons()),
        heading("Every entry and exit layer"),
        html(outcome.sweep, caption="Accuracy by entry and exit layer"),
        heading("What two layers share"),
        *profile_section(outcome.notions, notion_figures),
    ]
    return document(f"skipit: {report['model']}", body)


def _theorem_1(decision: Decision) -> list[str]:
    """What the columns of both forms of Theorem 1 mean."""
    if "gap_rebuilt" not in decision.layers.columns:
        return [paragraph("Too few images to bound the functional gap by reconstruction.")]
    return [
        paragraph(
            "The functional gap of a layer, how much worse a target is predicted from the image tokens that enter it "
            "than from those that leave it, is at most gap_cosine by their cosine distance and at most gap_rebuilt by "
            "the error of an affine map fitted on other images (Theorem 1 and Corollary 5), times the square of a "
            "Lipschitz constant that is not measured. “high” are upper limits, which hold together with probability "
            f"{decision.settings['confidence']:g}."
        )
    ]


def _certified(report: Report) -> str:
    """What the accuracies on the measurement images certify, without the conditions."""
    if report["plan_certified"] == "none":
        return (
            f"Measured instead of concluded: on the measurement images no plan could be certified to cost at most "
            f"{TOLERANCE:g} of accuracy; more questions shorten the intervals."
        )
    reached = _interval(report["accuracy_certified"], report["accuracy_certified_interval"])
    return (
        "Measured instead of concluded: on the measurement images, skipping "
        f"{report['plan_certified']} is certified to cost at most {TOLERANCE:g} of accuracy. "
        f"On the held-out images it reaches {reached} with "
        f"{report['operations_ratio_certified']:.1%} of the operations and {report['time_ratio_certified']:.1%} of the "
        "prefill time. The conditions are sufficient, not necessary: where this plan skips more than theirs, a layer "
        "looks at the image without needing it."
    )


def _first_failure(outcome: Outcome) -> str:
    row = next(outcome.decision.layers.rows())
    failed = [
        f"redundancy {row['redundant']} ({row['close']:.2f} of vision tokens are close)"
        if row["redundant"] != "holds"
        else "",
        f"small attention {row['attention_small']} (ratio {row['ratio']:.2f})"
        if row["attention_small"] != "holds"
        else "",
    ]
    return "at layer 0, " + " and ".join(part for part in failed if part)


def _exit_verdict(outcome: Outcome) -> str:
    exit_layer, depth = outcome.decision.early_exit, outcome.record.depth
    if exit_layer < depth:
        return f"They allow vision tokens to leave at layer {exit_layer} of {depth}."
    last = list(outcome.decision.layers.rows())[-1]
    if last["attention_small"] == "undecided":
        return "They allow no early exit: whether the last layer's attention is small is undecided."
    return (
        f"They allow no early exit: in the last layer up to {last['ratio']:.2f} of the attention still falls on "
        f"the image ({outcome.decision.reading}), more than the limit."
    )


def _interval(value: float, ends: Sequence[float]) -> str:
    low, high = ends
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"
