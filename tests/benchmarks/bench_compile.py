"""Decoding on a static cache with a compiled step and without, under plans and without one; answers compared.

python tests/benchmarks/bench_compile.py --processor-time
"""

from __future__ import annotations

import argparse
import statistics
import time
from contextlib import nullcontext

import torch
from skip_timing import machine_line
from transformers import CompileConfig

import vlm
from vlm.models.random_batches import batch_for
from vlm.models.random_models import random_model

PLANS = ("", "vision:1-", "freeze:1-3/vision:4-", "keep:1-=0-3", "attention:1-2/mlp:3-4")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", nargs="+", default=PLANS, help="plans; an empty one is no context")
    parser.add_argument("--backend", default="inductor")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--processor-time", action="store_true", help="on a busy machine: one thread, processor time")
    given = parser.parse_args()
    if given.processor_time:
        torch.set_num_threads(1)
    clock = time.process_time if given.processor_time else time.perf_counter
    model = random_model(layers=given.layers, width=given.width)
    batch = batch_for(model, images=(4,), after=(8,))
    print(machine_line())
    print("| plan | the same answer | compiled / not | to compile, s |")
    print("| --- | --- | ---: | ---: |")
    for plan in given.plan:
        torch._dynamo.reset()
        with vlm.skipping(model, plan) if plan else nullcontext():
            step = CompileConfig(fullgraph=True, backend=given.backend, mode=None)
            step._compile_all_devices = True
            ways = {"plain": {}, "compiled": {"compile_config": step}}
            first, answers, seconds = {}, {}, {name: [] for name in ways}
            for number in range(given.rounds + 1):
                for name, settings in ways.items():
                    taken, answers[name] = answer(model, batch, given.tokens, clock, settings)
                    if number:
                        seconds[name].append(taken)
                    else:
                        first[name] = taken
        same = "yes" if torch.equal(answers["plain"], answers["compiled"]) else "no"
        plain, compiled = (statistics.median(seconds[name]) for name in ("plain", "compiled"))
        print(f"| `{plan or 'no context'}` | {same} | {compiled / plain:.2f} | {first['compiled']:.0f} |", flush=True)


def answer(model, batch, tokens, clock, settings):
    """Seconds of all tokens but the first, and the answer."""
    both = []
    for count in (1, tokens):
        start = clock()
        out = model.generate(
            **batch,
            max_new_tokens=count,
            min_new_tokens=count,
            do_sample=False,
            cache_implementation="static",
            **settings,
        )
        both.append(clock() - start)
    return both[1] - both[0], out


if __name__ == "__main__":
    main()
