"""Prefill, decoding and cache under every kind of plan against no plan, and the overhead of measuring, on a processor.

Model: random LLaVA, 576 image + 64 text tokens, 16 layers of width 512 (that of bench_measure.py).

    python tests/benchmarks/bench_skip.py --rounds 11 --markdown docs/reference/benchmarks/skip.md

`--shape grouped` is that of a 0.5B model (729 image + 65 text tokens, 24 layers of width 896, 14 heads, 2 key heads,
vocabulary cut), where freezing was slow; `--text` gives it longer prompts.
"""

from __future__ import annotations

import argparse
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from bench_measure import IMAGE, TEXT, VISION, build
from skip_timing import (
    PLAIN,
    machine_line,
    observer_lines,
    observers,
    plan_lines,
    plans_for,
    seconds_line,
    show,
    take_turns,
)
from transformers import CLIPVisionConfig, LlavaConfig, LlavaForConditionalGeneration, Qwen2Config

import vlm

GROUPED = ("none", "freeze:4-20", "vision:4-20", "freeze:4-12/vision:12-")


def build_grouped(text: int, layers: int = 24) -> tuple[Any, dict[str, torch.Tensor]]:
    """A model with few key heads, and a prompt of 729 image tokens and so many text tokens."""
    torch.manual_seed(0)
    config = LlavaConfig(
        text_config=Qwen2Config(
            hidden_size=896,
            intermediate_size=4864,
            num_hidden_layers=layers,
            num_attention_heads=14,
            num_key_value_heads=2,
            vocab_size=1000,
            max_position_embeddings=65536,
        ),
        vision_config=CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=108,
            patch_size=4,
        ),
        image_token_index=IMAGE,
    )
    model = LlavaForConditionalGeneration._from_config(config, attn_implementation="sdpa").eval()
    ids = torch.randint(10, 1000, (1, 729 + text))
    ids[:, 14 : 14 + 729] = IMAGE
    return model, {"input_ids": ids, "pixel_values": torch.randn(1, 3, 108, 108)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=16, help="tokens decoded per round")
    parser.add_argument("--markdown", type=Path, help="file whose tables between the bench_skip markers are replaced")
    parser.add_argument(
        "--processor-time",
        action="store_true",
        help="on a busy machine: one thread, and the time that the processor spent on it instead of the wall clock's",
    )
    parser.add_argument("--shape", choices=["square", "grouped"], default="square")
    parser.add_argument("--text", type=int, default=65, help="text tokens of the grouped shape")
    parser.add_argument("--layers", type=int, default=24, help="decoder layers of the grouped shape")
    parser.add_argument("--plans", nargs="+", help="these plans alone, without the ways of measuring")
    given = parser.parse_args()
    if given.processor_time:
        torch.set_num_threads(1)
    machine = machine_line()
    if given.shape == "grouped":
        model, batch = build_grouped(given.text, given.layers)
        plans, vision, text, marker = GROUPED, 729, given.text, "bench_skip_grouped"
    else:
        model, _, batch = build()
        plans, vision, text, marker = plans_for(16, VISION), VISION, TEXT, "bench_skip"
    ways = {PLAIN: nullcontext} | {plan: partial(vlm.skipping, model, plan) for plan in given.plans or plans}
    measuring = {} if given.plans else observers(model)
    clock = time.process_time if given.processor_time else time.perf_counter
    taken = take_turns(model, batch, ways | measuring, rounds=given.rounds, tokens=given.tokens, clock=clock)
    measured = {way: taken.pop(way) for way in measuring}
    kind = "Processor time" if given.processor_time else "Wall-clock time"
    lines = [machine, f"{kind}, {given.rounds} rounds, {given.tokens} decoded tokens. {seconds_line(taken[PLAIN])}", ""]
    sizes = dict(vision=vision, text=text, batch=1)
    lines += plan_lines(model, taken, **sizes, tokens=given.tokens, rounds=given.rounds, clock=clock)
    lines += observer_lines(measured, taken[PLAIN]) if measured else []
    show(lines, given.markdown, marker)


if __name__ == "__main__":
    main()
