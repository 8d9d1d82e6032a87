"""One self-contained HTML page about a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from vlm.experiments.spec import Spec
from vlm.plans.plan import INDEX_CONVENTION
from vlm.record_log import Record
from vlm.reports.accuracy_table import doubts
from vlm.reports.condition_prediction import Prediction
from vlm.reports.html_parts import Figure, bullets, document, figures, paragraph
from vlm.reports.table_formats import html
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


def page(findings: Findings, images: Sequence[Figure], problem: str = "", sections: Sequence[str] = ()) -> str:
    """The report as HTML.

    Parameters
    ----------
    images : sequence of Figure
        PNG files, embedded in the page, and their captions.
    problem : str
        Why there are no figures; "" if there are.
    sections : sequence of str
        HTML that follows the measurements.
    """
    spec, confidence = findings.spec, f"{findings.spec.confidence:.0%}"
    names = sorted(set(findings.by_set["model"].tolist()))
    body = [
        f"<h1>Skipping layers: {escape(', '.join(names))}</h1>",
        f"<p class='lead'>{escape(_lead(findings))}</p>",
        *([f"<p><strong>{escape(findings.partial)}</strong></p>"] if findings.partial else []),
        *([bullets(found)] if (found := doubts(findings.by_set)) else []),
        "<h2>Task groups</h2>",
        html(findings.groups),
        paragraph(
            f"Accuracy is the mean over a group's data sets, each counting the same. Every interval holds with "
            f"{confidence} by itself; it counts images, not questions: questions about one image are not independent. "
            "It assumes that no image in the population has more questions than the largest number in this sample. "
            "“Change” is the paired difference to no skip on the same items."
        ),
        figures(_named(images, "accuracy", "cost")),
        *([paragraph(problem)] if problem else []),
        "<h2>Every data set and plan</h2>",
        html(findings.results),
        paragraph(
            "Distance and P(d ≤ t) are those of vision tokens in the layer at the plan's boundary: the last one "
            "bypassed by late entry, the first one by early exit. VAR is the largest visual attention ratio of the "
            "bypassed layers. Unparsed answers count as wrong; failed and unjudged items are not scored."
        ),
        paragraph(INDEX_CONVENTION),
        "<h2>Did the conditions predict it?</h2>",
        *_predicted(findings),
        figures(_named(images, "prediction")),
        *_measured(_named(images, "redundancy", "attention")),
        *sections,
        "<h2>Time</h2>",
        *_times(findings.times),
        "<h2>What was not scored</h2>",
        *_failures(findings.failures),
        *_divided(findings.divided),
        "<h2>How it was made</h2>",
        html(_settings(spec)),
        *_versions(findings.records),
    ]
    return document(f"skipit: {', '.join(names)}", body)


def _lead(findings: Findings) -> str:
    full = findings.by_set.where(kind="none")
    plans = len(set(findings.by_set["plan"].tolist()) - {"none"})
    sentences = [
        f"{_count(plans, 'skip plan')} on {_count(int(full['items'].sum()), 'item')} about "
        f"{_count(int(full['images'].sum()), 'image')} from {_count(len(full), 'data set')}, protocol "
        f"{findings.spec.protocol}."
    ]
    if plans:
        sentences.append(_best(findings))
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


def _best(findings: Findings) -> str:
    """The cheapest plan whose interval shows it harmless in every task group."""
    groups = len(set(findings.by_group["group"].tolist()))
    safe = []
    for plan in dict.fromkeys(findings.by_group["plan"].tolist()):
        rows = findings.by_group.where(plan=plan)
        if rows["kind"][0] != "none" and len(rows) == groups and (rows["change_low"] >= -findings.tolerance).all():
            safe.append((float(rows["operations_ratio"].mean()), plan))
    if not safe:
        return (
            f"No plan's loss of accuracy is below {findings.tolerance:g} in every task group by the lower end of its "
            "interval; more images may narrow the intervals."
        )
    ratio, plan = min(safe)
    saved = "" if ratio != ratio else f", with {1 - ratio:.1%} of the decoder's prompt operations saved"
    return (
        f"{len(safe)} plans lose at most {findings.tolerance:g} in every task group by the lower end of the interval; "
        f"the cheapest is {plan}{saved}. It was chosen among these results, so confirm it on other images."
    )


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
        html(chosen.confusion),
        html(chosen.rates),
        html(chosen.ranking),
        paragraph("What each criterion would have licensed, and what it cost:"),
        html(chosen.licences),
        *([html(chosen.calibration)] if len(chosen.calibration) else []),
        bullets(chosen.assumptions),
        paragraph(
            "The theory makes both conditions sufficient, up to Lipschitz factors of the frozen network; it makes "
            "neither of them necessary. So “harmless when met” is the share that tests it."
        ),
    ]


def _reading(cells: Table) -> str:
    """Whose attention was judged, in words."""
    return "; ".join(sorted(set(cells["reading"].tolist()))) if "reading" in cells.columns else "attention as measured"


def _named(images: Sequence[Figure], *names: str) -> list[Figure]:
    return [image for image in images if image.path.stem.startswith(names)]


def _measured(images: Sequence[Figure]) -> list[str]:
    return ["<h2>What was measured</h2>", figures(images)] if images else []


def _times(times: Table) -> list[str]:
    if not len(times):
        return [paragraph("No times were recorded.")]
    note = (
        "Medians over items of a call's time divided by the items that shared it; prefill includes the vision tower. "
        "They depend on the machine and on what else it did, and are not among the tables that must agree between runs."
    )
    return [html(timing(times)), paragraph(note)]


def _failures(failures: Table) -> list[str]:
    if not len(failures):
        return [paragraph("Nothing: every item has a score under every plan.")]
    first = Table({name: values[:_SHOWN_FAILURES] for name, values in failures.columns.items()})
    more = len(failures) - len(first)
    return [html(first), *([paragraph(f"{more} more kinds are in failures.csv.")] if more else [])]


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
