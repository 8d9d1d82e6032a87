"""Plans as drafts of the full embedded model on its descriptions: acceptance, steps and time, answers compared.

python tests/benchmarks/bench_speculation.py --images 20 --processor-time
"""

from __future__ import annotations

import argparse
import statistics
import time
from contextlib import nullcontext

import torch
from skip_timing import machine_line

import vlm
from vlm.tiny import questions

PLANS = ("vision:4-5/text:4-5", "vision:3-6/text:3-6", "vision:2-7/text:2-7", "mlp:2-7", "attention:2-7", "vision:7-")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=4, help="tokens that the draft proposes at once")
    parser.add_argument("--processor-time", action="store_true", help="on a busy machine: one thread, processor time")
    given = parser.parse_args()
    if given.processor_time:
        torch.set_num_threads(1)
    clock = time.process_time if given.processor_time else time.perf_counter
    model, processor = vlm.load(given.model)
    asked = questions(limit=given.images, kinds=("location",))
    batches = [
        processor(images=[q.image], text=["<image> describe answer:"], return_tensors="pt", padding=True) for q in asked
    ]
    steps: list[int] = []
    # The draft is a copy with the same hooks.
    model.register_forward_pre_hook(lambda module, _: steps.append(1) if module is model else None)
    print(machine_line())
    print("| draft | the same answers | accepted of proposed | steps of the full model | time |")
    print("| --- | ---: | ---: | ---: | ---: |")
    plain = [run(model, batch, steps, clock) for batch in batches]
    for plan in PLANS:
        with vlm.speculative(model, plan) as draft:
            settings = draft.generation_config
            settings.num_assistant_tokens, settings.num_assistant_tokens_schedule = given.tokens, "constant"
            settings.assistant_confidence_threshold = 0
            fast = [run(model, batch, steps, clock, assistant_model=draft) for batch in batches]
        same = sum(torch.equal(a[0], b[0]) for a, b in zip(plain, fast, strict=True))
        tokens = sum(a[0].shape[1] - b["input_ids"].shape[1] for a, b in zip(plain, batches, strict=True))
        calls = sum(result[1] for result in fast)
        accepted = (tokens - calls) / max(1, calls * given.tokens)
        ratio = statistics.median(b[2] / a[2] for a, b in zip(plain, fast, strict=True))
        full = sum(result[1] for result in plain)
        print(
            f"| `{plan}` | {same} of {len(batches)} | {accepted:.2f} | {calls / full:.2f} | {ratio:.2f} |", flush=True
        )


def run(model, batch, steps, clock, **more):  # type: ignore[no-untyped-def]
    """Answer, steps of the full model, seconds."""
    steps.clear()
    start = clock()
    with nullcontext():
        out = model.generate(**batch, max_new_tokens=20, do_sample=False, **more)
    return out, len(steps), clock() - start


if __name__ == "__main__":
    main()
