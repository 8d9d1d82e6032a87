"""``skipit states``: store the hidden states of every prompt of some data sets."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from vlm.commands.arguments import Commands, HelpFormatter
from vlm.commands.experiment import add_data, add_model, add_worker, spec_from, worker_options

if TYPE_CHECKING:
    from vlm.hidden_states.state_size import StatesSize

_EPILOG = """examples:
  python -m vlm states --model tiny --data tiny --limit 200 --out runs
  python -m vlm states --model llava-hf/llava-1.5-7b-hf --data gqa --limit 1000 --views last vision-mean --out runs
  python -m vlm states experiment.toml --views "vision-sample(16)" --layers 0 8 16 24 32 --out runs --shard 2/8

Views: last, vision-mean, text-mean, vision-sample(K), text-sample(K), vision-all, text-all. State 0 enters the first
decoder layer, state L leaves the last one, before the final norm. The size is said before anything is computed.
Killed or crashed: start the same command again. Read the folder with vlm.read_states."""


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "states",
        help="store hidden states of every layer, to be read by vlm.read_states",
        formatter_class=HelpFormatter,
        epilog=_EPILOG,
    )
    parser.set_defaults(run=_run)
    experiment = parser.add_argument_group("what is computed (names the directory)")
    experiment.add_argument("spec", nargs="?", help="TOML file; the flags below override it")
    add_model(experiment)
    experiment.add_argument("--dtype", help="of the model: float32, bfloat16, ...; default: the checkpoint's own")
    add_data(experiment)
    experiment.add_argument(
        "--views",
        nargs="+",
        default=["last", "vision-mean"],
        metavar="VIEW",
        help="see below; default: last vision-mean",
    )
    experiment.add_argument("--layers", nargs="+", type=int, metavar="L", help="states to store; default: all, 0..L")
    experiment.add_argument(
        "--store-as",
        metavar="DTYPE",
        help="how states are stored: float16, bfloat16, float32 or float64; default: as the model computes them, and "
        "means as float32",
    )
    experiment.add_argument(
        "--plan", default="none", help='skip plan of the model, such as "vision:0-4"; default: none'
    )
    worker = add_worker(parser)
    worker.add_argument("--yes", action="store_true", help="store more than 20 GB")


def _run(options: argparse.Namespace) -> int:
    from vlm.hidden_states.dataset_run import LARGEST, states_run
    from vlm.hidden_states.stored_states import read_states

    try:
        folder = states_run(
            spec_from(options),
            options.out,
            views=options.views,
            layers=options.layers,
            dtype=options.store_as,
            plan=options.plan,
            largest=None if options.yes else LARGEST,
            before=_print_size,
            **worker_options(options),
        )
    except OverflowError as error:
        raise ValueError(str(error)) from error
    stored = read_states(folder)
    print(f"states: {folder}")
    print(stored)
    for (task, item), reason in list(stored.failures.items())[:5]:
        print(f"no states of {task} {item}: {reason}")
    return 0


def _print_size(size: StatesSize | None) -> None:
    print(f"size: {'not known before all items are read' if size is None else size}", flush=True)
