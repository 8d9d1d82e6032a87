"""Plans on a model spread over several GPUs against the same model on one: every kind of plan, states, attention, time.

    python tests/benchmarks/bench_several_gpus.py --markdown docs/reference/benchmarks/skip-gpu.md

A random model in the true shape of LLaVA 1.5 7B and one of Qwen2.5-VL 7B, in bfloat16, are built on the first GPU
(nothing is downloaded), run there, spread over all of them as `device_map="auto"` does, and run again; `vlm.check`
follows on the embedded model, spread in the same way. The exit status is 1 if anything differs by more than rounding.
With fewer than two GPUs it says so and ends.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from bench_skip_gpu import SHAPES, Shape, build, prompt
from skip_timing import clock_of, machine_line, plans_for, ratio, show

import vlm
from vlm.models.families import anatomy

# Largest difference of logits or states, in standard deviations; equal kernels on equal GPUs should leave none.
LIMIT = 0.05
NEW_TOKENS = 8


def spread(model: Any, devices: Sequence[str]) -> dict[str, str]:
    """Put equal parts of a model on the devices, whole decoder layers each; returns the device of every module."""
    from accelerate import dispatch_model, infer_auto_device_map

    size = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    whole = sorted({type(layer).__name__ for layer in anatomy(model).layers})
    # Room for a whole layer more than an even share, as accelerate itself leaves.
    layer = sum(weight.numel() * weight.element_size() for weight in anatomy(model).layers[0].parameters())
    memory = dict.fromkeys(range(len(devices) - 1), size // len(devices) + layer) | {len(devices) - 1: 2 * size}
    places = infer_auto_device_map(model, max_memory=memory, no_split_module_classes=whole)
    named = {name: devices[place] for name, place in places.items()}
    skipped = getattr(model, "_skip_keys_device_placement", None)
    dispatch_model(model, named, main_device=devices[0], skip_keys=skipped)
    model.hf_device_map = named
    return named


def padded(batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The batch with padding on the left of its first row."""
    mask = torch.ones_like(batch["input_ids"])
    mask[0, :3] = 0
    return {**batch, "attention_mask": mask}


def ways(model: Any, vision: int, rows: int) -> dict[str, Callable[[], AbstractContextManager[Any]]]:
    """Every kind of plan, and a plan of its own for each row."""
    depth = anatomy(model).depth
    one = {plan: lambda plan=plan: vlm.skipping(model, plan) for plan in plans_for(depth, vision)}
    own = [f"vision:{depth // 2}-", f"keep:1-=0-{vision // 4}", "none"] * rows
    return one | {"a plan for each row": lambda: vlm.skipping(model, own[:rows])}


@torch.no_grad()
def results(model: Any, batch: Mapping[str, torch.Tensor], vision: int, rounds: int) -> dict[str, dict[str, Any]]:
    """By plan: logits, generated tokens and seconds; and under "measured", states and ratios without a plan."""
    out: dict[str, dict[str, Any]] = {}
    now = clock_of(model, time.perf_counter)
    settings: dict[str, Any] = dict(max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS, do_sample=False)
    for name, context in ways(model, vision, len(batch["input_ids"])).items():
        with context():
            seconds = []
            for _ in range(rounds + 1):
                start = now()
                logits = model(**batch, logits_to_keep=4).logits
                seconds.append(now() - start)
            tokens = model.generate(**batch, **settings)
            beams = model.generate(**batch, **settings, num_beams=2)
        found = {"logits": logits.float().cpu(), "tokens": tokens.cpu(), "beams": beams.cpu()}
        out[name] = {**found, "seconds": seconds[1:]}
    with (
        vlm.states(model, views=("last", "vision-mean")) as states,
        vlm.attention(model) as seen,
        vlm.probe(model) as record,
    ):
        model(**batch)
    measured = {f"state {layer}": torch.from_numpy(states.layer(layer, "last")) for layer in states.layers}
    measured["ratios"] = torch.from_numpy(seen.ratios())
    measured["distances"] = torch.from_numpy(record.table()["distance"])
    return {**out, "measured": measured}


