"""The merged records that reports read: made again when workers have written since, and only what tables need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vlm.experiments.merging import merge, stale
from vlm.experiments.run_directory import spec_of
from vlm.record_log import Record, read
from vlm.reports.accuracy_table import NEEDED, summary
from vlm.table import Table


def summarised(run: Path, *, partial: bool = False) -> tuple[list[Path], Table]:
    """Merge a sweep and write `merged/summary.csv`: what was written, and that table."""
    written = merge(run, partial=partial)
    table = summary(light(read(written[0])), confidence=spec_of(run).confidence)
    return [*written, table.save(run / "merged" / "summary.csv")], table


def merge_again(run: Path) -> None:
    """Bring the merged records up to date, if workers have written since."""
    if stale(run):
        summarised(run, partial=True)


def merged_lines(run: Path, name: str) -> Iterable[Record]:
    """The lines of `merged/records.jsonl` or `merged/times.jsonl`.

    Raises
    ------
    FileNotFoundError
        Nothing was merged.
    """
    path = run / "merged" / f"{name}.jsonl"
    if not path.is_file():
        raise FileNotFoundError(f"report: no {path}; run `python -m vlm merge {run}` first")
    return read(path)


def light(records: Iterable[Record]) -> list[Record]:
    """What tables need of records, equal values in memory once: there may be millions."""
    known: dict[str, Any] = {}
    kept = (*NEEDED, "operations", "versions")
    return [
        {name: known.setdefault(repr(r[name]), r[name]) for name in kept if name in r} for r in map(_short, records)
    ]


def _short(record: Record) -> Mapping[str, Any]:
    """Without a judge's own words."""
    return {**record, "judge": {**record["judge"], "raw": ""}} if record.get("judge") else record
