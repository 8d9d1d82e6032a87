"""The merged records that reports read: merged again if workers wrote since."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from vlm.experiments.merging import merge, stale
from vlm.experiments.run_directory import spec_of
from vlm.progress_bar import records
from vlm.record_log import Record
from vlm.reports.accuracy_table import summary
from vlm.reports.answer_columns import AnswerColumns
from vlm.table import Table


def summarised(run: Path, *, partial: bool = False) -> tuple[list[Path], Table]:
    """Merge a sweep and write `merged/summary.csv`; the paths written, and that table."""
    written = merge(run, partial=partial)
    table = summary(records(written[0]), confidence=spec_of(run).confidence)
    return [*written, table.save(run / "merged" / "summary.csv")], table


def merge_again(run: Path) -> None:
    """Merge again if workers have written since the last merge."""
    if stale(run):
        summarised(run, partial=True)


def merged_lines(run: Path, name: str) -> Iterable[Record]:
    """The lines of `merged/records.jsonl` or `merged/times.jsonl`.

    Raises
    ------
    FileNotFoundError
        The run was not merged.
    """
    path = run / "merged" / f"{name}.jsonl"
    if not path.is_file():
        raise FileNotFoundError(f"report: no {path}; run `python -m vlm merge {run}` first")
    return records(path)


def answers(run: Path) -> AnswerColumns:
    """The merged records of a run, read once."""
    return AnswerColumns.of(merged_lines(run, "records"))
