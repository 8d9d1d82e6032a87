"""The merged records that reports read: merged again if workers wrote since."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from vlm.experiments.merging import damaged, merge, stale
from vlm.experiments.run_directory import StoredRun, log_paths, spec_of, stored_run
from vlm.progress_bar import records
from vlm.record_log import Record
from vlm.record_types import RunRecord
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
    RuntimeError
        They are another run's.
    """
    path = run / "merged" / f"{name}.jsonl"
    if not path.is_file():
        raise FileNotFoundError(f"report: no {path}; run `python -m vlm merge {run}` first")
    if (cut := damaged(run)) and not log_paths(run):
        raise ValueError(
            f"report: {cut} is not as it was merged; copy the run again, or merge it where its records are"
        )
    if name != "records":
        return records(path)
    stored = stored_run(run)
    return (_own(stored, record, path) for record in records(path))


def _own(stored: StoredRun, record: Record, path: Path) -> Record:
    stored.refuse_foreign(cast(RunRecord, record), path)
    return record


def layer_content(run: StoredRun, folder: Path) -> Mapping[str, Any]:
    """By which rule a layer of scores was made; a ValueError if it is damaged, a RuntimeError if another run's."""
    path = folder / "layer.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        named = {name: content[name] for name in ("protocol", "scorer", "scorers", "judge", "spec")}
        size = content.get("size")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"scores: {path} is damaged ({error}); delete {folder} and score again") from error
    if named["spec"] != run.digest:
        raise RuntimeError(
            f"scores: {folder} holds scores of another run ({named['spec']}); move it to that run's directory"
        )
    kept = folder / "records.jsonl"
    if not kept.is_file() or size not in (None, kept.stat().st_size):
        raise ValueError(f"scores: {kept} is not as it was written; delete {folder} and score again")
    return named


def layer_records(run: StoredRun, folder: Path) -> Iterable[Record]:
    """The records of a layer of scores, one at a time."""
    path = folder / "records.jsonl"
    return (_own(run, record, path) for record in records(path))


def answers(run: Path) -> AnswerColumns:
    """The merged records of a run, read once."""
    return AnswerColumns.of(merged_lines(run, "records"))
