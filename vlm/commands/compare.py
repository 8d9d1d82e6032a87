"""``skipit compare``: paired differences between runs, plans and layers of scores."""

from __future__ import annotations

import argparse

from vlm.commands.arguments import Commands, HelpFormatter, print_written


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "compare",
        help="paired differences of accuracy between two runs or between plans, with certificates that hold together",
        formatter_class=HelpFormatter,
        epilog="examples:\n  python -m vlm compare runs/0123456789ab runs/ba9876543210\n"
        '  python -m vlm compare runs/0123456789ab --plans "vision:0-4" "vision:0-8" --reference none\n'
        "  python -m vlm compare runs/0123456789ab runs/0123456789ab/scores/exact-4-abcdef",
    )
    parser.add_argument("first", metavar="RUN", help="directory of a sweep, or of a layer of scores in it")
    parser.add_argument("second", metavar="RUN", nargs="?", help="another one; without it plans of the first")
    parser.add_argument("--plans", nargs="+", metavar="PLAN", help="only these plans")
    parser.add_argument("--reference", default="none", metavar="PLAN", help="within one run; default: none")
    parser.add_argument("--confidence", type=float, help="of all intervals together; default: that of the first run")
    parser.add_argument("--partial", action="store_true", help="accept unfinished runs")
    parser.add_argument("--out", help="CSV file for the table")
    parser.set_defaults(run=_compare)


def _compare(options: argparse.Namespace) -> int:
    from vlm.reports.run_comparison import compare

    comparison = compare(
        options.first,
        options.second,
        plans=options.plans,
        reference=options.reference,
        confidence=options.confidence,
        partial=options.partial,
    )
    print(comparison.table.fitted())
    print()
    for sentence in (*comparison.guarantees, *(f"note: {note}" for note in comparison.notes)):
        print(sentence)
    return print_written([comparison.table.save(options.out)] if options.out else [])
