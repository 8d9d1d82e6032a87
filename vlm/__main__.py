"""The command line: ``skipit`` or ``python -m vlm``.

Each command imports what it needs when it runs, so that ``--help`` and mistyped flags answer at once.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from vlm.decisions.conditions import Decision
    from vlm.decisions.four_regimes import Regimes
    from vlm.experiments.shards import Shard
    from vlm.experiments.spec import Spec

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

_PACKAGES = Path(__file__).resolve().parents[1]
_EXPERIMENT = """examples:
  python -m vlm {name} --model tiny --data tiny --limit 200{plans} --out runs
  python -m vlm {name} experiment.toml --out runs
  python -m vlm {name} experiment.toml --out runs --shard 2/8
  torchrun --nproc-per-node 8 -m vlm {name} experiment.toml --out runs

Killed or crashed: start the same command again. Flags override the file. Recipes for clusters:
docs/tutorials/experiment.md."""


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
    options = parser.parse_args(arguments)
    try:
        status: int = options.run(options)
    except KeyboardInterrupt:
        print("stopped; completed records are kept, and the same command continues", file=sys.stderr)
        return 130
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        if not _ours(error):
            traceback.print_exc()
        print(f"{_program()} {options.command}: error: {error}", file=sys.stderr)
        return 1
    return status


class _Version(argparse.Action):
    """Print the version, which is read only then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from vlm.version import __version__

        print(f"skipit {__version__}")
        parser.exit()


def _program() -> str:
    """The name under which the program was called."""
    return "skipit" if Path(sys.argv[0]).stem == "skipit" else "python -m vlm"


def _demo(options: argparse.Namespace) -> int:
    from vlm.demo.loop import run_demo
    from vlm.demo.page import save
    from vlm.reports.plots import require_matplotlib

    require_matplotlib()  # before the work, not after it
    outcome = run_demo(options.model, limit=options.questions, seed=options.seed, progress=not options.quiet)
    return _wrote(save(outcome, options.out))


def _measure(options: argparse.Namespace) -> int:
    from vlm.experiments.measure_run import measure_run
    from vlm.experiments.measurement_tables import write_tables

    spec, worker = _spec(options), _worker_options(options)
    folder = measure_run(spec, options.out, **worker)
    print(f"measurement: {folder}")
    if worker["part"].count > 1:
        return _part_done(folder)
    return _wrote(write_tables(folder, confidence=spec.confidence))


