"""``skipit score``: kept answers scored again, without a model."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from vlm.commands.arguments import Commands, HelpFormatter, print_written


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "score",
        help="score a run's kept answers again by another rule, protocol or judge; needs no model",
        formatter_class=HelpFormatter,
        epilog="examples:\n  python -m vlm score runs/0123456789ab --scorer exact\n"
        "  python -m vlm score runs/0123456789ab --judge chat:gpt-5\n\n"
        "The scores become a layer in RUN/scores, beside those of the run.",
    )
    parser.add_argument("run_directory", metavar="RUN", help="directory printed by `sweep`")
    parser.add_argument("--protocol", help="take its scorers; default: the run's, in their present version")
    parser.add_argument(
        "--scorer", help="one scorer for every generated answer; `python -m vlm list scorers` names them"
    )
    parser.add_argument("--judge", help='"rule", "chat:MODEL", "composite:MODEL" or "recorded:FILE"')
    parser.add_argument("--judge-timeout", type=float, help="seconds that a chat judge is given; default: the spec's")
    parser.add_argument("--partial", action="store_true", help="accept an unfinished run")
    parser.set_defaults(run=_score)


def _score(options: argparse.Namespace) -> int:
    from vlm.experiments.run_directory import spec_of
    from vlm.experiments.score_layers import rescore
    from vlm.progress_bar import records
    from vlm.reports.accuracy_table import doubts, summary

    folder = Path(options.run_directory)
    layer = rescore(
        folder,
        protocol=options.protocol,
        scorer=options.scorer,
        judge=options.judge,
        judge_options={} if options.judge_timeout is None else {"timeout": options.judge_timeout},
        partial=options.partial,
    )
    table = summary(records(layer / "records.jsonl"), confidence=spec_of(folder).confidence)
    print(table.fitted())
    for doubt in doubts(table):
        print(f"note: {doubt}")
    print(f"scores: {layer}; compare them with `python -m vlm compare {folder} {layer}`")
    print_written([layer / "records.jsonl", table.save(layer / "summary.csv")])
    if not table["scored"].any():
        print(f"error: nothing could be scored in {layer}", file=sys.stderr)
        return 1
    return 0
