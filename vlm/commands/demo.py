"""``skipit demo``: the whole loop on the embedded model."""

from __future__ import annotations

import argparse

from vlm.commands.arguments import Commands, HelpFormatter, positive, print_written


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    demo = commands.add_parser(
        "demo",
        help="the whole loop on the embedded model",
        formatter_class=HelpFormatter,
        epilog="example: python -m vlm demo --out runs/demo (writes tables, figures, index.html and report.json there)",
    )
    demo.add_argument(
        "--model", default="tiny", choices=["tiny", "tiny-plain", "tiny-scaled", "tiny-priced", "tiny-late"]
    )
    demo.add_argument("--out", default="runs/demo", help="folder for the results")
    demo.add_argument("--questions", type=positive, default=1000, help="questions to measure on, and to validate on")
    demo.add_argument("--seed", type=int, default=0, help="seed of the images and questions")
    demo.add_argument("--quiet", action="store_true", help="no progress bars")
    demo.set_defaults(run=_demo)


def _demo(options: argparse.Namespace) -> int:
    from vlm.demo.loop import run_demo
    from vlm.demo.page import save
    from vlm.reports.plots import require_matplotlib

    require_matplotlib()  # before the work, not after it
    outcome = run_demo(options.model, limit=options.questions, seed=options.seed, progress=not options.quiet)
    return print_written(save(outcome, options.out))