def _plan(options: argparse.Namespace) -> int:
    from vlm.experiments.measurement_tables import decided
    from vlm.plans.plan import INDEX_CONVENTION

    decision = decided(
        options.measurement,
        task_group=options.group,
        partial=options.partial,
        t=options.t,
        delta=options.delta,
        attention_limit=options.attention_limit,
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
    print(f"\nimages: {outcome.settings['images']}\nplan by the conditions: {outcome.plan}")
    return _wrote([outcome.layers.save(options.out)] if options.out else [])


def _sweep(options: argparse.Namespace) -> int:
    from vlm.experiments.sweep_run import sweep

    spec, worker = _spec(options), _worker_options(options)
    folder = sweep(spec, options.out, **worker)
    print(f"run: {folder}")
    if worker["part"].count > 1:
        return _part_done(folder)
    return _merged(folder, partial=False)


def _merge(options: argparse.Namespace) -> int:
    return _merged(Path(options.run_directory), partial=options.partial)


def _merged(folder: Path, *, partial: bool) -> int:
    from vlm.experiments.measurement_tables import write_tables
    from vlm.experiments.run_directory import spec_of

    if folder.resolve().name.startswith("measure-"):
        return _wrote(write_tables(folder, confidence=spec_of(folder).confidence, partial=partial))
    from vlm.reports.merged_records import summarised

    written, table = summarised(folder, partial=partial)
    print(table.text())
    return _wrote(written)


def _report(options: argparse.Namespace) -> int:
    from vlm.experiments.run_directory import spec_of
    from vlm.reports import write

    folder = Path(options.run_directory)
    beside = folder.resolve().parent / spec_of(folder).measurement
    measurement = options.measurement or (beside if beside.is_dir() else None)
    settings = {"measurement": measurement, "tolerance": options.tolerance, "t": options.t}
    return _wrote(write(folder, options.out or folder / "report", **settings))


def _spec(options: argparse.Namespace) -> Spec:
    """The experiment that the flags and the TOML file describe."""
    from vlm.experiments.spec import read_spec

    names = ("model", "revision", "dtype", "attention", "protocol", "judge", "batch_size", "seed", "confidence")
    flags = {name: getattr(options, name, None) for name in (*names, "plans", "late_entry", "early_exit", "limit")}
    data = None if options.data is None else [_data(text) for text in options.data]
    return read_spec(options.spec, **flags, data=data)


def _data(text: str) -> dict[str, str]:
    """NAME, NAME=SOURCE or LABEL:NAME=SOURCE."""
    head, _, source = text.partition("=")
    label, colon, name = head.rpartition(":")
    if not source and (name == "jsonl" or text.endswith(".jsonl")):
        own = text if text.endswith(".jsonl") else "mine.jsonl"
        raise ValueError(f"--data: a file of your own is jsonl={own}, or with a name mine:jsonl={own}; got {text!r}")
    return {"name": name} | ({"source": source} if source else {}) | ({"label": label} if colon else {})


class _WorkerOptions(TypedDict):
    """How a worker carries out its part; none of it changes the results."""

    part: Shard
    device: str | None
    device_map: str | None
    retry_failed: bool
    progress: bool


def _worker_options(options: argparse.Namespace) -> _WorkerOptions:
    from vlm.experiments.shards import shard

    return {
        "part": shard(options.shard),
        "device": options.device,
        "device_map": options.device_map,
        "retry_failed": options.retry_failed,
        "progress": not options.quiet,
    }


def _wrote(paths: Sequence[Path]) -> int:
    for path in paths:
        print(f"wrote {path}")
    return 0


def _part_done(folder: Path) -> int:
    print(f"this part is done; when all parts are: python -m vlm merge {folder}")
    return 0


def _add_demo(commands: Commands) -> None:
    demo = commands.add_parser(
        "demo",
        help="the whole loop on the embedded model",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        epilog="example: python -m vlm demo --out runs/demo (writes tables, figures, index.html and report.json there)",
    )
    demo.add_argument("--model", default="tiny", choices=["tiny", "tiny-plain", "tiny-scaled"])
    demo.add_argument("--out", default="runs/demo", help="folder for the results")
    demo.add_argument("--questions", type=_positive, default=1000, help="questions to measure on, and to validate on")
    demo.add_argument("--seed", type=int, default=0, help="seed of the images and questions")
    demo.add_argument("--quiet", action="store_true", help="no progress bars")
    demo.set_defaults(run=_demo)


def _add_experiment(commands: Commands, name: str, text: str, run: Callable[[argparse.Namespace], int]) -> None:
    plans = " --late-entry 2 4 --early-exit 6 8" if name == "sweep" else ""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_EXPERIMENT.format(name=name, plans=plans),
    )
    parser.set_defaults(run=run)
    experiment = parser.add_argument_group("what is computed (names the directory)")
    experiment.add_argument("spec", nargs="?", help="TOML file; the flags below override it")
    experiment.add_argument("--model", help="tiny, a folder or a hub id; default: tiny")
    experiment.add_argument("--revision", help="branch, tag or commit on the hub")
    experiment.add_argument("--dtype", help="float32, bfloat16, ...; default: the checkpoint's own")
    experiment.add_argument("--attention", help="sdpa, eager or flash_attention_2, ...; default: sdpa")
    experiment.add_argument("--data", nargs="+", metavar="DATA", help="NAME, NAME=SOURCE or LABEL:NAME=SOURCE")
    experiment.add_argument("--limit", type=_positive, help="items of each data set, drawn with its seed")
    experiment.add_argument("--protocol", help="skip-it or lmms-eval; default: skip-it")
    experiment.add_argument("--batch-size", type=_positive, help="items per call; default: 8")
    experiment.add_argument("--seed", type=int, help="random seed set before every call; default: 0")
    if name == "sweep":
        experiment.add_argument("--plan", nargs="+", dest="plans", metavar="PLAN", help='such as "vision:0-4+24-32"')
        experiment.add_argument("--late-entry", nargs="+", type=int, metavar="K", help="vision tokens enter at layer K")
        experiment.add_argument("--early-exit", nargs="+", type=int, metavar="K", help="vision tokens leave at layer K")
        experiment.add_argument(
            "--judge", help='"rule", "chat:MODEL", "composite:MODEL" or "recorded:FILE"; default: rule'
        )
        experiment.add_argument("--confidence", type=float, help="of the intervals in the tables; default: 0.95")
    worker = parser.add_argument_group("how it is computed (changes no result)")
    worker.add_argument("--out", default="runs", help="folder in which run directories are created; default: runs")
    worker.add_argument("--shard", metavar="K/N", help="do part K of N; default: from a Slurm array or torchrun")
    worker.add_argument("--device", help="cpu, cuda:0, ...; default: this process's GPU if there is one")
    worker.add_argument("--device-map", help='"auto" spreads a large model over all visible GPUs')
    worker.add_argument("--retry-failed", action="store_true", help="try failed items again")
    worker.add_argument("--quiet", action="store_true", help="no progress bar")


