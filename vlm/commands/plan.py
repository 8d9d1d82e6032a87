"""``skipit plan``: the plan that the conditions allow, from a measurement."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from vlm.commands.arguments import Commands, HelpFormatter, print_written

if TYPE_CHECKING:
    from vlm.decisions.conditions import Decision
    from vlm.decisions.four_regimes import Regimes


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "plan",
        help="late entry and early exit that the conditions allow, from a measurement",
        formatter_class=HelpFormatter,
        epilog="example: python -m vlm plan runs/measure-0123456789ab --t 0.05 --attention-limit 0.1",
    )
    parser.add_argument("measurement", help="directory printed by `measure`")
    parser.add_argument("--group", help="one task group or data set only")
    parser.add_argument("--t", type=float, default=0.05, help="cosine distance up to which states are close")
    parser.add_argument("--delta", type=float, default=0.05, help="fraction of vision tokens that may be far")
    parser.add_argument(
        "--attention-limit", type=float, default=0.1, help="visual attention ratio up to which attention is small"
    )
    parser.add_argument(
        "--tokens", choices=("all", "answer"), default="all", help="text tokens whose attention must be small"
    )
    parser.add_argument(
        "--heads",
        choices=("largest", "mean"),
        default="largest",
        help="of the largest head or their mean (the paper: --tokens answer --heads mean)",
    )
    parser.add_argument("--accumulated", action="store_true", help="judge by the distance from state 0")
    parser.add_argument("--confidence", type=float, default=0.95, help="of all intervals together")
    parser.add_argument("--regimes", action="store_true", help="remove, freeze, exit or keep, layer by layer")
    parser.add_argument("--partial", action="store_true", help="accept an unfinished measurement")
    parser.add_argument("--out", help="CSV file for the table of layers")
    parser.set_defaults(run=_plan)


def _plan(options: argparse.Namespace) -> int:
    from vlm.decisions.stored_measurement import decided
    from vlm.plans.plan import INDEX_CONVENTION

    decision = decided(
        options.measurement,
        task_group=options.group,
        partial=options.partial,
        t=options.t,
        delta=options.delta,
        attention_limit=options.attention_limit,
        tokens=options.tokens,
        heads=options.heads,
        accumulated=options.accumulated,
        confidence=options.confidence,
    )
    outcome: Decision | Regimes = decision
    if options.regimes:
        from vlm.decisions.four_regimes import regimes

        outcome = regimes(decision)
    print(INDEX_CONVENTION + "\n")
    for line in outcome.reasons():
        print(line)
    print(f"\nimages: {outcome.settings['images']}\njudged: {decision.reading}\nplan by the conditions: {outcome.plan}")
    return print_written([outcome.layers.save(options.out)] if options.out else [])
