"""Writes a run's report: tables in three formats, figures, and one page that shows all of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from redundancy import checks
from vlm.atomic_files import write_atomically
from vlm.experiments.item_identity import refuse_other_items
from vlm.experiments.measurement_tables import write_tables
from vlm.experiments.merging import coverage, stale
from vlm.experiments.run_directory import log_paths, same_model, spec_of, stored_run
from vlm.measure.attention_reading import TextTokens
from vlm.measure.damage_record import Damage
from vlm.reports.accuracy_table import failures, summary
from vlm.reports.calibration_plot import plot_calibration
from vlm.reports.condition_prediction import Prediction, prediction
from vlm.reports.condition_table import condition_cells
from vlm.reports.html_page import Findings, page
from vlm.reports.html_parts import Figure
from vlm.reports.merged_records import answers, merge_again, merged_lines
from vlm.reports.plots import plot_attention, plot_redundancy, plot_sweep, require_matplotlib, save_figures
from vlm.reports.question_viewer import write_questions
from vlm.reports.results_table import results
from vlm.reports.run_figures import plot_cost, plot_prediction
from vlm.reports.score_layer_tables import score_layers
from vlm.reports.table_formats import latex, markdown
from vlm.reports.timing_tables import circumstances, times, timing
from vlm.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_T = 0.05


def write(
    run_directory: str | Path,
    out: str | Path,
    *,
    measurement: str | Path | None = None,
    tolerance: float = 0.02,
    t: float | None = None,
    sections: Sequence[str] = (),
    damage: Damage | None = None,
    questions: bool = False,
) -> list[Path]:
    """Write the report of a run: tables, figures and one HTML page.

    Records that workers wrote since the last merge are merged first. For an unfinished run, the page and the tables
    say which part they show. The tables other than `times.*` depend on the records alone: equal records give equal
    bytes.

    Parameters
    ----------
    run_directory : str or Path
        Made by `python -m vlm sweep` and `merge`.
    out : str or Path
        Folder for the report.
    measurement : str or Path, optional
        Directory made by `python -m vlm measure`, by which the conditions are judged. Without it the report does not
        judge them.
    tolerance : float
        Largest loss of accuracy that counts as harmless.
    t : float, optional
        Cosine distance up to which states are close; one of the thresholds that were measured. By default the
        spec's threshold closest to 0.05.
    sections : sequence of str
        More of the page, as HTML, such as `vlm.notions.profile_page.written_section` gives.
    damage : Damage, optional
        Of removing image tokens, from :func:`vlm.damage` on the run's model: it is shown beside the measured losses,
        with a calibration curve. Needs `measurement`.
    questions : bool
        Write a viewer of every question too, into the folder `questions`: pictures, the answers under each plan, their
        scores and why. The data are read again for it.

    Returns
    -------
    list of Path
        The files written: CSV, Markdown and LaTeX tables, figures, index.html. Without matplotlib there are no
        figures, and the page says why.

    Raises
    ------
    FileNotFoundError
        The run is not merged, or the measurement lacks its tables.
    ValueError
        Records that are not those of a sweep, a threshold that was not measured, a measurement of other weights;
        a damage without a measurement.

    See Also
    --------
    results, timing, prediction : The tables that it writes.
    vlm.sweep : Makes the run.

    Examples
    --------
    >>> import json, pathlib, tempfile
    >>> from vlm.experiments.spec import DataChoice, Spec
    >>> from vlm.reports import write
    >>> spec = Spec(model="tiny", data=(DataChoice("gqa", limit=1),), plans=("none",))
    >>> record = {"dataset": "gqa", "group": "General VQA", "model": "tiny", "plan": "none", "item": "1"}
    >>> record |= {"image_id": "a", "parsed": "yes", "score": 1.0, "failure": None, "judge": None, "tokens": None}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = pathlib.Path(folder, "run")
    ...     (run / "merged").mkdir(parents=True)
    ...     _ = (run / "spec.json").write_text(json.dumps({"content": spec.content(), "versions": {}}))
    ...     _ = (run / "merged" / "records.jsonl").write_text(json.dumps(record) + "\\n")
    ...     _ = (run / "merged" / "times.jsonl").write_text("")
    ...     [path.name for path in write(run, pathlib.Path(folder, "report")) if path.suffix in (".csv", ".html")]
    ['results.csv', 'groups.csv', 'times.csv', 'failures.csv', 'index.html']
    """
    run, out = Path(run_directory), Path(out)
    checks.probability(tolerance, name="tolerance")
    if damage is not None and measurement is None:
        raise ValueError("damage: expected a measurement beside it, whose conditions it is compared with; got none")
    findings, measured = _findings(
        run, None if measurement is None else Path(measurement), tolerance=tolerance, t=t, damage=damage
    )
    viewer = [write_questions(run, out / "questions")] if questions else []
    written = [table.save(out / f"{name}.csv") for name, table in _tables(findings).items()]
    written += _written_for_readers(findings, out)
    figures, problem = _figures(findings, measured, out)
    written += [figure.path for figure in figures]
    linked = "questions/index.html" if viewer else ""
    text = page(findings, figures, problem, sections=sections, viewer=linked)
    return [*written, *viewer, write_atomically(out / "index.html", text)]


class MeasurementTables(NamedTuple):
    """The tables of a measurement: one row per task group, data set, layer (and modality)."""

    redundancy: Table
    attention: Table


class Drawing(NamedTuple):
    """A function that draws a figure on its axes, and the caption."""

    draw: Callable[[Axes], None]
    caption: str


def _findings(
    run: Path, measurement: Path | None, *, tolerance: float, t: float | None, damage: Damage | None
) -> tuple[Findings, MeasurementTables | None]:
    spec = spec_of(run)
    t = min(spec.thresholds, key=lambda threshold: abs(threshold - _T)) if t is None else t
    if measurement is not None and not same_model(run, measurement):
        raise ValueError(
            f"measurement: {measurement} was made with other weights than {run}, under the same name; measure again "
            "with another --out, and give that directory as --measurement"
        )
    merge_again(run)
    records = answers(run)
    if measurement is not None and (measurement / "spec.json").is_file():
        refuse_other_items(stored_run(run), stored_run(measurement))
    measured = None if measurement is None else _measurement(measurement, spec.confidence)
    by_set, by_group = (summary(records, confidence=spec.confidence, by=by) for by in ("dataset", "group"))
    # A measurement of an earlier version knows the answer token alone; the page then says that it was judged by it.
    tokens: TextTokens = "all" if measured is None or "largest" in measured.attention.columns else "answer"
    cells, group_cells = (
        None if measured is None else condition_cells(table, *measured, t=t, tokens=tokens, damage=damage)
        for table in (by_set, by_group)
    )
    made = circumstances(merged_lines(run, "times"))
    logs = log_paths(run) or [run / "merged" / "records.jsonl"]
    last = datetime.fromtimestamp(max(path.stat().st_mtime for path in logs), UTC)
    findings = Findings(
        spec=spec,
        records=[{"versions": json.loads(text)} for text in records.versions],
        by_set=by_set,
        by_group=by_group,
        results=results(by_set, cells, t=t),
        groups=results(by_group, group_cells, t=t),
        times=times(records, merged_lines(run, "times")),
        divided=made.divided,
        layers=score_layers(run, records, by_set, confidence=spec.confidence),
        run=str(run),
        made={
            "Written": "",
            "Last answer": f"{last:%Y-%m-%d %H:%M} UTC",
            "Device": ", ".join(made.devices) or "not recorded",
        },
        cells=cells,
        prediction=None if cells is None else _predicted(cells, tolerance, spec.confidence),
        failures=failures(records),
        tolerance=tolerance,
        t=t,
        partial=_partial(run, measurement),
    )
    return findings, measured


def _written_for_readers(findings: Findings, out: Path) -> list[Path]:
    """The tables for readers as Markdown and LaTeX, which name the part of an unfinished run that they show."""
    tables = {
        "results": (findings.results, "Every data set and plan"),
        "groups": (findings.groups, "Task groups"),
        "times": (timing(findings.times), "Seconds per item"),
    }
    note, suffix = (f"\n{findings.partial}\n", f" ({findings.partial})") if findings.partial else ("", "")
    written = []
    for name, (table, caption) in tables.items():
        written.append(write_atomically(out / f"{name}.md", markdown(table) + note))
        written.append(
            write_atomically(out / f"{name}.tex", latex(table, caption=caption + suffix, label=f"tab:{name}"))
        )
    return written


def _figures(findings: Findings, measured: MeasurementTables | None, out: Path) -> tuple[list[Figure], str]:
    """The figures, saved; and without matplotlib the reason why there are none."""
    try:
        require_matplotlib()
    except ImportError as error:
        return [], str(error)
    drawings = _drawings(findings, measured)
    paths = save_figures({name: drawing.draw for name, drawing in drawings.items()}, out)
    return [Figure(path, drawings[path.stem].caption) for path in paths], ""


def _measurement(folder: Path, confidence: float) -> MeasurementTables:
    if stale(folder):
        write_tables(folder, confidence=confidence, partial=True)
    for name in ("redundancy", "attention"):
        if not (folder / f"{name}.csv").is_file():
            raise FileNotFoundError(
                f"report: no {name}.csv in {folder}; expected a directory made by `python -m vlm measure`, which "
                "prints its name"
            )
    tables = MeasurementTables(Table.load(folder / "redundancy.csv"), Table.load(folder / "attention.csv"))
    if not all(map(len, tables)):
        raise ValueError(
            f"measurement: {folder} has no prompt with a picture, and the conditions are about pictures; write the "
            "report without it"
        )
    return tables


def of_pictures(measurement: str | Path) -> bool:
    """Whether a measurement has a prompt with a picture, so that it says something about the conditions."""
    path = Path(measurement) / "attention.csv"
    return not path.is_file() or len(Table.load(path)) > 0


def _partial(run: Path, measurement: Path | None) -> str:
    """The coverage of an unfinished run or measurement in words; "" if both are finished."""
    parts = {"": coverage(run), "measurement ": "" if measurement is None else coverage(measurement)}
    return "; ".join(name + part for name, part in parts.items() if part)


def _predicted(cells: Table, tolerance: float, confidence: float) -> Prediction | None:
    judged = len(cells) and not all(all(cells[name] != cells[name]) for name in ("closeness", "attention"))
    return prediction(cells, tolerance=tolerance, confidence=confidence) if judged else None


def _tables(findings: Findings) -> dict[str, Table]:
    """The tables for programs, with all digits."""
    tables = {
        "results": findings.by_set,
        "groups": findings.by_group,
        "times": findings.times,
        "failures": findings.failures,
    }
    if findings.cells is not None and len(findings.cells):
        tables["conditions"] = findings.cells
    if findings.prediction is not None:
        tables["licences"] = findings.prediction.licences
        if len(findings.prediction.calibration):
            tables["calibration"] = findings.prediction.calibration
        tables["verdicts"] = findings.prediction.cells
        tables["confusion"] = findings.prediction.confusion
        tables["rates"] = findings.prediction.rates
        tables["ranking"] = findings.prediction.ranking
    return tables


def _drawings(findings: Findings, measured: MeasurementTables | None) -> dict[str, Drawing]:
    """The drawings by the name of their file."""
    drawings: dict[str, Drawing] = {}
    depth = None
    if measured is not None:
        redundancy, attention = (_over_everything(table) for table in measured)
        depth = int(attention["layer"].max()) + 1
        drawings["redundancy"] = Drawing(
            partial(plot_redundancy, record=redundancy, t=findings.t),
            "Mean cosine distance between a layer's input and output, and the fraction of tokens within "
            f"{findings.t:g}, over all data sets.",
        )
        drawings["attention"] = Drawing(
            partial(plot_attention, record=attention, limit=0.1),
            "Share of attention on the image (VAR) of the last prompt token and, where it was measured, the largest of "
            "all text tokens and heads, over all data sets.",
        )
    groups = list(dict.fromkeys(findings.by_group["group"].tolist()))
    for number, group in enumerate(groups, 1):
        rows = findings.by_group.where(group=group)
        kinds = set(rows["kind"].tolist())
        if "none" not in kinds or not kinds & {"late entry", "early exit"}:
            continue
        drawings[f"accuracy_{number}"] = Drawing(
            partial(plot_sweep, sweep=rows, depth=depth),
            f"{group}: accuracy against the layer at which vision tokens enter or leave.",
        )
        seconds = _mean_times(findings.times.where(group=group)) if len(findings.times) else None
        drawings[f"cost_{number}"] = Drawing(
            partial(plot_cost, summary=rows, times=seconds),
            f"{group}: decoder operations and prefill time against the same layers.",
        )
    if findings.prediction is not None:
        chosen = findings.prediction
        if len(chosen.calibration):
            drawings["prediction_damage"] = Drawing(
                partial(plot_calibration, prediction=chosen),
                "Predicted damage of removing image tokens against the loss of accuracy, one point per data set and "
                "plan, and the means of groups of growing damage. It orders plans and certifies none.",
            )
        meanings: dict[Literal["closeness", "attention"], str] = {
            "closeness": "smallest P(d ≤ t) of the layers that late entry bypasses; early exits have none",
            "attention": "largest VAR of the bypassed layers",
        }
        for predictor, meaning in meanings.items():
            if (chosen.cells[predictor] == chosen.cells[predictor]).any():
                drawings[f"prediction_{predictor}"] = Drawing(
                    partial(plot_prediction, prediction=chosen, by="dataset", predictor=predictor),
                    f"Condition ({predictor}: {meaning}) against change of accuracy, one point per data set and "
                    "plan. In the shaded corner the condition holds and accuracy fell by more than the tolerance all "
                    "the same.",
                )
    return drawings


def _over_everything(table: Table) -> Table:
    total = table.where(group="all", dataset="all")
    return total if len(total) else table


def _mean_times(times: Table) -> Table:
    """The mean over data sets, in one row per plan."""
    plans = dict.fromkeys(times["plan"].tolist())
    rows = [{"plan": p, "prefill_ratio": float(times.where(plan=p)["prefill_ratio"].mean())} for p in plans]
    return Table.from_rows(rows)
