"""``skipit notions``: what the layers of a model share, in all notions, with tables, figures and a page."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from vlm.commands.arguments import Commands, HelpFormatter, positive, print_written

if TYPE_CHECKING:
    from vlm.notions.profile_result import Profile

_EPILOG = """examples:
  python -m vlm notions --model tiny --data tiny --limit 600 --out runs/notions
  python -m vlm notions --states runs/states --out runs/notions

The second form needs no model: it reads hidden states that were recorded."""


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "notions",
        help="what two layers share: four notions, information, PID, with intervals",
        formatter_class=HelpFormatter,
        epilog=_EPILOG,
    )
    source = parser.add_argument_group("what is measured")
    source.add_argument("--model", default="tiny", help="tiny, a folder or a hub id; default: tiny")
    source.add_argument("--revision", help="branch, tag or commit on the hub")
    source.add_argument("--device", help="cpu, cuda:0, ...; default: this process's GPU if there is one")
    source.add_argument("--device-map", help='"auto" spreads a large model over all visible GPUs')
    source.add_argument("--data", default="tiny", metavar="DATA", help="NAME or NAME=SOURCE; default: tiny")
    source.add_argument("--limit", type=positive, default=600, help="items, drawn with the seed; default: 600")
    source.add_argument("--batch-size", type=positive, default=8, help="items per call; default: 8")
    source.add_argument("--states", metavar="FOLDER", help="recorded states instead of a model and data")
    chosen = parser.add_argument_group("how it is measured")
    chosen.add_argument("--views", nargs="+", default=["last", "vision-mean"], help="default: last vision-mean")
    chosen.add_argument("--layers", nargs="+", type=int, metavar="L", help="states to record; default: all")
    chosen.add_argument("--pairs", default="adjacent", choices=["adjacent", "entry"], help="default: adjacent")
    chosen.add_argument("--notions", nargs="+", metavar="NOTION", help="some of the notions; default: all")
    chosen.add_argument(
        "--predictors", nargs="+", default=["ridge"], help="ridge, panel (slow); default: ridge", metavar="NAME"
    )
    chosen.add_argument("--t", type=float, default=0.05, help="distance up to which states are close; default: 0.05")
    chosen.add_argument("--codes", type=positive, default=16, help="codewords of a pair of layers; default: 16")
    chosen.add_argument("--confidence", type=float, default=0.95, help="of all layers together; default: 0.95")
    chosen.add_argument("--seed", type=int, default=0, help="of every random choice; default: 0")
    parser.add_argument("--out", default="runs/notions", help="folder for the results; default: runs/notions")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run=_notions)


def _notions(options: argparse.Namespace) -> int:
    from vlm.notions.profile_page import write_profile
    from vlm.notions.readable_tables import summary
    from vlm.plans.plan import INDEX_CONVENTION
    from vlm.reports.plots import require_matplotlib

    require_matplotlib()  # before the work, not after it
    profile = _with_source(_profile(options), options)
    print(INDEX_CONVENTION + "\n")
    print(summary(profile).fitted())
    for note in profile.notes:
        print(note)
    title = f"What the layers share: {options.states or options.model}"
    return print_written(write_profile(profile, options.out, title=title))


def _with_source(profile: Profile, options: argparse.Namespace) -> Profile:
    """The profile with the weights and the data that it is about, so that no page of others shows it as its own."""
    import json
    from dataclasses import replace
    from pathlib import Path

    from vlm.models.fingerprint import model_identity

    if options.states:
        stored = json.loads((Path(options.states) / "spec.json").read_text(encoding="utf-8"))
        source = {"model": stored.get("versions", {}).get("model"), "data": str(options.states)}
    else:
        source = {"model": model_identity(options.model, options.revision), "data": options.data}
    return replace(profile, settings={**profile.settings, **source})


def _profile(options: argparse.Namespace) -> Profile:
    from vlm.notions.choices import ProfileOptions

    chosen = ProfileOptions(
        notions=options.notions,
        pairs=options.pairs,
        predictors=options.predictors,
        t=options.t,
        codes=options.codes,
        confidence=options.confidence,
        rng=options.seed,
        progress=not options.quiet,
    )
    if options.states:
        from vlm.hidden_states.stored_states import read_states
        from vlm.notions.profiling import profile_states

        return profile_states(read_states(options.states), **chosen)
    from vlm.datasets.reading import read
    from vlm.engine.planned_loading import load
    from vlm.evaluation.process_device import own_device
    from vlm.item import Failure, Item
    from vlm.notions.measured_profile import profile
    from vlm.progress_bar import by_count

    name, _, path = options.data.partition("=")
    found = read(name, source=path or None, limit=options.limit, seed=options.seed)
    entries = list(by_count(found, options.limit, f"reading {name}"))
    for failure in (entry for entry in entries if isinstance(entry, Failure)):
        print(f"left out: {failure.dataset}/{failure.id}: {failure.reason}")
    where = {"device_map": options.device_map} if options.device_map else {"device": options.device or own_device()}
    model, processor = load(options.model, revision=options.revision, **where)
    return profile(
        model,
        processor,
        [entry for entry in entries if isinstance(entry, Item)],
        views=options.views,
        layers=options.layers,
        batch_size=options.batch_size,
        **chosen,
    )