def differences(one: Mapping[str, Any], many: Mapping[str, Any]) -> Iterator[tuple[str, float, bool]]:
    """By plan: the largest difference in standard deviations, and whether the same tokens were generated."""
    for name, found in many.items():
        expected, worst, same = one[name], 0.0, True
        for key, value in found.items():
            if key in ("tokens", "beams"):
                same &= torch.equal(value, expected[key])
            elif key != "seconds":
                here, there = (x.double().nan_to_num() for x in (value, expected[key]))
                worst = max(worst, float((here - there).abs().max() / there.std().clamp(min=1e-9)))
        yield name, worst, same


def table(one: Mapping[str, Any], many: Mapping[str, Any]) -> tuple[list[str], bool]:
    """Lines of a table, and whether nothing differs by more than rounding."""
    lines = [
        "| plan | largest difference, deviations | the same tokens | time on one GPU | on several |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    passed = True
    for name, worst, same in differences(one, many):
        # Where logits differ by rounding, the first of two nearly equal tokens may change.
        fine = worst <= LIMIT and (same or worst > 0)
        passed &= fine
        shown = "all measured states, ratios and distances" if name == "measured" else f"`{name}`"
        times = (
            ["", ""]
            if name == "measured"
            else [f"{ratio(x[name]['seconds'], x['none']['seconds']):.3f}" for x in (one, many)]
        )
        error = f"{worst:.1e}" if worst else "0"
        tokens = "" if name == "measured" else ("yes" if same else "no")
        lines.append(f"| {shown} | {error if fine else f'**{error}**'} | {tokens} | {times[0]} | {times[1]} |")
    whole = ratio(many["none"]["seconds"], one["none"]["seconds"])
    lines += ["", f"Without a plan a prompt takes {whole:.2f} of the time on several that it takes on one."]
    return lines, passed


def compared(shape: Shape, devices: Sequence[str], *, rows: int, rounds: int) -> tuple[list[str], bool]:
    """The table of one shape: built on the first device, run, spread over all, and run again."""
    model = build(shape, devices[0])
    one = results(model, padded(prompt(shape, rows, model)), shape.vision, rounds)
    places = spread(model, devices)
    held = [sum(place == device for place in places.values()) for device in devices]
    many = results(model, padded(prompt(shape, rows, model)), shape.vision, rounds)
    lines, passed = table(one, many)
    passed &= all(held)
    parts = ", ".join(f"{count} modules on {device}" for device, count in zip(devices, held, strict=True))
    return ["", f"### {shape.name}, {rows} prompts, spread over {len(devices)}: {parts}", "", *lines], passed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=2, help="prompts at once")
    parser.add_argument("--only", help="run the shapes whose name contains this")
    parser.add_argument(
        "--markdown", type=Path, help="file whose tables between the bench_several_gpus markers to replace"
    )
    given = parser.parse_args()
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count < 2:
        print(f"{count} GPUs here, and this needs two or more: nothing checked")
        return 0
    devices = [f"cuda:{index}" for index in range(count)]
    lines, passed = [f"{machine_line('cuda:0')} {count} GPUs."], True
    for shape in SHAPES:
        if shape.name in ("LLaVA 1.5 7B", "Qwen2.5-VL 7B") and (given.only is None or given.only in shape.name):
            more, fine = compared(shape, devices, rows=given.rows, rounds=given.rounds)
            lines, passed = lines + more, passed and fine
            gc.collect()
            torch.cuda.empty_cache()
    model, processor = vlm.load("tiny", device="cuda:0")
    spread(model, devices)
    checked = vlm.check(model, processor)
    passed &= checked.passed
    lines += ["", f"`vlm.check` of the embedded model, spread over {count}:", "", "```", str(checked), "```"]
    outcome = "all checks pass" if passed else "SOME CHECKS FAILED"
    lines += ["", f"several GPUs: {outcome} on {count} x {torch.cuda.get_device_name(0)}"]
    show(lines, given.markdown, "bench_several_gpus")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
