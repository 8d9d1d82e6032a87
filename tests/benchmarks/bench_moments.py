"""Overhead and memory of `vlm.moments` against the plain forward, in one run.

Model: random LLaVA, 576 image + 64 text tokens, 16 layers of width 512, as in bench_measure.py. Prints ratios of first
quartiles taken in turns, and the peak memory of each way in a process of its own. The first forward in a context, which
makes the sums, is not timed.
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
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from bench_measure import build, resident
from skip_timing import machine_line, ratio

import vlm

WAYS: dict[str, dict[str, Any] | None] = {
    "plain": None,
    "project=64": dict(project=64),
    "project=64, float32": dict(project=64, precision="float32"),
    "project=None": dict(),
    "project=None, float32": dict(precision="float32"),
}


def context(way: str, model: Any) -> AbstractContextManager[Any]:
    options = WAYS[way]
    return nullcontext() if options is None else vlm.moments(model, **options)


def seconds(way: str, model: Any, batch: dict[str, torch.Tensor], clock: Any) -> float:
    with torch.inference_mode(), context(way, model):
        model(**batch, logits_to_keep=1, use_cache=False)
        start = clock()
        model(**batch, logits_to_keep=1, use_cache=False)
        return float(clock() - start)


def peak_growth(way: str) -> tuple[float, float]:
    """How far the peak memory rises above the loaded model, in MiB, and how much of it are the sums."""
    model, eager, batch = build()
    del eager
    seconds("plain", model, batch, time.process_time)
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    with torch.inference_mode(), context(way, model) as sums:
        for _ in range(2):
            model(**batch, logits_to_keep=1, use_cache=False)
        held = 0.0 if sums is None else sums.bytes / 2**20
    return resident("VmHWM") - before, held


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--processor-time", action="store_true", help="on a busy machine: one thread, processor time")
    parser.add_argument("--memory-of", choices=WAYS, help="internal: print one way's memory and stop")
    given = parser.parse_args()
    if given.memory_of:
        print(*peak_growth(given.memory_of))
        return
    clock = time.process_time if given.processor_time else time.perf_counter
    if given.processor_time:
        torch.set_num_threads(1)
    model, _, batch = build()
    taken: dict[str, list[float]] = {way: [] for way in WAYS}
    order = random.Random(0)
    for round_number in range(given.rounds + 1):
        for way in order.sample(list(WAYS), len(WAYS)):
            value = seconds(way, model, batch, clock)
            if round_number:
                taken[way].append(value)
    kind = "processor time" if given.processor_time else "wall-clock time"
    print(machine_line(), f"{kind}, {given.rounds} rounds")
    print(f"{'way':<24}{'median s':>10}{'ratio to plain':>16}{'peak growth MiB':>18}{'sums MiB':>12}")
    for way, values in taken.items():
        command = [sys.executable, __file__, "--memory-of", way]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        print(
            f"{way:<24}{statistics.median(values):>10.3f}{ratio(values, taken['plain']):>16.3f}"
            f"{float(out[0]):>18.1f}{float(out[1]):>12.1f}"
        )


if __name__ == "__main__":
    main()
