"""Plans as drafts of the full embedded model on its descriptions: acceptance, steps and time, answers compared.

python tests/benchmarks/bench_speculation.py --processor-time --markdown docs/how-to/draft.md

Without a plan and under every plan in turn, image by image, so that other work on the machine meets all of them alike.
"Ideal" is what the steps taken cost if each costs its counted operations.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import NamedTuple

import torch
from skip_timing import machine_line, show

import vlm
from vlm.tiny import questions

PLANS = (
    *(
        "vision:4-5/text:4-5",
        "vision:3-6/text:3-6",
        "vision:2-6/text:2-6",
        "vision:1-7/text:1-7",
        "vision:5-9/text:5-9",
    ),
    *("mlp:2-5", "mlp:2-7", "attention:4-5", "attention:2-7", "vision:7-", "vision:4-7", "prune:5=0.25"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=4, help="tokens that the draft proposes at once")
    parser.add_argument("--plans", nargs="+", default=PLANS)
    parser.add_argument("--processor-time", action="store_true", help="on a busy machine: one thread, processor time")
    parser.add_argument(
        "--markdown", type=Path, help="page whose table between the bench_speculation markers is replaced"
    )
    given = parser.parse_args()
    if given.processor_time:
        torch.set_num_threads(1)
    clock = time.process_time if given.processor_time else time.perf_counter
    machine = machine_line()
    model, processor = vlm.load(given.model)
    asked = questions(limit=given.images, kinds=("location",))
    batches = [
        processor(images=[q.image], text=["<image> describe answer:"], return_tensors="pt", padding=True) for q in asked
    ]
    steps: list[int] = []
    # The draft is a copy with the same hooks.
    model.register_forward_pre_hook(lambda module, _: steps.append(1) if module is model else None)
    full: list[Run] = []
    drafted: dict[str, list[Run]] = {plan: [] for plan in given.plans}
    for batch in (batches[0], *batches):  # the first image twice: once to warm up
        full.append(run(model, batch, steps, clock))
        for plan, runs in drafted.items():
            with vlm.speculative(model, plan) as draft:
                settings = draft.generation_config
                settings.num_assistant_tokens, settings.num_assistant_tokens_schedule = given.tokens, "constant"
                settings.assistant_confidence_threshold = 0
                runs.append(run(model, batch, steps, clock, assistant_model=draft))
    which = "processor time on one thread" if given.processor_time else "wall time"
    lines = [
        f"{given.images} images, {given.tokens} proposals at once, {which}, median over images. {machine}",
        "",
        "| draft | its step's operations | the same answers | accepted of proposed "
        "| steps of the full model | time | ideal |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        *(row(model, plan, batches, full[1:], runs[1:], given.tokens) for plan, runs in drafted.items()),
    ]
    show(lines, given.markdown, "bench_speculation")


def row(model, plan, batches, full, runs, proposed) -> str:  # type: ignore[no-untyped-def]
    """One line of the table."""
    same = sum(torch.equal(a.answer, b.answer) for a, b in zip(full, runs, strict=True))
    tokens = sum(a.answer.shape[1] - b["input_ids"].shape[1] for a, b in zip(full, batches, strict=True))
    calls = sum(one.steps for one in runs)
    accepted = (tokens - calls) / max(1, calls * proposed)
    ratio = statistics.median(b.seconds / a.seconds for a, b in zip(full, runs, strict=True))
    vision = int((batches[0]["input_ids"] == model.config.image_token_id).sum())
    counts = dict(vision=vision, text=batches[0]["input_ids"].shape[1] - vision, generated=10)
    share = vlm.plan_cost(model, plan=plan, **counts).decode.total / vlm.plan_cost(model, **counts).decode.total
    # Steps of the full model, and those of the draft beside each.
    ideal = calls / sum(one.steps for one in full) * (1 + proposed * share)
    return (
        f"| `{plan}` | {share:.2f} | {same} of {len(batches)} | {accepted:.2f} | "
        f"{calls / sum(one.steps for one in full):.2f} | {ratio:.2f} | {ideal:.2f} |"
    )


class Run(NamedTuple):
    """Answer, steps of the full model, seconds."""

    answer: torch.Tensor
    steps: int
    seconds: float


def run(model, batch, steps, clock, **more) -> Run:  # type: ignore[no-untyped-def]
    """One description."""
    steps.clear()
    start = clock()
    answer = model.generate(**batch, max_new_tokens=20, do_sample=False, **more)
    return Run(answer, len(steps), clock() - start)


if __name__ == "__main__":
    main()
