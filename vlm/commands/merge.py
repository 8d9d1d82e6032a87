"""``skipit merge``: all workers' records in one file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vlm.commands.arguments import Commands, HelpFormatter, print_written

if TYPE_CHECKING:
    from vlm.table import Table


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "merge",
        help="merge all workers' records into one file, and print its table",
        formatter_class=HelpFormatter,
        epilog="example: python -m vlm merge runs/0123456789ab",
    )
    parser.add_argument("run_directory", metavar="RUN", help="directory printed by `sweep` or `measure`")
    parser.add_argument("--partial", action="store_true", help="accept an unfinished run")
    parser.set_defaults(run=_merge)


def _merge(options: argparse.Namespace) -> int:
    return merge_records(Path(options.run_directory), partial=options.partial)


def merge_records(folder: Path, *, partial: bool) -> int:
    """Merge a run or a measurement and print its table; returns the exit status."""
    from vlm.experiments.measurement_tables import write_tables
    from vlm.experiments.run_directory import spec_of

    if folder.resolve().name.startswith("measure-"):
        return print_written(write_tables(folder, confidence=spec_of(folder).confidence, partial=partial))
    from vlm.reports.accuracy_table import doubts
    from vlm.reports.merged_records import summarised

    written, table = summarised(folder, partial=partial)
    print(table.fitted())
    for doubt in doubts(table):
        print(f"note: {doubt}")
    print_written(written)
    return refuse_nothing_scored(table, folder)


def refuse_nothing_scored(table: Table, folder: Path) -> int:
    """The exit status: 1, with a line that says so, where a run has no score at all."""
    if not len(table) or table["scored"].any():
        return 0
    reasons = failures_of(folder)
    print(f"error: nothing could be scored in {folder}; the first reason: {reasons}", file=sys.stderr)
    return 1


def failures_of(folder: Path) -> str:
    """The most frequent reason why items of a merged run have no score."""
    from vlm.progress_bar import records
    from vlm.reports.accuracy_table import failures

    table = failures(records(folder / "merged" / "records.jsonl"))
    return str(table["reason"][0]) if len(table) else "unknown"
