"""One self-contained HTML page about a run."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vlm.experiments.spec import Spec
from vlm.plans.plan import INDEX_CONVENTION
from vlm.record_log import Record
from vlm.reports.accuracy_table import doubts
from vlm.reports.condition_prediction import Prediction
from vlm.reports.html_parts import (
    Figure,
    bullets,
    copied,
    document,
    figures,
    folded,
    heading,
    lead,
    link,
    paragraph,
    title,
)
from vlm.reports.score_layer_tables import ScoreLayer
from vlm.reports.table_formats import html, with_interval
from vlm.reports.timing_tables import timing
from vlm.table import Table

_SHOWN_FAILURES = 20


@dataclass(frozen=True, eq=False)
class Findings:
    """Everything that a run's report shows.

    Attributes
    ----------
    spec : Spec
    records : sequence of dict
        One for each set of versions that made the run.
    by_set, by_group : Table
        Summaries by data set and by task group.
    results, groups : Table
        The same for readers.
    times : Table
        Seconds per item and plan.
    cells, prediction : Table and Prediction, or None
        None without a measurement, or if it says nothing about the run's plans.
    failures : Table
        Items without a score, by reason.
    tolerance, t : float
        Largest harmless loss of accuracy; distance up to which states are close.
    divided : int
        Number of records answered in a part of their batch.
    partial : str
        Which part of an unfinished run this is; "" if it is finished.
    layers : sequence of ScoreLayer
        The kept answers scored again by other rules.
    run : str
        Directory of the run, for the lines to copy.
    made : mapping of str to str
        When and on what the answers were made.
    """

    spec: Spec
    records: Sequence[Record]
    by_set: Table
    by_group: Table
    results: Table
    groups: Table
    times: Table
    cells: Table | None
    prediction: Prediction | None
    failures: Table
    tolerance: float
    t: float
    divided: int = 0
    partial: str = ""
    layers: Sequence[ScoreLayer] = ()
    run: str = "RUN"
    made: Mapping[str, str] | None = None


def page(
    findings: Findings,
    images: Sequence[Figure],
    problem: str = "",
    sections: Sequence[str] = (),
    viewer: str = "",
) -> str:
    """The report as HTML.

    Parameters
    ----------
    images : sequence of Figure
        PNG files, embedded in the page, and their captions.
    problem : str
        Why there are no figures; "" if there are.
    sections : sequence of str
        HTML that follows the measurements.
    viewer : str
        Where the viewer of questions lies, from the page; "" if it was not written.
    """
    spec, confidence = findings.spec, f"{findings.spec.confidence:.0%}"
    names = sorted(set(findings.by_set["model"].tolist()))
    best = _best(findings)
    body = [
        title(f"Skipping layers: {', '.join(names)}"),
        *([paragraph(findings.partial)] if findings.partial else []),
        lead(best.sentence),
        copied(best.lines),
        paragraph(
            "A plan names tokens and the layers that they skip, counted from 0: under vision:0-4 image tokens enter at "
            "layer 4 (late entry), under vision:20- they leave at layer 20 (early exit), under none nothing is skipped."
        ),
        paragraph(_extent(findings)),
        *([_doubts(found)] if (found := doubts(findings.by_set)) else []),
        heading("Task groups"),
        html(findings.groups, caption="Accuracy and its change by task group and plan", by=_by(findings.groups)),
        paragraph(
            f"Accuracy is the mean over a group's data sets, each counting the same. Every interval holds with "
            f"{confidence} by itself; it counts images, not questions: questions about one image are not independent. "
            "It assumes that no image in the population has more questions than the largest number in this sample. "
            "“Change” is the paired difference to no skip on the same items."
        ),
        figures(_named(images, "accuracy", "cost")),
        *([paragraph(problem)] if problem else []),
        heading("Every data set and plan"),
        html(findings.results, caption="Accuracy, cost and conditions", by=_by(findings.results)),
        paragraph(
            "Distance and P(d ≤ t) are those of vision tokens in the layer at the plan's boundary: the last one "
            "bypassed by late entry, the first one by early exit. VAR is the largest visual attention ratio of the "
            "bypassed layers. Unparsed answers count as wrong; failed and unjudged items are not scored."
        ),
        paragraph(INDEX_CONVENTION),
        *_scored_again(findings.layers),
        heading("Did the conditions predict it?"),
        *_predicted(findings),
        figures(_named(images, "prediction")),
        *_measured(_named(images, "redundancy", "attention")),
        *sections,
        heading("Time"),
        *_times(findings.times),
        heading("What was not scored"),
        *_failures(findings.failures),
        *_divided(findings.divided),
        heading("Every question"),
        *_questions(viewer, findings.run),
        heading("How it was made"),
        html(_settings(spec), caption="The spec"),
        *_versions(findings.records),
    ]
    return document(f"skipit: {', '.join(names)}", body, made=findings.made)


def _questions(viewer: str, run: str) -> list[str]:
    if viewer:
        return [link(viewer, "Pictures, questions, and the answers under each plan")]
    line = f"python -m vlm report {shlex.quote(run)} --questions"
    return [paragraph("This line also writes a page of all questions, with pictures and all answers:"), copied(line)]


def _by(table: Table) -> str | None:
    """Rows are grouped by their data where there are several."""
    return "data" if len(set(table["data"].tolist())) > 1 else None


def _doubts(found: Sequence[str]) -> str:
    few = 3
    return bullets(found) if len(found) <= few else folded(f"{len(found)} reservations", [bullets(found)])


def _extent(findings: Findings) -> str:
    full = findings.by_set.where(kind="none")
    plans = len(set(findings.by_set["plan"].tolist()) - {"none"})
    sentences = [
        f"{_count(plans, 'skip plan')} on {_count(int(full['items'].sum()), 'item')} about "
        f"{_count(int(full['images'].sum()), 'image')} from {_count(len(full), 'data set')}, protocol "
        f"{findings.spec.protocol}."
    ]
    if findings.prediction is not None:
        met, cells = next(findings.prediction.rates.rows()), len(findings.prediction.cells)
        harmless = f"; accuracy fell by at most {findings.tolerance:g} in {met['count']} of these" if met["of"] else ""
        sentences.append(
            f"The conditions were met in {met['of'] or 'none'} of {_count(cells, 'cell')} of data set and plan"
            f"{harmless}."
        )
    return " ".join(sentences)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


@dataclass(frozen=True)
class _Best:
    """The result in a sentence, and the lines to copy."""

    sentence: str
    lines: str


def _best(findings: Findings) -> _Best:
    """The cheapest plan whose interval shows it harmless in every task group."""
    groups = len(set(findings.by_group["group"].tolist()))
    further = f"python -m vlm compare {shlex.quote(findings.run)}"
    safe = []
    for plan in dict.fromkeys(findings.by_group["plan"].tolist()):
        rows = findings.by_group.where(plan=plan)
        if rows["kind"][0] != "none" and len(rows) == groups and (rows["change_low"] >= -findings.tolerance).all():
            safe.append((float(rows["operations_ratio"].mean()), plan))
    if set(findings.by_group["plan"].tolist()) == {"none"}:
        return _Best("No plan was tried but the full model.", further)
    if not safe:
        return _Best(
            f"No plan's loss of accuracy is below {findings.tolerance:g} in every task group by the lower end of its "
            "interval; more images may narrow the intervals. All paired differences with their certificates:",
            further,
        )
    ratio, plan = min(safe)
    saved = "" if math.isnan(ratio) else f", with {1 - ratio:.1%} of the decoder's prompt operations saved"
    counted = "1 plan loses" if len(safe) == 1 else f"{len(safe)} plans lose"
    return _Best(
        f"Use {plan}{saved}: {counted} at most {findings.tolerance:g} of accuracy in every task group by the lower end "
        "of the interval, and this one is the cheapest. It was chosen among these results, so confirm it on other "
        "images.",
        f"model, processor = vlm.load({findings.spec.model!r})\n"
        f"with vlm.skipping(model, {plan!r}):\n    model.generate(**batch)",
    )


def _scored_again(layers: Sequence[ScoreLayer]) -> list[str]:
    if not layers:
        return []
    parts = [heading("Scored again"), paragraph("The same answers under other rules; the first scores stay.")]
    for layer in layers:
        parts += [html(layer.table, caption=f"{layer.name}: {layer.rule}", by=_by(layer.table))]
        parts += [paragraph(layer.note)] if layer.note else []
    return parts


def _predicted(findings: Findings) -> list[str]:
    if findings.cells is None:
        return [
            paragraph(
                "No measurement was given, so the conditions cannot be judged. Run `python -m vlm measure` on "
                "the same model and data, and `python -m vlm report` with --measurement."
            )
        ]
    if findings.prediction is None:
        return [paragraph("No plan of this run has measured layers, so the conditions cannot be judged.")]
    chosen = findings.prediction
    s = chosen.settings
    judged = (
        f"A cell is a data set and a plan. The conditions are met when at least {1 - s.delta:g} of the vision tokens "
        f"are within {findings.t:g} in every bypassed layer after which they come back, and the visual attention ratio "
        f"of every bypassed layer is at most {s.attention_limit:g} (point estimates; {_reading(findings.cells)}). A "
        f"cell is degraded when accuracy fell by more than {s.tolerance:g}; for {s.undecided} cells the interval of "
        "the change lies on both sides of "
        "that."
    )
    return [
        paragraph(judged),
        html(_shares(chosen.confusion, "share"), caption="Conditions and what accuracy did, as shares of all cells"),
        html(_shares(chosen.rates, "value"), caption="How often the conditions were right"),
        *_ranking(chosen.ranking),
        html(chosen.licences, caption="What each criterion would have licensed, and what it cost"),
        *(
            [html(chosen.calibration, caption="Predicted damage and measured change")]
            if len(chosen.calibration)
            else []
        ),
        bullets(chosen.assumptions),
        paragraph(
            "The theory makes both conditions sufficient, up to Lipschitz factors of the frozen network; it makes "
            "neither of them necessary. So “harmless when met” is the share that tests it."
        ),
    ]


def _shares(table: Table, name: str) -> Table:
    """Shares with their two intervals in a column each; an interval of everything is none."""
    rows = []
    for row in table.rows():
        limits = {"independent cells": ("low", "high"), "whole data sets": ("units_low", "units_high")}
        ends = {label: (row.pop(low), row.pop(high)) for label, (low, high) in limits.items()}
        value, count, of = row.pop(name), row.pop("count"), row.pop("of")
        says = {key: row.pop(key) for key in ("says",) if key in row}
        cells = {
            f"share, limits for {label}": with_interval(value, *((math.nan, math.nan) if span == (0.0, 1.0) else span))
            for label, span in ends.items()
        }
        rows.append({**row, "cells": f"{count}/{of}", **cells, **says})
    return Table.from_rows(rows)


def _ranking(ranking: Table) -> list[str]:
    """How well measurements order the losses; from too few data sets nothing is known of that."""
    limited = [row for row in ranking.rows() if (row["low"], row["high"]) not in ((-1.0, 1.0), (0.0, 1.0))]
    few = len(ranking) - len(limited)
    note = f"{_count(few, 'rank statistic')} without limits, from too few or equal data sets, left to ranking.csv."
    rows = [
        {
            "predictor": row["predictor"],
            "statistic": row["statistic"],
            "value": with_interval(row["value"], row["low"], row["high"]),
            "cells": row["cells"],
            "data sets": row["units"],
            "resamples without a value": row["undefined"],
        }
        for row in limited
    ]
    table = [html(Table.from_rows(rows), caption="How well measurements order the losses")] if rows else []
    return [*table, *([paragraph(note)] if few else [])]


def _reading(cells: Table) -> str:
    """Whose attention was judged, in words."""
    return "; ".join(sorted(set(cells["reading"].tolist()))) if "reading" in cells.columns else "attention as measured"


def _named(images: Sequence[Figure], *names: str) -> list[Figure]:
    return [image for image in images if image.path.stem.startswith(names)]


def _measured(images: Sequence[Figure]) -> list[str]:
    return [heading("What was measured"), figures(images)] if images else []


def _times(times: Table) -> list[str]:
    if not len(times):
        return [paragraph("No times were recorded.")]
    note = (
        "Medians over items of a call's time divided by the items that shared it; prefill includes the vision tower. "
        "They depend on the machine and on what else it did, and are not among the tables that must agree between runs."
    )
    return [html(timing(times), caption="Seconds per item"), paragraph(note)]


def _failures(failures: Table) -> list[str]:
    """The reasons, each once with the data sets and plans that it befell."""
    if not len(failures):
        return [paragraph("Nothing: every item has a score under every plan.")]
    groups: dict[tuple[str, str], list[dict[str, object]]] = {}
    for row in failures.rows():
        groups.setdefault((row["reason"], row["kind"]), []).append(row)
    rows = [
        {
            "reason": reason,
            "kind": kind,
            "items and plans": sum(int(str(row["items"])) for row in found),
            "data sets": _some({str(row["dataset"]) for row in found}),
            "plans": _some({str(row["plan"]) for row in found}),
        }
        for (reason, kind), found in groups.items()
    ]
    rows.sort(key=lambda row: -int(str(row["items and plans"])))
    table = html(Table.from_rows(rows[:_SHOWN_FAILURES]), caption="Reasons, the most frequent first")
    more = len(rows) - _SHOWN_FAILURES
    return [table, *([paragraph(f"{more} more reasons are in failures.csv.")] if more > 0 else [])]


def _some(names: set[str]) -> str:
    """Some names, and how many more there are."""
    few = sorted(names)[:4]
    return ", ".join(few) + (f" and {len(names) - len(few)} more" if len(names) > len(few) else "")


def _divided(count: int) -> list[str]:
    if not count:
        return []
    note = (
        f"{_count(count, 'record')} were answered in a part of their batch, because the whole batch failed or did not "
        "fit in memory: the last bits of their logits may differ from those of a run where that did not happen."
    )
    return [paragraph(note)]


def _settings(spec: Spec) -> Table:
    content = spec.content()
    rows = [{"setting": name, "value": _text(value)} for name, value in content.items() if value is not None]
    return Table.from_rows(rows)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _versions(records: Sequence[Record]) -> list[str]:
    versions = sorted({json.dumps(r.get("versions"), sort_keys=True) for r in records})
    return [paragraph(f"Versions: {text}") for text in versions if text != "null"]
