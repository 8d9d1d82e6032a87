"""Overhead of probe and attention against the plain forward, beside the usual way, in one run.

Model: random LLaVA, 576 image + 64 text tokens, 16 layers of width 512. Prints ratios of first quartiles
taken in turns, and the peak memory of each way in a process of its own.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import random
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from skip_timing import machine_line, ratio
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

import vlm

IMAGE, VISION, TEXT = 7, 576, 64
WAYS = ("plain", "probe", "attention", "attention, answer token", "probe + attention", "usual way")


def build(layers: int = 16, width: int = 512) -> tuple[Any, Any, dict[str, torch.Tensor]]:
    """The sdpa model, the same model with eager attention, and a prompt."""
    torch.manual_seed(0)
    vision = CLIPVisionConfig(
        hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2, image_size=336, patch_size=14
    )
    text = LlamaConfig(
        hidden_size=width,
        intermediate_size=1376 * width // 512,
        num_hidden_layers=layers,
        num_attention_heads=8,
        num_key_value_heads=8,
        vocab_size=1000,
        max_position_embeddings=2048,
    )
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=IMAGE)
    # Models keep the configuration they are given, and with it the kind of attention.
    fast, eager = (
        LlavaForConditionalGeneration._from_config(deepcopy(config), attn_implementation=kind).eval()
        for kind in ("sdpa", "eager")
    )
    eager.load_state_dict(fast.state_dict())
    ids = torch.randint(10, 1000, (1, VISION + TEXT))
    ids[:, 8 : 8 + VISION] = IMAGE
    return fast, eager, {"input_ids": ids, "pixel_values": torch.randn(1, 3, 336, 336)}


def run(way: str, fast: Any, eager: Any, batch: dict[str, torch.Tensor]) -> None:
    with torch.inference_mode():
        if way == "usual way":
            eager(**batch, output_hidden_states=True, output_attentions=True, logits_to_keep=1, use_cache=False)
            return
        with (
            vlm.probe(fast) if "probe" in way else nullcontext(),
            vlm.attention(fast, tokens="answer" if "answer" in way else "all") if "attention" in way else nullcontext(),
        ):
            fast(**batch, logits_to_keep=1, use_cache=False)


def resident(name: str) -> float:
    """VmRSS (now) or VmHWM (peak) of this process in MiB; Linux only."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith(name))


def peak_growth(way: str) -> float:
    """How far the peak memory rises above the loaded model during one forward, in MiB."""
    fast, eager, batch = build()
    run(way, fast, eager, batch)
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    run(way, fast, eager, batch)
    return resident("VmHWM") - before


def memory_of(way: str) -> float:
    """Peak memory of one forward above the loaded models, in MiB, in a fresh process."""
    command = [sys.executable, __file__, "--memory-of", way]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--processor-time", action="store_true", help="on a busy machine: one thread, processor time")
    parser.add_argument("--memory-of", choices=WAYS, help="internal: print one way's memory and stop")
    given = parser.parse_args()
    if given.memory_of:
        print(peak_growth(given.memory_of))
        return
    clock = time.process_time if given.processor_time else time.perf_counter
    if given.processor_time:
        torch.set_num_threads(1)
    fast, eager, batch = build()
    taken: dict[str, list[float]] = {way: [] for way in WAYS}
    order = random.Random(0)
    for round_number in range(given.rounds + 2):
        # In a fixed order every way would inherit the allocator and caches of the same other way.
        for way in order.sample(WAYS, len(WAYS)):
            start = clock()
            run(way, fast, eager, batch)
            if round_number >= 2:
                taken[way].append(clock() - start)
    kind = "processor time" if given.processor_time else "wall-clock time"
    print(machine_line(), f"{kind}, {given.rounds} rounds")
    print(f"{'way':<26}{'median s':>10}{'ratio to plain':>16}{'peak growth MiB':>18}")
    for way, values in taken.items():
        print(
            f"{way:<26}{statistics.median(values):>10.3f}{ratio(values, taken['plain']):>16.3f}{memory_of(way):>18.1f}"
        )


if __name__ == "__main__":
    main()
