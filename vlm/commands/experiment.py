"""``skipit measure`` and ``skipit sweep``: experiments that are described by a TOML file and by flags."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, TypedDict

from vlm.commands.arguments import Commands, HelpFormatter, positive, print_written
from vlm.commands.merge import merge_records

if TYPE_CHECKING:
    from pathlib import Path

    from vlm.experiments.shards import Shard
    from vlm.experiments.spec import Spec
    from vlm.plans.plan_file import PlanFile

_EXPERIMENT = """examples:
  python -m vlm {name} --model tiny --data tiny --limit 200{plans} --out runs
  python -m vlm {name} experiment.toml --out runs
  python -m vlm {name} experiment.toml --out runs --shard 2/8
  torchrun --nproc-per-node 8 -m vlm {name} experiment.toml --out runs

Killed or crashed: start the same command again. Flags override the file. Recipes for clusters:
docs/how-to/cluster.md."""


def add_measure(commands: Commands) -> None:
    """Add the command to the parser."""
    _add(commands, "measure", "redundancy and attention of every layer; needs no labels", _measure)


def add_sweep(commands: Commands) -> None:
    """Add the command to the parser."""
    _add(commands, "sweep", "accuracy under every plan on every data set", _sweep)


def _add(commands: Commands, name: str, text: str, run: Callable[[argparse.Namespace], int]) -> None:
    plans = " --late-entry 2 4 --early-exit 6 8" if name == "sweep" else ""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        formatter_class=HelpFormatter,
        epilog=_EXPERIMENT.format(name=name, plans=plans),
    )
    parser.set_defaults(run=run)
    experiment = parser.add_argument_group("what is computed (names the directory)")
    experiment.add_argument("spec", nargs="?", help="TOML file; the flags below override it")
    add_model(experiment)
    experiment.add_argument("--dtype", help="float32, bfloat16, ...; default: the checkpoint's own")
    add_data(experiment)
    if name == "sweep":
        experiment.add_argument(
            "--plan", nargs="+", dest="plans", metavar="PLAN", help='such as "vision:0-4+24-32", or plan.json'
        )
        experiment.add_argument("--late-entry", nargs="+", type=int, metavar="K", help="vision tokens enter at layer K")
        experiment.add_argument("--early-exit", nargs="+", type=int, metavar="K", help="vision tokens leave at layer K")
        experiment.add_argument(
            "--judge", help='"rule", "chat:MODEL", "composite:MODEL" or "recorded:FILE"; default: rule'
        )
        experiment.add_argument("--confidence", type=float, help="of the intervals in the tables; default: 0.95")
    add_worker(parser)


def add_model(group: argparse._ArgumentGroup) -> None:
    """Add the flags that name a model."""
    group.add_argument("--model", help="tiny, a folder or a hub id; default: tiny")
    group.add_argument("--revision", help="branch, tag or commit on the hub")
    group.add_argument("--attention", help="sdpa, eager or flash_attention_2, ...; default: sdpa")


def add_data(group: argparse._ArgumentGroup) -> None:
    """Add the flags that name data sets and how they are asked."""
    group.add_argument("--data", nargs="+", metavar="DATA", help="NAME, NAME=SOURCE or LABEL:NAME=SOURCE")
    group.add_argument("--limit", type=positive, help="items of each data set, drawn with its seed")
    group.add_argument("--data-seed", type=int, metavar="SEED", help="chooses the items; default: 0")
    group.add_argument("--protocol", help="skip-it or lmms-eval; default: skip-it")
    group.add_argument("--batch-size", type=positive, help="items per call; default: 8")
    group.add_argument("--seed", type=int, help="random seed of the model, set before every call; default: 0")


def add_worker(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add the flags that say which worker this is, and where it works."""
    worker = parser.add_argument_group("how it is computed (changes no result)")
    worker.add_argument("--out", default="runs", help="folder in which run directories are created; default: runs")
    worker.add_argument("--shard", metavar="K/N", help="do part K of N; default: from a Slurm array or torchrun")
    worker.add_argument("--device", help="cpu, cuda:0, ...; default: this process's GPU if there is one")
    worker.add_argument("--device-map", help='"auto" spreads a large model over all visible GPUs')
    worker.add_argument("--retry-failed", action="store_true", help="try failed items again")
    worker.add_argument("--dry-run", action="store_true", help="print items, tokens, requests, memory, hours, and stop")
    worker.add_argument("--quiet", action="store_true", help="no progress bar")
    return worker


