"""Overhead and memory of recording hidden states against the plain forward, beside the usual way, in one run.

Model: random LLaVA, 576 image + 64 text tokens, 16 layers of width 512. Prints ratios of first quartiles
taken in turns, which other work on the machine disturbs; the same ratio from one call, by the time spent inside the
recording itself, which it hardly does; and the peak memory of each way in a process of its own.
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from bench_measure import IMAGE, build, resident
from skip_timing import machine_line, ratio

import vlm
from vlm.hidden_states.state_record import StatesRecord

VIEWS = {
    "plain": (),
    "plain again": (),
    "last": ("last",),
    "last + vision-mean": ("last", "vision-mean"),
    "and samples of 16": ("last", "vision-mean", "text-mean", "vision-sample(16)", "text-sample(16)"),
    "every token": ("vision-all", "text-all"),
    "usual way": ("last", "vision-mean"),
}


@contextmanager
def clocked(clock: Callable[[], float]) -> Iterator[list[float]]:
    """Seconds that calls of the recording take, appended one by one."""
    taken: list[float] = []
    names = ("check", "observe", "finish", "settle")
    own = {name: getattr(StatesRecord, name) for name in names}
    inside = 0

    def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            nonlocal inside
            inside, start = inside + 1, clock()
            try:
                return function(*args)
            finally:
                inside -= 1
                if not inside:  # `finish` calls `settle`
                    taken.append(clock() - start)

        return call

    for name in names:
        setattr(StatesRecord, name, wrapped(own[name]))
    try:
        yield taken
    finally:
        for name in names:
            setattr(StatesRecord, name, own[name])


def run(way: str, model: Any, batch: dict[str, torch.Tensor]) -> None:
    with torch.inference_mode():
        if way.startswith("plain"):
            model(**batch, logits_to_keep=1, use_cache=False)
        elif way == "usual way":  # whose last state is after the final norm
            found = model(**batch, logits_to_keep=1, use_cache=False, output_hidden_states=True).hidden_states
            image = batch["input_ids"] == IMAGE
            _ = [(state[:, -1].numpy(), state[image].mean(dim=0).numpy()) for state in found]
        else:
            with vlm.states(model, views=VIEWS[way]) as states:
                model(**batch, logits_to_keep=1, use_cache=False)
            _ = [states.layer(0, view) for view in VIEWS[way]]


def peak_growth(way: str) -> float:
    """How far the peak memory rises above the loaded model during one forward, in MiB."""
    model, _, batch = build()
    run(way, model, batch)
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    run(way, model, batch)
    return resident("VmHWM") - before


def memory_of(way: str) -> float:
    """Peak memory of one forward above the loaded model, in MiB, in a fresh process."""
    command = [sys.executable, __file__, "--memory-of", way]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--processor-time", action="store_true", help="on a busy machine: one thread, processor time")
    parser.add_argument("--ways", nargs="+", choices=VIEWS, default=list(VIEWS), help="some of the ways, plain first")
    parser.add_argument("--memory-of", choices=VIEWS, help="internal: print one way's memory and stop")
    given = parser.parse_args()
    if given.memory_of:
        print(peak_growth(given.memory_of))
        return
    clock = time.process_time if given.processor_time else time.perf_counter
    if given.processor_time:
        torch.set_num_threads(1)
    model, _, batch = build()
    taken: dict[str, list[float]] = {way: [] for way in given.ways}
    own: dict[str, list[float]] = {way: [] for way in given.ways}
    order = random.Random(0)
    for round_number in range(given.rounds + 2):
        # In a fixed order every way would inherit the allocator and caches of the same other way.
        for way in order.sample(given.ways, len(given.ways)):
            with clocked(clock) as recording:
                start = clock()
                run(way, model, batch)
                whole = clock() - start
            if round_number >= 2:
                taken[way].append(whole)
                own[way].append(whole / (whole - sum(recording)))
    kind = "processor time" if given.processor_time else "wall-clock time"
    print(machine_line(), f"{kind}, {given.rounds} rounds")
    print(f"{'way':<20}{'median s':>10}{'ratio to plain':>16}{'within a call':>15}{'peak growth MiB':>18}")
    for way, values in taken.items():
        ratios = f"{ratio(values, taken['plain']):>16.3f}{statistics.median(own[way]):>15.4f}"
        print(f"{way:<20}{statistics.median(values):>10.3f}{ratios}{memory_of(way):>18.1f}", flush=True)


if __name__ == "__main__":
    main()
