"""A merged run for other programs: records as one flat table, and numbers as a file that experiment trackers read."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from redundancy.optional_imports import optional_import
from vlm.atomic_files import write_atomically, writing, writing_bytes
from vlm.experiments.run_directory import stored_run
from vlm.reports.accuracy_table import summary
from vlm.reports.merged_records import answers, merge_again, merged_lines
from vlm.table import Table, plain_cell

_CHUNK = 20_000  # rows in memory at a time
# Column to the kind of its cells; nested values of a record become columns of their own.
COLUMNS: Mapping[str, str] = {
    **dict.fromkeys(("model", "group", "dataset", "item", "item_digest", "image_id", "plan", "plan_digest"), "string"),
    **dict.fromkeys(("protocol", "spec", "prediction", "parsed", "thought", "failure"), "string"),
    **dict.fromkeys(("judge_status", "judge_reason"), "string"),
    **dict.fromkeys(("score", "label_mass", "operations_plan", "operations_full"), "double"),
    **dict.fromkeys(("vision_tokens", "text_tokens", "new_tokens"), "int64"),
}


def flat_records(run_directory: str | Path) -> Iterator[dict[str, Any]]:
    """The merged records of a sweep, each as one row of `COLUMNS`; None for what a record does not have."""
    run = Path(run_directory)
    stored_run(run)
    merge_again(run)
    for record in merged_lines(run, "records"):
        judge, tokens, operations = (record.get(name) or {} for name in ("judge", "tokens", "operations"))
        letters = record.get("letter_probabilities")
        row = {name: record.get(name) for name in COLUMNS}
        row |= {f"{name}_tokens": tokens.get(name) for name in ("vision", "text", "new")}
        row |= {"operations_plan": operations.get("plan"), "operations_full": operations.get("full")}
        row |= {"judge_status": judge.get("status"), "judge_reason": judge.get("reason")}
        yield {**row, "label_mass": None if letters is None else float(sum(letters))}


def write_records(run_directory: str | Path, path: str | Path) -> Path:
    """Write the merged records as one flat table, a few thousand rows at a time; returns the path.

    Parameters
    ----------
    run_directory : str or Path
        Of a merged sweep.
    path : str or Path
        Ends in .parquet (needs pyarrow, of the extra `data`) or .csv.
    """
    stored_run(run_directory)
    path, rows = Path(path), flat_records(run_directory)
    if path.suffix == ".csv":
        with writing(path) as text:
            writer = csv.writer(text)
            writer.writerow(COLUMNS)
            while chunk := list(islice(rows, _CHUNK)):
                writer.writerows(_safe(chunk))
        return path
    if path.suffix != ".parquet":
        raise ValueError(f"path: expected an ending .parquet or .csv, got {path.name!r}")
    names = ("pyarrow", "pyarrow.parquet")
    arrow, parquet = (optional_import(name, extra="data", purpose="records as Parquet") for name in names)
    schema = arrow.schema(
        [(name, getattr(arrow, kind.replace("double", "float64"))()) for name, kind in COLUMNS.items()]
    )
    with writing_bytes(path) as file, parquet.ParquetWriter(file, schema) as out:
        while chunk := list(islice(rows, _CHUNK)):
            out.write_table(arrow.Table.from_pylist(chunk, schema=schema))
    return path


def _safe(rows: list[dict[str, Any]]) -> Iterator[list[Any]]:
    return ([plain_cell(cell) for cell in row.values()] for row in rows)


def record_table(run_directory: str | Path) -> Table:
    """The merged records as a table in memory, one row per item and plan: ``record_table(run).frame()`` for pandas.

    Parameters
    ----------
    run_directory : str or Path
        Of a merged sweep.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from vlm import read_spec, sweep
    >>> from vlm.experiments.merging import merge
    >>> from vlm.reports.exports import record_table
    >>> spec = read_spec(data=["tiny"], limit=3, early_exit=[8])
    >>> with TemporaryDirectory() as folder:
    ...     run = sweep(spec, folder, progress=False)
    ...     _ = merge(run)
    ...     table = record_table(run)
    >>> len(table), table["plan"].tolist()[:2], table["score"].tolist()[:2]
    (6, ['none', 'vision:8-'], [1.0, 1.0])
    """
    return Table.from_rows(list(flat_records(run_directory)))


def metrics(run_directory: str | Path) -> dict[str, Any]:
    """A run's settings and numbers as flat JSON: `config` and `summary`, keys joined by "/".

    ``summary["gqa/vision:0-4/accuracy"]`` is a number; every column of the summary that is one is there.
    """
    run = stored_run(run_directory)
    table = summary(answers(run.folder), confidence=run.spec.confidence)
    numbers = {
        f"{row['dataset']}/{row['plan']}/{name}": value
        for row in table.rows()
        for name, value in row.items()
        if isinstance(value, (int, float)) and name != "layer" and value == value
    }
    config = {**run.spec.content(), "versions": run.made_with}
    return {"run": run.digest, "config": config, "summary": numbers}


def write_metrics(run_directory: str | Path, out: str | Path) -> Path:
    """Write :func:`metrics` as `metrics.json` into a folder; returns the path."""
    return write_atomically(
        Path(out) / "metrics.json", json.dumps(metrics(run_directory), indent=1, sort_keys=True) + "\n"
    )
