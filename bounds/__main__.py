"""Command line: `python -m bounds list` states the theorems, `verify` searches for counterexamples to them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from redundancy.version import __version__

if TYPE_CHECKING:
    from bounds.framework.theorem import AnyTheorem
    from bounds.verification.verify import Verdict

EXAMPLES = """examples:
  python -m bounds list "Theorem 4"              all forms of Theorem 4, in LaTeX
  python -m bounds list                          every statement, as the paper's table of contents
  python -m bounds verify --quick                60 random worlds and a short search per statement, in a minute
  python -m bounds verify                        every statement, 2000 random worlds each, and a long search
  python -m bounds verify --only fano --json     statements whose name contains "fano", as JSON
  python -m bounds table > docs/explanation/theory/statements.md
  python -m bounds coverage --runs 200           how often the intervals of bounds.confidence miss, simulated
"""
VERIFY_EXAMPLES = """examples:
  python -m bounds verify --quick --jobs 1
  python -m bounds verify --only "Theorem 4" --only "(8.8)"
  python -m bounds verify --only fano --instances 10000 --seed 1 --json > fano.json

exit status: 0 if every statement holds, 1 if one has a counterexample, 2 for a wrong command line
"""
LIST_EXAMPLES = """examples:
  python -m bounds list
  python -m bounds list "Theorem 4" fano
  python -m bounds list "(8.8)" --json
"""
QUERY = 'part of a name (fano), label ("Theorem 4") or equation ("(8.8)")'


def parser() -> argparse.ArgumentParser:
    """The command line's grammar; building it imports no theorem."""
    raw = argparse.RawDescriptionHelpFormatter
    main_parser = argparse.ArgumentParser(
        prog="python -m bounds",
        description="State the theorems and search for counterexamples to them.",
        epilog=EXAMPLES,
        formatter_class=raw,
    )
    main_parser.add_argument("--version", action="version", version=f"skipit {__version__}")
    commands = main_parser.add_subparsers(dest="command", required=True, metavar="list | verify | table | coverage")
    listing = commands.add_parser("list", help="state theorems in LaTeX", epilog=LIST_EXAMPLES, formatter_class=raw)
    listing.add_argument("queries", nargs="*", metavar="QUERY", help=f"{QUERY}; all theorems if left out")
    listing.add_argument("--only", action="append", default=[], metavar="QUERY", help="the same; may be repeated")
    listing.add_argument("--json", action="store_true", help="print an array of objects")
    check = commands.add_parser(
        "verify", help="search for a counterexample to every statement", epilog=VERIFY_EXAMPLES, formatter_class=raw
    )
    check.add_argument("--instances", type=int, default=2000, help="random worlds per statement (2000)")
    check.add_argument("--seed", type=int, default=0, help="seed of all random draws (0)")
    check.add_argument("--only", action="append", default=[], metavar="QUERY", help=f"{QUERY}; may be repeated")
    check.add_argument("--quick", action="store_true", help="60 worlds and a short search per statement")
    check.add_argument("--jobs", type=int, help="processes (one per core)")
    check.add_argument("--json", action="store_true", help="print an array of objects")
    commands.add_parser(
        "table",
        help="print docs/explanation/theory/statements.md",
        epilog="example: python -m bounds table > docs/explanation/theory/statements.md",
        formatter_class=raw,
    )
    _add_coverage(commands)
    return main_parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    grammar = parser()
    options = grammar.parse_args(arguments)
    if options.command == "coverage":
        return _coverage(options)
    if options.command == "table":
        from bounds.theorems.catalogue_table import statement_table

        print(statement_table(), end="")
        return 0
    try:
        if options.command == "list":
            return _list([*options.queries, *options.only], as_json=options.json)
        return _verify(options)
    except ValueError as error:
        grammar.exit(2, f"{grammar.prog}: error: {error}\n")


def _chosen(queries: Sequence[str]) -> list[AnyTheorem]:
    from bounds.theorems.catalogue import THEOREMS, find

    if not queries:
        return list(THEOREMS)
    names = {t.name for query in queries for t in find(query)}
    return [t for t in THEOREMS if t.name in names]


def _list(queries: Sequence[str], *, as_json: bool) -> int:
    theorems = _chosen(queries)
    if as_json:
        print(json.dumps([t.to_dict() for t in theorems], indent=1))
    else:
        print("\n".join(f"{t.label} {t.equation}  bounds.{t.name}\n  {t.latex}" for t in theorems))
    return 0


def _verify(options: argparse.Namespace) -> int:
    from bounds.verification.time_left import bar
    from bounds.verification.verify import verify

    verdicts = verify(
        _chosen(options.only),
        instances=min(options.instances, 60) if options.quick else options.instances,
        effort=0.08 if options.quick else 1.0,
        seed=options.seed,
        jobs=options.jobs,
        progress=bar(),
    )
    print(json.dumps([v.to_dict() for v in verdicts], indent=1) if options.json else table(verdicts))
    return 0 if all(v.holds for v in verdicts) else 1


def _add_coverage(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The grammar of `coverage`."""
    study = commands.add_parser(
        "coverage",
        help="simulate miscoverage and width of all confidence intervals",
        epilog="example: python -m bounds coverage --runs 200",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
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


def table(verdicts: Sequence[Verdict]) -> str:
    """The verdicts as text: largest smaller side / larger side of each statement."""
    width = max(len(v.name) for v in verdicts)
    lines = [f"{'statement':{width}}  instances    random    search     tight  label"]
    for v in verdicts:
        ratios = "".join("         -" if r is None else f"{r:10.6f}" for r in (v.random, v.search, v.tight))
        mark = "" if v.holds else "  EXCEEDS 1"
        lines.append(f"{v.name:{width}}  {v.instances:9d}{ratios}  {v.label}{mark}")
    false = [v.name for v in verdicts if not v.holds]
    summary = f"counterexamples: {', '.join(false)}" if false else "no counterexample (nothing above 1 + 1e-7)"
    return "\n".join([*lines, f"{len(verdicts)} statements: {summary}"])


if __name__ == "__main__":
    sys.exit(main())
