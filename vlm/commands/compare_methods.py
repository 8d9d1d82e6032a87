"""``skipit compare-methods``: named methods beside random choices at equal cost, on your model and questions."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from vlm.commands.arguments import Commands, HelpFormatter, positive

if TYPE_CHECKING:
    from vlm.plans.plan import SkipPlan

_EPILOG = """examples:
  python -m vlm compare-methods --model tiny --data tiny --limit 300 --budgets 0.75 0.6 --batch-size 50
  python -m vlm compare-methods --model llava-hf/llava-1.5-7b-hf --data gqa --limit 1500 --device cuda:0
  python -m vlm compare-methods --model M --data jsonl=mine.jsonl --plan mine=freeze:20- --out runs/methods

mine.jsonl has one JSON object per line with "image" and "question"; without answers, methods are judged by whether
the full model's answer stays. Killed or crashed: start the same command again. What comes out: methods.csv and
controls.csv beside the records in OUT."""


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "compare-methods",
        help="named methods beside random choices at equal cost",
        formatter_class=HelpFormatter,
        epilog=_EPILOG,
    )
    parser.set_defaults(run=_compare_methods)
    parser.add_argument("--model", default="tiny", help="tiny, a folder or a hub id; default: tiny")
    parser.add_argument("--revision", help="branch, tag or commit on the hub")
    parser.add_argument("--dtype", help="float32, bfloat16, ...; default: the checkpoint's own")
    parser.add_argument("--device", help="cpu, cuda:0, ...; default: this process's GPU if there is one")
    parser.add_argument("--data", default="tiny", metavar="DATA", help="NAME or NAME=SOURCE; default: tiny")
    parser.add_argument("--split", help="another split than the declared one")
    parser.add_argument("--limit", type=positive, help="items, drawn with the seed")
    parser.add_argument("--budgets", nargs="+", type=float, metavar="SHARE", help="operations; default: 0.85 to 0.35")
    parser.add_argument("--draws", type=positive, default=20, help="random draws of tokens per budget; default: 20")
    parser.add_argument("--layer-draws", type=positive, default=100, help="random sets of layers; default: 100")
    parser.add_argument("--calibration-images", type=positive, help="images that rank the layers; default: a fifth")
    parser.add_argument("--kinds", nargs="+", default=["layers", "tokens"], help="of methods; default: layers tokens")
    parser.add_argument("--plan", nargs="*", default=[], metavar="NAME=PLAN", help="plans of your own")
    parser.add_argument("--protocol", default="skip-it", help="wording: skip-it or lmms-eval; default: skip-it")
    parser.add_argument("--max-new-tokens", type=positive, help="limit of an answer; default: the protocol's")
    parser.add_argument("--batch-size", type=positive, default=8, help="questions per call; default: 8")
    parser.add_argument("--seed", type=int, default=0, help="of the items, of their division and of every draw")
    parser.add_argument("--out", default="runs/methods", help="folder of records and tables; default: runs/methods")


def _compare_methods(options: argparse.Namespace) -> int:
    from pathlib import Path

    import torch

    from vlm.comparison.comparing import BUDGETS, compare_methods
    from vlm.datasets import read
    from vlm.engine.planned_loading import load
    from vlm.evaluation.process_device import own_device
    from vlm.progress_bar import by_count, by_stage
    from vlm.table import Table

    plans = _plans(options.plan)
    dtype = None if options.dtype is None else getattr(torch, options.dtype, None)
    if options.dtype is not None and not isinstance(dtype, torch.dtype):
        raise ValueError(f"--dtype: expected float32, bfloat16, float16 or float64, got {options.dtype!r}")
    name, _, source = options.data.partition("=")
    limit = {} if options.limit is None else {"limit": options.limit}
    found = read(name, source=source or None, split=options.split, seed=options.seed, **limit)
    items = list(by_count(found, options.limit, f"reading {name}"))
    model, processor = load(
        options.model, revision=options.revision, dtype=dtype, device=options.device or own_device()
    )
    with by_stage() as told:
        result = compare_methods(
            model,
            processor,
            items,
            out=options.out,
            budgets=options.budgets or BUDGETS,
            draws=options.draws,
            layer_draws=options.layer_draws,
            calibration_images=options.calibration_images,
            plans=plans,
            kinds=options.kinds,
            protocol=options.protocol,
            max_new_tokens=options.max_new_tokens,
            batch_size=options.batch_size,
            seed=options.seed,
            done=told,
        )
    table, controls = result.table(), result.controls()
    shown = ["budget", "method", "operations_ratio", "agreement", "accuracy", "control_mean", "percentile"]
    shown += ["versus_control", "versus_low", "versus_high"]
    print("\n" + Table.from_rows([{name: row[name] for name in shown} for row in table.rows()]).text())
    print("\n" + controls.text())
    print(f"\n{len(result.groups)} questions about {len(set(result.groups))} images; intervals hold together")
    if len(left := result.left_out()):
        print(f"without a row, because no number of units costs that or the prompts do not allow it:\n{left.text()}")
    if result.failures:
        first = result.failures[0]
        print(f"not asked: {len(result.failures)} items, the first {first.id}: {first.reason}")
    for part, name in ((table, "methods.csv"), (controls, "controls.csv")):
        part.save(Path(options.out) / name)
        print(f"wrote {Path(options.out) / name}")
    return 0


def _plans(texts: list[str]) -> dict[str, SkipPlan]:
    """Plans of the user's own, by name."""
    from vlm.plans.plan import SkipPlan

    out: dict[str, SkipPlan] = {}
    for text in texts:
        name, equals, plan = text.partition("=")
        if not (name and equals) or name in out:
            raise ValueError(f"--plan: expected different names, each as NAME=PLAN (mine=freeze:8-), got {text!r}")
        out[name] = SkipPlan.parse(plan)
    return out
