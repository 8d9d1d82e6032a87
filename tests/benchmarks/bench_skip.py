"""Prefill, decoding and cache under every kind of plan against no plan, and the overhead of measuring, on a processor.

Model: random LLaVA, 576 image + 64 text tokens, 16 layers of width 512 (that of bench_measure.py).

    python tests/benchmarks/bench_skip.py --rounds 11 --markdown docs/reference/benchmarks/skip.md
"""

from __future__ import annotations

import argparse
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import torch
from bench_measure import TEXT, VISION, build
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

import vlm


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
    given = parser.parse_args()
    if given.processor_time:
        torch.set_num_threads(1)
    machine = machine_line()
    model, _, batch = build()
    plans = plans_for(16, VISION)
    ways = {PLAIN: nullcontext} | {plan: partial(vlm.skipping, model, plan) for plan in plans}
    measuring = observers(model)
    clock = time.process_time if given.processor_time else time.perf_counter
    taken = take_turns(model, batch, ways | measuring, rounds=given.rounds, tokens=given.tokens, clock=clock)
    measured = {way: taken.pop(way) for way in measuring}
    kind = "Processor time" if given.processor_time else "Wall-clock time"
    lines = [machine, f"{kind}, {given.rounds} rounds, {given.tokens} decoded tokens. {seconds_line(taken[PLAIN])}", ""]
    sizes = dict(vision=VISION, text=TEXT, batch=1)
    lines += plan_lines(model, taken, **sizes, tokens=given.tokens, rounds=given.rounds, clock=clock)
    lines += observer_lines(measured, taken[PLAIN])
    show(lines, given.markdown, "bench_skip")


if __name__ == "__main__":
    main()
