"""``skipit check``: are plans exact and faster on this model and this machine."""

from __future__ import annotations

import argparse
from pathlib import Path

from vlm.commands.arguments import Commands, HelpFormatter, positive, print_written


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "check",
        help="are plans exact, and what do they save, on your own model and machine",
        formatter_class=HelpFormatter,
        epilog="example: python -m vlm check --model llava-hf/llava-1.5-7b-hf --dtype bfloat16 --device cuda:0\n\n"
        "Prints one page, which belongs into a bug report; the exit status is 0 only if nothing fails.",
    )
    parser.add_argument("--model", default="tiny", help="tiny, a folder or a hub id; default: tiny")
    parser.add_argument("--revision", help="branch, tag or commit on the hub")
    parser.add_argument("--plan", help="only this plan; default: one of every kind")
    parser.add_argument("--dtype", help="float32, bfloat16, ...; default: the checkpoint's own")
    parser.add_argument("--attention", default="sdpa", help="sdpa, eager or flash_attention_2, ...; default: sdpa")
    parser.add_argument("--quantization", metavar="NAME", help="such as bitsandbytes-4bit or torchao-int8")
    parser.add_argument("--device", help="cpu, cuda:0, ...")
    parser.add_argument("--device-map", help='"auto" spreads a large model over all visible GPUs')
    parser.add_argument("--rounds", type=positive, default=3, help="rounds of timing; default: 3")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the page there, or JSON for *.json")
    parser.set_defaults(run=_check)


def _check(options: argparse.Namespace) -> int:
    import torch

    from vlm.atomic_files import write_atomically
    from vlm.engine.planned_loading import load
    from vlm.self_check.checks import check

    dtype = None if options.dtype is None else getattr(torch, options.dtype, None)
    if options.dtype is not None and not isinstance(dtype, torch.dtype):
        raise ValueError(f"--dtype: expected float32, bfloat16, float16, ..., got {options.dtype!r}")
    model, processor = load(
        options.model,
        device=options.device,
        device_map=options.device_map,
        dtype=dtype,
        attention=options.attention,
        quantization=options.quantization,
        revision=options.revision,
    )
    result = check(model, processor, options.plan, rounds=options.rounds, progress=True)
    print(result)
    if options.out is not None:
        text = result.to_json() if options.out.suffix == ".json" else str(result)
        print_written([write_atomically(options.out, f"{text}\n")])
    return 0 if result.passed else 1
