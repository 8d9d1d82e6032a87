"""Command line: `python -m vlm demo`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m vlm",
        description="Measure redundancy of a vision-language model's layers, plan, skip, validate.",
        epilog="example: python -m vlm demo --out runs/demo",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser(
        "demo",
        help="the whole loop on the embedded model",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        epilog="writes CSV tables, figures, index.html and report.json into --out",
    )
    demo.add_argument("--model", default="tiny", choices=["tiny", "tiny-plain", "tiny-scaled"])
    demo.add_argument("--out", default="runs/demo", help="folder for the results")
    demo.add_argument("--questions", type=_positive, default=1000, help="questions to measure on, and to validate on")
    demo.add_argument("--seed", type=int, default=0, help="chooses the pictures")
    demo.add_argument("--quiet", action="store_true", help="no progress bars")
    given = parser.parse_args(arguments)
    return _demo(given)


def _demo(given: argparse.Namespace) -> int:
    from vlm.demo import run_demo
    from vlm.plots import require_matplotlib
    from vlm.report import save

    require_matplotlib()  # before the work, not after it
    outcome = run_demo(given.model, limit=given.questions, seed=given.seed, progress=not given.quiet)
    for path in save(outcome, given.out):
        print(f"wrote {path}")
    return 0


def _positive(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number >= 1, got {text!r}")
    return number


if __name__ == "__main__":
    sys.exit(main())
