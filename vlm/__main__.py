"""The command line: ``skipit`` or ``python -m vlm``.

Each command imports what it needs when it runs, so that ``--help`` and mistyped flags answer at once.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

_PACKAGES = Path(__file__).resolve().parents[1]
_EXPERIMENT = """examples:
  python -m vlm {name} --model tiny --data tiny --limit 200{plans} --out runs
  python -m vlm {name} experiment.toml --out runs
  python -m vlm {name} experiment.toml --out runs --shard 2/8
  torchrun --nproc-per-node 8 -m vlm {name} experiment.toml --out runs

Killed or crashed: start the same command again. Flags replace what the file says. docs/running.md has
recipes for clusters."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog=_program(),
        description="Measure redundancy of a vision-language model's layers, plan, skip, validate.",
        epilog="example: python -m vlm demo --out runs/demo",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and stop")
    commands = parser.add_subparsers(dest="command", required=True)
    _add_demo(commands)
    _add_experiment(commands, "measure", "redundancy and attention of every layer; needs no labels", _measure)
    _add_plan(commands)
    _add_experiment(commands, "sweep", "accuracy under every plan on every data set", _sweep)
    _add_merge(commands)
    _add_report(commands)
    _add_exactness(commands)
    given = parser.parse_args(arguments)
    try:
        status: int = given.run(given)
    except KeyboardInterrupt:
        print("stopped; completed records are kept, and the same command continues", file=sys.stderr)
        return 130
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        if not _ours(error):
            traceback.print_exc()
        print(f"{_program()} {given.command}: error: {error}", file=sys.stderr)
        return 1
    return status


