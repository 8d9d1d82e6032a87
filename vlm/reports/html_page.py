"""One self-contained HTML page about a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from vlm.experiments.spec import Spec
from vlm.plans.plan import INDEX_CONVENTION
from vlm.reports.condition_prediction import Prediction
from vlm.reports.html_parts import document, figures, listed, paragraph
from vlm.reports.table_formats import html
from vlm.reports.timing_tables import timing
from vlm.table import Table

_SHOWN_FAILURES = 20


@dataclass(frozen=True, eq=False)
class Findings:
    """Everything that a run's report shows."""

    spec: Spec
    records: Sequence[dict[str, Any]]
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


def page(found: Findings, pictures: Sequence[tuple[Path, str]], problem: str = "") -> str:
    """The report as HTML.

    Parameters
    ----------
    pictures : sequence of (Path, str)
        PNG files and captions, taken into the page.
    problem : str
        Why there are none.
    """
    spec, confidence = found.spec, f"{found.spec.confidence:.0%}"
    names = sorted(set(found.by_set["model"].tolist()))
    body = [
        f"<h1>Skipping layers: {escape(', '.join(names))}</h1>",
        f"<p class='lead'>{escape(_lead(found))}</p>",
        *([f"<p><strong>{escape(found.partial)}</strong></p>"] if found.partial else []),
        "<h2>Task groups</h2>",
        html(found.groups),
        paragraph(
            f"Accuracy is the mean over a group's data sets, each counting the same. Every interval holds with "
            f"{confidence} by itself; it counts images, not questions: questions about one image are not independent. "
            "It supposes that no image, drawn or not, has more questions than the one with most among those drawn. "
            "“Change” is the paired difference to no skip on the same items."
        ),
        figures(_those(pictures, "accuracy", "cost")),
        *([paragraph(problem)] if problem else []),
        "<h2>Every data set and plan</h2>",
        html(found.results),
        paragraph(
            "Distance and P(d ≤ t) are those of vision tokens in the layer at the plan's boundary: the last one "
            "bypassed by late entry, the first one by early exit. VAR is the largest visual attention ratio of the "
            "bypassed layers. Unparsed answers count as wrong; failed and unjudged items are not scored."
        ),
        paragraph(INDEX_CONVENTION),
        "<h2>Did the conditions predict it?</h2>",
        *_predicted(found),
        figures(_those(pictures, "prediction")),
        *_measured(_those(pictures, "redundancy", "attention")),
        "<h2>Time</h2>",
        *_times(found.times),
        "<h2>What was not scored</h2>",
        *_failures(found.failures),
        *_divided(found.divided),
        "<h2>How it was made</h2>",
        html(_settings(spec)),
        *_versions(found.records),
    ]
    return document(f"skipit: {', '.join(names)}", body)


def _lead(found: Findings) -> str:
    full = found.by_set.where(kind="none")
    plans = len(set(found.by_set["plan"].tolist()) - {"none"})
    sentences = [
        f"{_count(plans, 'skip plan')} on {_count(int(full['items'].sum()), 'item')} about "
        f"{_count(int(full['images'].sum()), 'image')} from {_count(len(full), 'data set')}, protocol "
        f"{found.spec.protocol}."
    ]
    if plans:
        sentences.append(_best(found))
    if found.prediction is not None:
        met, cells = next(found.prediction.rates.rows()), len(found.prediction.cells)
        harmless = f"; accuracy fell by at most {found.tolerance:g} in {met['count']} of these" if met["of"] else ""
        sentences.append(
            f"The conditions were met in {met['of'] or 'none'} of {_count(cells, 'cell')} of data set and plan"
            f"{harmless}."
        )
    return " ".join(sentences)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _best(found: Findings) -> str:
    """The cheapest plan that is harmless in every group by its interval's lower end."""
    groups = len(set(found.by_group["group"].tolist()))
    safe = []
    for plan in dict.fromkeys(found.by_group["plan"].tolist()):
        rows = found.by_group.where(plan=plan)
        if rows["kind"][0] != "none" and len(rows) == groups and (rows["change_low"] >= -found.tolerance).all():
            safe.append((float(rows["operations_ratio"].mean()), plan))
    if not safe:
        return (
            f"No plan's loss of accuracy is below {found.tolerance:g} in every task group by the lower end of its "
            "interval; more images may narrow the intervals."
        )
    ratio, plan = min(safe)
    saved = "" if ratio != ratio else f", with {1 - ratio:.1%} of the decoder's prompt operations saved"
    return (
        f"{len(safe)} plans lose at most {found.tolerance:g} in every task group by the lower end of the interval; "
        f"the cheapest is {plan}{saved}. It was chosen among these results, so confirm it on other images."
    )


def _predicted(found: Findings) -> list[str]:
    if found.cells is None:
        return [
            paragraph(
                "No measurement was given, so nothing can be said about the conditions. Run `python -m vlm measure` on "
                "the same model and data, and `python -m vlm report` with --measurement."
            )
        ]
    if found.prediction is None:
        return [paragraph("No plan of this run has layers that were measured: nothing can be said.")]
    chosen = found.prediction
    s = chosen.settings
    judged = (
        f"A cell is a data set and a plan. The conditions are met when at least {1 - s['delta']:g} of the vision "
        f"tokens are within {found.t:g} in every bypassed layer after which they come back, and the visual attention "
        f"ratio of every bypassed layer is at most {s['attention_limit']:g} (point estimates). A cell is degraded when "
        f"accuracy fell by more than {s['tolerance']:g}; for {s['undecided']} cells the interval of the change lies on "
        "both sides of that."
    )
    return [
        paragraph(judged),
        html(chosen.confusion),
        html(chosen.rates),
        html(chosen.ranking),
        listed(chosen.assumptions),
        paragraph(
            "The theory makes both conditions sufficient, up to Lipschitz factors of the frozen network; it makes "
            "neither of them necessary. So “harmless when met” is the share that tests it."
        ),
    ]


def _those(pictures: Sequence[tuple[Path, str]], *names: str) -> list[tuple[Path, str]]:
    return [(path, caption) for path, caption in pictures if path.stem.startswith(names)]


def _measured(pictures: Sequence[tuple[Path, str]]) -> list[str]:
    return ["<h2>What was measured</h2>", figures(pictures)] if pictures else []


def _times(times: Table) -> list[str]:
    if not len(times):
        return [paragraph("No times were recorded.")]
    note = (
        "Medians over items of a call's time divided by the items that shared it; prefill includes the vision tower. "
        "They depend on the machine and on what else it did, and are no part of the tables that runs must agree on."
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
        f"{_count(count, 'record')} come from parts of batches, which had no room or failed as a whole: the "
        "last bits of their logits may be others than in a run where that did not happen."
    )
    return [paragraph(note)]


def _settings(spec: Spec) -> Table:
    content = spec.content()
    rows = [{"setting": name, "value": _text(value)} for name, value in content.items() if value is not None]
    return Table.from_rows(rows)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _versions(records: Sequence[dict[str, Any]]) -> list[str]:
    told = sorted({json.dumps(r.get("versions"), sort_keys=True) for r in records})
    return [paragraph(f"Versions: {text}") for text in told if text != "null"]
