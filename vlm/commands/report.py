"""``skipit report``: tables, figures and one page of a run."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from vlm.commands.arguments import Commands, HelpFormatter, print_written


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "report",
        help="tables, figures and one HTML page of a merged run",
        formatter_class=HelpFormatter,
        epilog="example: python -m vlm report runs/0123456789ab --tolerance 0.02",
    )
    parser.add_argument("run_directory", metavar="RUN", help="directory printed by `sweep`, merged")
    parser.add_argument("--measurement", help="directory printed by `measure`; default: the one beside RUN")
    parser.add_argument(
        "--notions", metavar="FOLDER", help="written by `notions`: what the layers share, on the page too"
    )
    parser.add_argument("--out", help="folder for the report; default: RUN/report")
    parser.add_argument("--tolerance", type=float, default=0.02, help="loss of accuracy that counts as none")
    parser.add_argument(
        "--t", type=float, help="measured cosine distance up to which states are close; default: the nearest to 0.05"
    )
    parser.add_argument(
        "--damage",
        choices=("surrogate", "measured"),
        help="load the model, predict each plan's damage on 32 prompts of each data set, show it beside the losses; "
        "measured: without gradients, for quantised models",
    )
    parser.add_argument("--questions", action="store_true", help="a page of every question too; reads the data again")
    parser.set_defaults(run=_report)


def _report(options: argparse.Namespace) -> int:
    from vlm.experiments.run_directory import spec_of
    from vlm.reports import write
    from vlm.reports.merged_records import answers
    from vlm.reports.writer import of_pictures

    folder = Path(options.run_directory)
    beside = folder.resolve().parent / spec_of(folder).measurement
    measurement = options.measurement or (beside if beside.is_dir() else None)
    if measurement is beside and not of_pictures(beside):
        print(f"note: {beside} has no prompt with a picture, so the conditions are not judged")
        measurement = None
    sections: list[str] = []
    if options.notions:
        from vlm.notions.profile_page import written_section
        from vlm.reports.html_parts import heading

        _check_notions(options.notions, folder)
        sections = [heading("What two layers share"), *written_section(options.notions)]
    settings = {
        "measurement": measurement,
        "tolerance": options.tolerance,
        "t": options.t,
        "sections": sections,
        "questions": options.questions,
    }
    if options.damage:
        from vlm.experiments.predicted_damage import run_damage

        if measurement is None:
            raise ValueError(f"--damage: expected a measurement beside {folder}; make one with `python -m vlm measure`")
        settings["damage"] = run_damage(folder, method=options.damage)
    print_written(write(folder, options.out or folder / "report", **settings))
    scored = any(columns.scored for columns in answers(folder).sets.values())
    if not scored:
        print(f"error: nothing could be scored in {folder}; the page lists the reasons", file=sys.stderr)
    return 0 if scored else 1


def _check_notions(notions: str, run: Path) -> None:
    """Refuse a profile of other weights than those of the run, and say where a profile does not name its own."""
    from vlm.experiments.run_directory import stored_run
    from vlm.notions.profile_page import read_profile

    theirs, ours = read_profile(notions).settings.get("model"), stored_run(run).made_with.get("model")
    if theirs is None:
        print(f"note: {notions} does not say which weights it is about")
    elif ours is not None and theirs != ours:
        raise ValueError(
            f"--notions: expected a profile of the weights of {run} ({ours}), got one of others ({theirs}); measure it "
            "again with `python -m vlm notions`"
        )
