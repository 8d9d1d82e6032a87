"""A run's report on disk: tables in three formats, figures, and one page that shows all of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from vlm.atomic_files import write_whole
from vlm.experiments.measurement_tables import write_tables
from vlm.experiments.merging import coverage, stale
from vlm.experiments.run_directory import same_model, spec_of
from vlm.reports.accuracy_table import failures, summary
from vlm.reports.condition_prediction import prediction
from vlm.reports.condition_table import condition_cells
from vlm.reports.html_page import Findings, page
from vlm.reports.merged_records import light, merge_again, merged_lines
from vlm.reports.plots import plot_attention, plot_redundancy, plot_sweep, require_matplotlib, save_figures
from vlm.reports.results_table import results
from vlm.reports.run_figures import plot_cost, plot_prediction
from vlm.reports.table_formats import latex, markdown
from vlm.reports.timing_tables import divided, times, timing
from vlm.table import Table

_T = 0.05


def write(
    run_directory: str | Path,
    out: str | Path,
    *,
    measurement: str | Path | None = None,
    tolerance: float = 0.02,
    t: float | None = None,
) -> list[Path]:
    """Write the report of a run: of all that its workers have written, merged again if they wrote since.

    Of an unfinished run the page and the tables say which part they show. The tables other than `times.*` depend on
    the records alone: they are the same bytes for the same records.

    Parameters
    ----------
    run_directory : str or Path
        Made by `python -m vlm sweep` and `merge`.
    out : str or Path
        Folder for the report.
    measurement : str or Path, optional
        Made by `python -m vlm measure`: what the conditions are judged by. Without it the report says nothing about
        conditions.
    tolerance : float
        Loss of accuracy that still counts as harmless.
    t : float, optional
        Cosine distance up to which states are close: a threshold that was measured. By default the spec's
        threshold next to 0.05.

    Returns
    -------
    list of Path
        What was written: CSV, Markdown and LaTeX tables, figures, index.html. Without matplotlib there are no
        figures, and the page says why.

    Raises
    ------
    FileNotFoundError
        The run is not merged, or the measurement lacks its tables.
    ValueError
        Records that are not those of a sweep, a threshold that was not measured, a measurement of other weights.
    """
    run, out = Path(run_directory), Path(out)
    spec = spec_of(run)
    t = min(spec.thresholds, key=lambda known: abs(known - _T)) if t is None else t
    merge_again(run)
    records = light(merged_lines(run, "records"))
    if measurement is not None and not same_model(run, measurement):
        raise ValueError(
            f"measurement: {measurement} was made with other weights than {run}, under the same name; measure again "
            "with another --out, and give that directory as --measurement"
        )
    measured = None if measurement is None else _measurement(Path(measurement), spec.confidence)
    by_set, by_group = (summary(records, confidence=spec.confidence, by=by) for by in ("dataset", "group"))
    cells, group_cells = (
        None if measured is None else condition_cells(table, *measured, t=t) for table in (by_set, by_group)
    )
    found = None if cells is None else _predicted(cells, tolerance, spec.confidence)
    kept = Findings(
        spec=spec,
        records=records,
        by_set=by_set,
        by_group=by_group,
        results=results(by_set, cells, t=t),
        groups=results(by_group, group_cells, t=t),
        times=times(records, merged_lines(run, "times")),
        divided=divided(merged_lines(run, "times")),
        cells=cells,
        prediction=found,
        failures=failures(records),
        tolerance=tolerance,
        t=t,
        partial=_partial(run, measurement),
    )
    written = [table.save(out / f"{name}.csv") for name, table in _tables(kept).items()]
    texts = {"results": kept.results, "groups": kept.groups, "times": timing(kept.times)}
    captions = {"results": "Every data set and plan", "groups": "Task groups", "times": "Seconds per item"}
    for name, table in texts.items():
        note, caption = (
            (f"\n{kept.partial}\n", f"{captions[name]} ({kept.partial})") if kept.partial else ("", captions[name])
        )
        written.append(write_whole(out / f"{name}.md", markdown(table) + note))
        written.append(write_whole(out / f"{name}.tex", latex(table, caption=caption, label=f"tab:{name}")))
    problem = ""
    figures: list[tuple[Path, str]] = []
    try:
        require_matplotlib()
    except ImportError as error:
        problem = str(error)
    else:
        drawings = _drawings(kept, measured)
        paths = save_figures({name: draw for name, (draw, _) in drawings.items()}, out)
        figures = [(path, drawings[path.stem][1]) for path in paths]
    written += [path for path, _ in figures]
    return [*written, write_whole(out / "index.html", page(kept, figures, problem))]


def _measurement(folder: Path, confidence: float) -> tuple[Table, Table]:
    if stale(folder):
        write_tables(folder, confidence=confidence, partial=True)
    for name in ("redundancy", "attention"):
        if not (folder / f"{name}.csv").is_file():
            raise FileNotFoundError(
                f"report: no {name}.csv in {folder}; expected a directory made by `python -m vlm measure`, which "
                "prints its name"
            )
    return Table.load(folder / "redundancy.csv"), Table.load(folder / "attention.csv")


def _partial(run: Path, measurement: str | Path | None) -> str:
    """What is not whole, in words; "" if all is."""
    found = {"": coverage(run), "measurement ": "" if measurement is None else coverage(measurement)}
    return "; ".join(name + part for name, part in found.items() if part)


def _predicted(cells: Table, tolerance: float, confidence: float) -> Any:
    judged = len(cells) and not all(all(cells[name] != cells[name]) for name in ("closeness", "attention"))
    return prediction(cells, tolerance=tolerance, confidence=confidence) if judged else None


def _tables(found: Findings) -> dict[str, Table]:
    """Numbers in full, for programs."""
    tables = {"results": found.by_set, "groups": found.by_group, "times": found.times, "failures": found.failures}
    if found.cells is not None and len(found.cells):
        tables["conditions"] = found.cells
    if found.prediction is not None:
        tables["verdicts"] = found.prediction.cells
        tables["confusion"] = found.prediction.confusion
        tables["rates"] = found.prediction.rates
        tables["ranking"] = found.prediction.ranking
    return tables


def _drawings(found: Findings, measured: tuple[Table, Table] | None) -> dict[str, tuple[Callable[[Any], None], str]]:
    """Figure name to what draws it, and its caption."""
    drawings: dict[str, tuple[Callable[[Any], None], str]] = {}
    depth = None
    if measured is not None:
        redundancy, attention = (_over_everything(table) for table in measured)
        depth = int(attention["layer"].max()) + 1
        drawings["redundancy"] = (
            partial(plot_redundancy, record=redundancy, t=found.t),
            "Mean cosine distance between a layer's input and output, and the fraction of tokens within "
            f"{found.t:g}, over all data sets.",
        )
        drawings["attention"] = (
            partial(plot_attention, record=attention, limit=0.1),
            "Share of the asking token's attention that falls on the image (VAR), over all data sets.",
        )
    groups = list(dict.fromkeys(found.by_group["group"].tolist()))
    for number, group in enumerate(groups, 1):
        rows = found.by_group.where(group=group)
        kinds = set(rows["kind"].tolist())
        if "none" not in kinds or not kinds & {"late entry", "early exit"}:
            continue
        drawings[f"accuracy_{number}"] = (
            partial(plot_sweep, sweep=rows, depth=depth),
            f"{group}: accuracy against the layer at which vision tokens enter or leave.",
        )
        seconds = _mean_times(found.times.where(group=group)) if len(found.times) else None
        drawings[f"cost_{number}"] = (
            partial(plot_cost, summary=rows, times=seconds),
            f"{group}: decoder operations and prefill time against the same layers.",
        )
    if found.prediction is not None:
        chosen = found.prediction
        means = {
            "closeness": "smallest P(d ≤ t) of the layers that late entry bypasses; early exits have none",
            "attention": "largest VAR of the bypassed layers",
        }
        for predictor, meaning in means.items():
            if (chosen.cells[predictor] == chosen.cells[predictor]).any():
                drawings[f"prediction_{predictor}"] = (
                    partial(plot_prediction, found=chosen, by="dataset", predictor=predictor),
                    f"Condition ({predictor}: {meaning}) against change of accuracy, one point per data set and "
                    "plan. In the shaded corner the condition holds and accuracy fell by more than the tolerance all "
                    "the same.",
                )
    return drawings


def _over_everything(table: Table) -> Table:
    total = table.where(group="all", dataset="all")
    return total if len(total) else table


def _mean_times(times: Table) -> Table:
    """One row per plan: the mean over data sets."""
    plans = dict.fromkeys(times["plan"].tolist())
    rows = [{"plan": p, "prefill_ratio": float(times.where(plan=p)["prefill_ratio"].mean())} for p in plans]
    return Table.from_rows(rows)