def _add_plan(commands: Commands) -> None:
    parser = commands.add_parser(
        "plan",
        help="late entry and early exit that the conditions allow, from a measurement",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        epilog="example: python -m vlm plan runs/measure-0123456789ab --t 0.05 --attention-limit 0.1",
    )
    parser.add_argument("measurement", help="directory printed by `measure`")
    parser.add_argument("--group", help="one task group or data set only")
    parser.add_argument("--t", type=float, default=0.05, help="cosine distance up to which states are close")
    parser.add_argument("--delta", type=float, default=0.05, help="fraction of vision tokens that may be far")
    parser.add_argument(
        "--attention-limit", type=float, default=0.1, help="visual attention ratio up to which attention is small"
    )
    parser.add_argument("--accumulated", action="store_true", help="judge by the distance from state 0")
    parser.add_argument("--confidence", type=float, default=0.95, help="of all intervals together")
    parser.add_argument("--regimes", action="store_true", help="remove, freeze, exit or keep, layer by layer")
    parser.add_argument("--partial", action="store_true", help="accept an unfinished measurement")
    parser.add_argument("--out", help="CSV file for the table of layers")
    parser.set_defaults(run=_plan)


def _add_merge(commands: Commands) -> None:
    parser = commands.add_parser(
        "merge",
        help="merge all workers' records into one file, and print its table",
        epilog="example: python -m vlm merge runs/0123456789ab",
    )
    parser.add_argument("run_directory", metavar="RUN", help="directory printed by `sweep` or `measure`")
    parser.add_argument("--partial", action="store_true", help="accept an unfinished run")
    parser.set_defaults(run=_merge)


def _add_report(commands: Commands) -> None:
    parser = commands.add_parser(
        "report",
        help="tables, figures and one HTML page of a merged run",
        epilog="example: python -m vlm report runs/0123456789ab --tolerance 0.02",
    )
    parser.add_argument("run_directory", metavar="RUN", help="directory printed by `sweep`, merged")
    parser.add_argument("--measurement", help="directory printed by `measure`; default: the one beside RUN")
    parser.add_argument("--out", help="folder for the report; default: RUN/report")
    parser.add_argument("--tolerance", type=float, default=0.02, help="loss of accuracy that counts as none")
    parser.add_argument(
        "--t", type=float, help="measured cosine distance up to which states are close; default: the nearest to 0.05"
    )
    parser.set_defaults(run=_report)


def _add_exactness(commands: Commands) -> None:
    parser = commands.add_parser(
        "exactness",
        help="how exactly skipping agrees with a masked reference, family by family, with the installed transformers",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python -m vlm exactness --family llava gemma3 (random models; needs no checkpoint)",
    )
    parser.add_argument("--family", nargs="+", metavar="NAME", help="only these families; default: all")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table as a Markdown page")
    parser.set_defaults(run=_exactness)


def _exactness(options: argparse.Namespace) -> int:
    from vlm.engine.exactness import run

    return run(options.family or (), options.markdown)


def _ours(error: BaseException) -> bool:
    """Whether an error was raised by these packages, whose messages suffice; other errors need their traceback."""
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