class _Version(argparse.Action):
    """Print the version; the number is read only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from vlm.version import __version__

        print(f"skipit {__version__}")
        parser.exit()


def _program() -> str:
    """The name under which the program was called."""
    return "skipit" if Path(sys.argv[0]).stem == "skipit" else "python -m vlm"


def _demo(given: argparse.Namespace) -> int:
    from vlm.demo.loop import run_demo
    from vlm.demo.page import save
    from vlm.reports.plots import require_matplotlib

    require_matplotlib()  # before the work, not after it
    outcome = run_demo(given.model, limit=given.questions, seed=given.seed, progress=not given.quiet)
    return _wrote(save(outcome, given.out))


def _measure(given: argparse.Namespace) -> int:
    from vlm.experiments.measure_run import measure_run
    from vlm.experiments.measurement_tables import write_tables

    spec, how = _spec(given), _how(given)
    folder = measure_run(spec, given.out, **how)
    print(f"measurement: {folder}")
    if how["part"].count > 1:
        return _later(folder)
    return _wrote(write_tables(folder, confidence=spec.confidence))


def _plan(given: argparse.Namespace) -> int:
    from vlm.experiments.measurement_tables import decided
    from vlm.plans.plan import INDEX_CONVENTION

    found: Any = decided(
        given.measurement,
        task_group=given.group,
        partial=given.partial,
        t=given.t,
        delta=given.delta,
        attention_limit=given.attention_limit,
        accumulated=given.accumulated,
        confidence=given.confidence,
    )
    if given.regimes:
        from vlm.decisions.four_regimes import regimes

        found = regimes(found)
    print(INDEX_CONVENTION + "\n")
    for line in found.reasons():
        print(line)
    print(f"\nimages: {found.settings['images']}\nplan by the conditions: {found.plan}")
    return _wrote([found.layers.save(given.out)] if given.out else [])


def _sweep(given: argparse.Namespace) -> int:
    from vlm.experiments.sweep_run import sweep

    spec, how = _spec(given), _how(given)
    folder = sweep(spec, given.out, **how)
    print(f"run: {folder}")
    if how["part"].count > 1:
        return _later(folder)
    return _merged(folder, partial=False)


def _merge(given: argparse.Namespace) -> int:
    return _merged(Path(given.run_directory), partial=given.partial)


def _merged(folder: Path, *, partial: bool) -> int:
    from vlm.experiments.measurement_tables import write_tables
    from vlm.experiments.run_directory import spec_of

    if folder.resolve().name.startswith("measure-"):
        return _wrote(write_tables(folder, confidence=spec_of(folder).confidence, partial=partial))
    from vlm.reports.merged_records import summarised

    written, table = summarised(folder, partial=partial)
    print(table.text())
    return _wrote(written)


def _report(given: argparse.Namespace) -> int:
    from vlm.experiments.run_directory import spec_of
    from vlm.reports import write

    folder = Path(given.run_directory)
    beside = folder.resolve().parent / spec_of(folder).measurement
    measurement = given.measurement or (beside if beside.is_dir() else None)
    settings = {"measurement": measurement, "tolerance": given.tolerance, "t": given.t}
    return _wrote(write(folder, given.out or folder / "report", **settings))


def _spec(given: argparse.Namespace) -> Any:
    from vlm.experiments.spec import read_spec

    names = ("model", "revision", "dtype", "attention", "protocol", "judge", "batch_size", "seed", "confidence")
    flags = {name: getattr(given, name, None) for name in (*names, "plans", "late_entry", "early_exit", "limit")}
    data = None if given.data is None else [_data(text) for text in given.data]
    return read_spec(given.spec, **flags, data=data)


def _data(text: str) -> dict[str, str]:
    """NAME, NAME=SOURCE or LABEL:NAME=SOURCE."""
    head, _, source = text.partition("=")
    label, colon, name = head.rpartition(":")
    if not source and (name == "jsonl" or text.endswith(".jsonl")):
        own = text if text.endswith(".jsonl") else "mine.jsonl"
        raise ValueError(f"--data: a file of your own is jsonl={own}, or with a name mine:jsonl={own}; got {text!r}")
    return {"name": name} | ({"source": source} if source else {}) | ({"label": label} if colon else {})


def _how(given: argparse.Namespace) -> dict[str, Any]:
    from vlm.experiments.shards import shard

    return {
        "part": shard(given.shard),
        "device": given.device,
        "device_map": given.device_map,
        "retry_failed": given.retry_failed,
        "progress": not given.quiet,
    }


def _wrote(paths: Sequence[Path]) -> int:
    for path in paths:
        print(f"wrote {path}")
    return 0


def _later(folder: Path) -> int:
    print(f"this part is done; when all are: python -m vlm merge {folder}")
    return 0


def _add_demo(commands: Any) -> None:
    demo = commands.add_parser(
        "demo",
        help="the whole loop on the embedded model",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        epilog="example: python -m vlm demo --out runs/demo (writes tables, figures, index.html and report.json there)",
    )
    demo.add_argument("--model", default="tiny", choices=["tiny", "tiny-plain", "tiny-scaled"])
    demo.add_argument("--out", default="runs/demo", help="folder for the results")
    demo.add_argument("--questions", type=_positive, default=1000, help="questions to measure on, and to validate on")
    demo.add_argument("--seed", type=int, default=0, help="chooses the pictures")
    demo.add_argument("--quiet", action="store_true", help="no progress bars")
    demo.set_defaults(run=_demo)


def _add_experiment(commands: Any, name: str, text: str, run: Callable[[argparse.Namespace], int]) -> None:
    plans = " --late-entry 2 4 --early-exit 6 8" if name == "sweep" else ""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_EXPERIMENT.format(name=name, plans=plans),
    )
    parser.set_defaults(run=run)
    what = parser.add_argument_group("what is computed (names the directory)")
    what.add_argument("spec", nargs="?", help="TOML file; the flags below replace what it says")
    what.add_argument("--model", help="tiny, a folder or a hub id; default: tiny")
    what.add_argument("--revision", help="branch, tag or commit on the hub")
    what.add_argument("--dtype", help="float32, bfloat16, ...; default: the checkpoint's own")
    what.add_argument("--attention", help="sdpa, eager or flash_attention_2, ...; default: sdpa")
    what.add_argument("--data", nargs="+", metavar="DATA", help="NAME, NAME=SOURCE or LABEL:NAME=SOURCE")
    what.add_argument("--limit", type=_positive, help="items of each data set, drawn with its seed")
    what.add_argument("--protocol", help="skip-it or lmms-eval; default: skip-it")
    what.add_argument("--batch-size", type=_positive, help="items per call; default: 8")
    what.add_argument("--seed", type=int, help="set before every call; default: 0")
    if name == "sweep":
        what.add_argument("--plan", nargs="+", dest="plans", metavar="PLAN", help='such as "vision:0-4+24-32"')
        what.add_argument("--late-entry", nargs="+", type=int, metavar="K", help="vision tokens enter at layer K")
        what.add_argument("--early-exit", nargs="+", type=int, metavar="K", help="vision tokens leave at layer K")
        what.add_argument("--judge", help='"rule", "chat:MODEL", "composite:MODEL" or "recorded:FILE"; default: rule')
        what.add_argument("--confidence", type=float, help="of the intervals in the tables; default: 0.95")
    how = parser.add_argument_group("how")
    how.add_argument("--out", default="runs", help="where directories are made; default: runs")
    how.add_argument("--shard", metavar="K/N", help="do part K of N; a Slurm array or torchrun says it too")
    how.add_argument("--device", help="cpu, cuda:0, ...; default: this process's GPU if there is one")
    how.add_argument("--device-map", help='"auto" spreads a large model over all visible GPUs')
    how.add_argument("--retry-failed", action="store_true", help="try failed items again")
    how.add_argument("--quiet", action="store_true", help="no progress bar")


def _add_plan(commands: Any) -> None:
    parser = commands.add_parser(
        "plan",
        help="late entry and early exit that the conditions allow, from a measurement",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        epilog="example: python -m vlm plan runs/measure-0123456789ab --t 0.05 --attention-limit 0.1",
    )
    parser.add_argument("measurement", help="directory that `measure` printed")
    parser.add_argument("--group", help="one task group or data set only")
    parser.add_argument("--t", type=float, default=0.05, help="cosine distance up to which states are close")
    parser.add_argument("--delta", type=float, default=0.05, help="fraction of vision tokens that may be far")
    parser.add_argument("--attention-limit", type=float, default=0.1, help="visual attention ratio that is small")
    parser.add_argument("--accumulated", action="store_true", help="judge by the distance from state 0")
    parser.add_argument("--confidence", type=float, default=0.95, help="of all intervals together")
    parser.add_argument("--regimes", action="store_true", help="remove, freeze, exit or keep, layer by layer")
    parser.add_argument("--partial", action="store_true", help="take an unfinished measurement")
    parser.add_argument("--out", help="CSV file for the table of layers")
    parser.set_defaults(run=_plan)


def _add_merge(commands: Any) -> None:
    parser = commands.add_parser(
        "merge",
        help="all workers' records as one file, and its table",
        epilog="example: python -m vlm merge runs/0123456789ab",
    )
    parser.add_argument("run_directory", metavar="RUN", help="directory that `sweep` or `measure` printed")
    parser.add_argument("--partial", action="store_true", help="take what is there instead of refusing")
    parser.set_defaults(run=_merge)


def _add_report(commands: Any) -> None:
    parser = commands.add_parser(
        "report",
        help="tables, figures and one HTML page of a merged run",
        epilog="example: python -m vlm report runs/0123456789ab --tolerance 0.02",
    )
    parser.add_argument("run_directory", metavar="RUN", help="directory that `sweep` printed, merged")
    parser.add_argument("--measurement", help="directory that `measure` printed; default: the one beside RUN")
    parser.add_argument("--out", help="folder for the report; default: RUN/report")
    parser.add_argument("--tolerance", type=float, default=0.02, help="loss of accuracy that counts as none")
    parser.add_argument("--t", type=float, help="measured cosine distance that is close; default: the one next to 0.05")
    parser.set_defaults(run=_report)


def _add_exactness(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "exactness",
        help="how exactly skipping agrees with a masked reference, family by family, with the installed transformers",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python -m vlm exactness --family llava gemma3 (random models; needs no checkpoint)",
    )
    parser.add_argument("--family", nargs="+", metavar="NAME", help="these families only; default: all")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table as a Markdown page too")
    parser.set_defaults(run=_exactness)


def _exactness(given: argparse.Namespace) -> int:
    from vlm.engine.exactness import run

    return run(given)


def _ours(error: BaseException) -> bool:
    """Whether an error was raised by these packages, which say all in one line; others' need their traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    where = Path(frames[-1].filename).resolve()
    return any(where.is_relative_to(_PACKAGES / name) for name in ("vlm", "bounds", "redundancy"))


def _positive(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number >= 1, got {text!r}")
    return number


if __name__ == "__main__":
    sys.exit(main())
