"""``skipit optimize``: the cheapest plan that loses at most what is allowed, as a file that serving code loads."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from vlm.commands.arguments import Commands, HelpFormatter, positive

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vlm.item import Failure, Item
    from vlm.planner.best_plan import BestPlan

_EPILOG = """examples:
  python -m vlm optimize --model tiny --data tiny --limit 2000 --max-loss 0.02 --batch-size 64
  python -m vlm optimize --model llava-hf/llava-1.5-7b-hf --data vqav2 --limit 1500 --max-loss 0.01 --device cuda:0
  python -m vlm optimize --model M --data jsonl=mine.jsonl --max-loss 0.02 --objective time --at-least-faster 0.2

mine.jsonl has one JSON object per line with "image" and "question"; no answers are needed unless --loss accuracy.
Killed or crashed: start the same command again. What comes out: plan.json, report.html and model_card.md in
OUT/optimize-DIGEST."""


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "optimize",
        help="the cheapest plan that provably loses at most what you allow",
        formatter_class=HelpFormatter,
        epilog=_EPILOG,
    )
    parser.set_defaults(run=_optimize)
    promise = parser.add_argument_group("the promise")
    promise.add_argument("--max-loss", type=float, default=0.01, help="largest expected loss; default: 0.01")
    promise.add_argument("--confidence", type=float, default=0.95, help="of the promise; default: 0.95")
    promise.add_argument("--loss", default="disagreement", help="disagreement (no labels), accuracy or kl")
    promise.add_argument("--kl-limit", type=float, default=1.0, help="where KL is clipped, in nats; default: 1")
    model = parser.add_argument_group("model and data")
    model.add_argument("--model", default="tiny", help="tiny, a folder or a hub id; default: tiny")
    model.add_argument("--revision", help="branch, tag or commit on the hub")
    model.add_argument("--dtype", help="float32, bfloat16, ...; default: the checkpoint's own")
    model.add_argument("--attention", default="sdpa", help="sdpa, eager or flash_attention_2, ...; default: sdpa")
    model.add_argument("--device", help="cpu, cuda:0, ...; default: this process's GPU if there is one")
    model.add_argument("--data", nargs="+", default=["tiny"], metavar="DATA", help="NAME or NAME=SOURCE")
    model.add_argument("--split", help="another split than the declared one")
    model.add_argument("--limit", type=positive, help="items of each data set, drawn with the seed")
    model.add_argument("--protocol", default="skip-it", help="wording: skip-it or lmms-eval; default: skip-it")
    model.add_argument("--max-new-tokens", type=positive, help="limit of an answer; default: the protocol's")
    model.add_argument("--batch-size", type=positive, default=8, help="questions per call; default: 8")
    model.add_argument("--seed", type=int, default=0, help="of the items and of their division; default: 0")
    cost = parser.add_argument_group("what is made cheap")
    cost.add_argument("--objective", default="operations", help="operations, prefill, cache or time")
    cost.add_argument("--answer-length", type=float, help="tokens of an answer, for --objective time")
    cost.add_argument("--at-least-faster", type=float, metavar="SHARE", help="a saving that is wished for, such as 0.2")
    search = parser.add_argument_group("the search")
    search.add_argument("--actions", nargs="+", metavar="ACTION", help="freeze, remove, drop-attention, drop-mlp, drop")
    search.add_argument(
        "--prune",
        nargs="*",
        type=float,
        default=[0.5],
        metavar="SHARE",
        help="shares of image tokens that a plan may keep; without a number none are pruned",
    )
    search.add_argument("--search-images", type=positive, help="images for the search; the others certify")
    search.add_argument("--forwards", type=positive, help="budget of the search in question-forwards")
    search.add_argument("--minutes", type=float, help="budget of the search in minutes")
    search.add_argument("--candidates", type=positive, default=20, help="plans that are tested at most; default: 20")
    search.add_argument("--stopping", default="fixed", help="fixed, or anytime: easy plans stop early")
    parser.add_argument("--out", default="runs", help="folder in which a directory is made; default: runs")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def _optimize(options: argparse.Namespace) -> int:
    import torch

    from vlm.engine.planned_loading import load
    from vlm.evaluation.process_device import own_device
    from vlm.planner.layer_actions import ACTIONS
    from vlm.planner.optimizing import optimize
    from vlm.planner.promise import Promise
    from vlm.progress_bar import by_count

    Promise(options.max_loss, options.confidence, options.loss, options.kl_limit)  # refused before a model is loaded
    if options.dtype is not None and not isinstance(getattr(torch, options.dtype, None), torch.dtype):
        raise ValueError(f"--dtype: expected float32, bfloat16, float16 or float64, got {options.dtype!r}")
    total = None if options.limit is None else options.limit * len(options.data)
    items = list(by_count(_items(options), total, "reading"))
    model, processor = load(
        options.model,
        revision=options.revision,
        dtype=None if options.dtype is None else getattr(torch, options.dtype),
        attention=options.attention,
        device=options.device or own_device(),
    )
    best = optimize(
        model,
        processor,
        items,
        max_loss=options.max_loss,
        confidence=options.confidence,
        loss=options.loss,
        kl_limit=options.kl_limit,
        actions=options.actions or ACTIONS[1:],
        fractions=options.prune,
        objective=options.objective,
        at_least_faster=options.at_least_faster,
        answer_length=options.answer_length,
        search_images=options.search_images,
        protocol=options.protocol,
        max_new_tokens=options.max_new_tokens,
        batch_size=options.batch_size,
        forwards=options.forwards,
        minutes=options.minutes,
        candidates=options.candidates,
        stopping=options.stopping,
        seed=options.seed,
        out=options.out,
        progress=not options.quiet,
        say=print,
    )
    return _print_result(best)


def _items(options: argparse.Namespace) -> Iterator[Item | Failure]:
    from vlm.datasets import read

    for text in options.data:
        name, _, source = text.partition("=")
        if not source and name.endswith(".jsonl"):
            raise ValueError(f"--data: a file of your own is jsonl={name}, got {text!r}")
        limit = {} if options.limit is None else {"limit": options.limit}
        yield from read(name, source=source or None, split=options.split, seed=options.seed, **limit)


def _print_result(best: BestPlan) -> int:
    table = best.table()
    if len(table):
        print("\n" + table.fitted())
    saved = 1.0 - best.cost
    print(f"\nplan: {best.plan}")
    print(f"{best.objective}: {best.cost:.3f} of the full model's ({saved:.1%} saved)")
    print(best.file.guarantee)
    total = sum(best.forwards.values())
    print(f"question-forwards: {total:,} ({', '.join(f'{name} {count:,}' for name, count in best.forwards.items())})")
    if best.failures:
        print(f"not asked: {len(best.failures)} items, the first {best.failures[0].id}: {best.failures[0].reason}")
    if best.folder is not None:
        from vlm.planner.plan_page import write_page

        for path in (best.folder / "plan.json", *write_page(best, best.folder)):
            print(f"wrote {path}")
        print(f'use it: vlm.load({best.file.model!r}, plan="{best.folder / "plan.json"}")')
    return 0