def _measure(options: argparse.Namespace) -> int:
    from vlm.experiments.measure_run import measure_run
    from vlm.experiments.measurement_tables import write_tables
    from vlm.experiments.worker import nothing_done

    spec, worker = spec_from(options), worker_options(options)
    if options.dry_run:
        return _print_forecast(spec, options, "measurement")
    folder = measure_run(spec, options.out, **worker)
    print(f"measurement: {folder}")
    if (reason := nothing_done(folder, worker["part"])) is not None:
        raise RuntimeError(f"measure: nothing could be measured in {folder}; the first reason: {reason}")
    if worker["part"].count > 1:
        return _print_part_done(folder)
    return print_written(write_tables(folder, confidence=spec.confidence))


def _sweep(options: argparse.Namespace) -> int:
    from vlm.experiments.sweep_run import sweep
    from vlm.experiments.worker import never_judged, nothing_done

    spec, worker = spec_from(options), worker_options(options)
    if options.dry_run:
        return _print_forecast(spec, options, "sweep")
    folder = sweep(spec, options.out, **worker)
    print(f"run: {folder}")
    if worker["part"].count > 1:
        if (reason := nothing_done(folder, worker["part"])) is not None:
            raise RuntimeError(f"sweep: nothing could be scored in {folder}; the first reason: {reason}")
        return _print_part_done(folder)
    status = merge_records(folder, partial=False)
    if (unjudged := never_judged(folder)) is not None:
        asked, reason = unjudged
        print(
            f"error: the judge answered to none of {asked} answers; the first reason: {reason}. Mend it, and ask again "
            "with --retry-failed",
            file=sys.stderr,
        )
        return 1
    return status


def _print_forecast(spec: Spec, options: argparse.Namespace, purpose: Literal["sweep", "measurement"]) -> int:
    from vlm.experiments.forecast import forecast
    from vlm.experiments.run import Run

    run = Run.open(spec, options.out, purpose=purpose, device=options.device, device_map=options.device_map)
    found = forecast(run, purpose)
    print(found.table.fitted())
    print(
        f"\n{found.records:,} records in {run.folder}; weights {found.weights:.3g} GB, with a batch's cache "
        f"{found.memory:.3g} GB; at most {found.hours:.3g} hours on one accelerator"
    )
    for assumption in found.assumptions:
        print(f"assumed: {assumption}")
    return 0


def spec_from(options: argparse.Namespace) -> Spec:
    """The experiment that the flags and the TOML file describe."""
    from vlm.experiments.spec import read_spec
    from vlm.plans.plan_file import PlanFile

    names = (
        "model",
        "revision",
        "dtype",
        "attention",
        "protocol",
        "judge",
        "batch_size",
        "seed",
        "confidence",
        "data_seed",
    )
    flags = {name: getattr(options, name, None) for name in (*names, "plans", "late_entry", "early_exit", "limit")}
    files = {path: PlanFile.load(path) for path in getattr(options, "plans", None) or () if path.endswith(".json")}
    if files:
        flags["plans"] = [str(files[text].plan) if text in files else text for text in options.plans]
    data = None if options.data is None else [_data(text) for text in options.data]
    spec = read_spec(options.spec, **flags, data=data)
    for path, file in files.items():
        _check_plan_file(path, file, spec)
    return spec


def _check_plan_file(path: str, file: PlanFile, spec: Spec) -> None:
    """Refuse a plan file that was made for other weights."""
    from vlm.models.fingerprint import model_identity

    identity = model_identity(spec.model, spec.revision)
    if identity != file.identity:
        raise ValueError(
            f"--plan {path}: expected the model {file.model} ({file.identity}), got {spec.model} ({identity}); the "
            f"promise holds for those weights only. Give the plan's text {str(file.plan)!r} to try it on this model"
        )


def _data(text: str) -> dict[str, str]:
    """NAME, NAME=SOURCE or LABEL:NAME=SOURCE."""
    head, _, source = text.partition("=")
    label, colon, name = head.rpartition(":")
    if not source and (name == "jsonl" or text.endswith(".jsonl")):
        own = text if text.endswith(".jsonl") else "mine.jsonl"
        raise ValueError(f"--data: a file of your own is jsonl={own}, or with a name mine:jsonl={own}; got {text!r}")
    return {"name": name} | ({"source": source} if source else {}) | ({"label": label} if colon else {})


class WorkerOptions(TypedDict):
    """How a worker carries out its part; none of it changes the results."""

    part: Shard
    device: str | None
    device_map: str | None
    retry_failed: bool
    progress: bool


def worker_options(options: argparse.Namespace) -> WorkerOptions:
    """How the flags say that the work is carried out."""
    from vlm.experiments.shards import shard

    return {
        "part": shard(options.shard),
        "device": options.device,
        "device_map": options.device_map,
        "retry_failed": options.retry_failed,
        "progress": not options.quiet,
    }


def _print_part_done(folder: Path) -> int:
    print(f"this part is done; when all parts are: python -m vlm merge {folder}")
    return 0
