"""``skipit merge``: all workers' records in one file."""

from __future__ import annotations

import argparse
from pathlib import Path

from vlm.commands.arguments import Commands, HelpFormatter, print_written


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
    from vlm.reports.merged_records import summarised

    written, table = summarised(folder, partial=partial)
    print(table.text())
    return print_written(written)
