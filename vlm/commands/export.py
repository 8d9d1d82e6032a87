"""``skipit export``: a run's records and numbers for other programs."""

from __future__ import annotations

import argparse
from pathlib import Path

from vlm.commands.arguments import Commands, HelpFormatter, print_written


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "export",
        help="a merged run as one flat table (Parquet or CSV) and as metrics for experiment trackers",
        formatter_class=HelpFormatter,
        epilog="example: python -m vlm export runs/0123456789ab (writes into RUN/export)",
    )
    parser.add_argument("run_directory", metavar="RUN", help="directory printed by `sweep` or `measure`, merged")
    parser.add_argument("--format", choices=("parquet", "csv"), default="parquet", help="of the records")
    parser.add_argument("--out", help="folder; default: RUN/export")
    parser.set_defaults(run=_export)


def _export(options: argparse.Namespace) -> int:
    from vlm.experiments.merging import coverage
    from vlm.reports.exports import write_metrics, write_records

    folder = Path(options.run_directory)
    out = Path(options.out) if options.out else folder / "export"
    written = [write_records(folder, out / f"records.{options.format}"), write_metrics(folder, out)]
    if part := coverage(folder):
        print(f"note: {part}")
    return print_written(written)
