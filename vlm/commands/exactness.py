"""``skipit exactness``: skipping against a masked reference, family by family."""

from __future__ import annotations

import argparse
from pathlib import Path

from vlm.commands.arguments import Commands, HelpFormatter


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "exactness",
        help="how exactly skipping agrees with a masked reference, family by family, with the installed transformers",
        formatter_class=HelpFormatter,
        epilog="example: python -m vlm exactness --family llava gemma3 (random models; needs no checkpoint)",
    )
    parser.add_argument("--family", nargs="+", metavar="NAME", help="only these families; default: all")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table as a Markdown page")
    parser.set_defaults(run=_exactness)


def _exactness(options: argparse.Namespace) -> int:
    from vlm.engine.exactness import run

    return run(options.family or (), options.markdown)
