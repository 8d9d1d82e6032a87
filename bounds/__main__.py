"""Command line: `python -m bounds verify` hunts for counterexamples, `python -m bounds list` states."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from bounds.theorems.catalogue import THEOREMS
from bounds.verification.verify import Verdict, bar, verify

EXAMPLES = """examples:
  python -m bounds verify                        every statement, 2000 random worlds each, and a search
  python -m bounds verify --quick                the same with a light hand, in seconds
  python -m bounds verify --only fano --json     statements whose name contains "fano", as JSON
  python -m bounds table > docs/theory/statements.md
  python -m bounds list --only information       what they say, in LaTeX
  python -m bounds coverage --runs 200           how often the intervals of bounds.confidence miss, simulated
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bounds", epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("verify", help="hunt for a counterexample to every statement")
    check.add_argument("--instances", type=int, default=2000, help="random worlds per statement (2000)")
    check.add_argument("--seed", type=int, default=0, help="seed of all draws (0)")
    check.add_argument("--only", action="append", help="part of a name; may be repeated")
    check.add_argument("--quick", action="store_true", help="60 worlds and a short search per statement")
    check.add_argument("--jobs", type=int, help="processes (one per core)")
    check.add_argument("--json", action="store_true", help="print an array of objects")
    listing = commands.add_parser("list", help="state every theorem (needs sympy)")
    listing.add_argument("--only", action="append", help="part of a name; may be repeated")
    commands.add_parser("table", help="docs/theory/statements.md, generated (needs sympy)")
    _add_coverage(commands)
    options = parser.parse_args(arguments)
    if options.command == "coverage":
        return _coverage(options)
    if options.command == "table":
        from bounds.theorems.catalogue_table import statement_table

        print(statement_table(), end="")
        return 0
    chosen = [t for t in THEOREMS if not options.only or any(part in t.name for part in options.only)]
    if not chosen:
        parser.error(f"--only: expected part of a statement's name, got {options.only}; see `list`")
    if options.command == "list":
        for theorem in chosen:
            print(f"{theorem.name}\n  {theorem.label} {theorem.equation}\n  {theorem.latex}")
        return 0
    if options.instances < 1:
        parser.error(f"--instances: expected at least 1, got {options.instances}")
    verdicts = verify(
        chosen,
        instances=min(options.instances, 60) if options.quick else options.instances,
        effort=0.08 if options.quick else 1.0,
        seed=options.seed,
        jobs=options.jobs,
        progress=bar,
    )
    print(json.dumps([asdict(v) for v in verdicts], indent=1) if options.json else table(verdicts))
    return 0 if all(v.holds for v in verdicts) else 1


def _add_coverage(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The grammar of `coverage`."""
    study = commands.add_parser("coverage", help="simulate miscoverage and width of all confidence intervals")
    study.add_argument("--runs", type=int, default=2000, help="samples for each cell (2000)")
    study.add_argument("--write", type=Path, metavar="PAGE", help="Markdown page whose generated part is replaced")


def _coverage(options: argparse.Namespace) -> int:
    """Run `coverage`; the exit status says whether all intervals cover."""
    from bounds.verification.coverage import run_command

    try:
        return run_command(options.runs, options.write)
    except (ValueError, FileNotFoundError) as error:
        print(f"python -m bounds coverage: error: {error}", file=sys.stderr)
        return 2


def table(verdicts: list[Verdict]) -> str:
    """The verdicts as text: worst smaller side / larger side of each statement."""
    width = max(len(v.name) for v in verdicts)
    lines = [f"{'statement':{width}}  instances    random    search     tight  label"]
    for v in verdicts:
        ratios = "".join("         -" if r is None else f"{r:10.6f}" for r in (v.random, v.search, v.tight))
        mark = "" if v.holds else "  EXCEEDS 1"
        lines.append(f"{v.name:{width}}  {v.instances:9d}{ratios}  {v.label}{mark}")
    bad = [v.name for v in verdicts if not v.holds]
    verdict = f"counterexamples: {', '.join(bad)}" if bad else "no counterexample (nothing above 1 + 1e-7)"
    return "\n".join([*lines, f"{len(verdicts)} statements: {verdict}"])


if __name__ == "__main__":
    sys.exit(main())
