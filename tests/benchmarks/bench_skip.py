"""Prefill and decode under plans against no plan and against the ideal operation ratio, in one run.

Model: random LLaVA, 576 image + 64 text tokens, 16 layers of width 512 (that of bench_measure.py).
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from bench_measure import TEXT, VISION, build

import vlm

PLANS = ("none", "vision:0-4", "vision:0-8", "vision:8-16", "vision:0-4+12-16", "vision:4-12", "vision:4-8/text:4-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--tokens", type=int, default=16, help="tokens decoded per round")
    given = parser.parse_args()
    model, _, batch = build()
    start_at = model.model.language_model
    seconds: dict[str, list[float]] = {plan: [] for plan in ("plain", *PLANS)}
    decode: dict[str, list[float]] = {plan: [] for plan in ("plain", *PLANS)}
    cache_bytes: dict[str, int] = {}
    # The vision tower is no part of the plan: its time is taken out of every figure.
    clock: list[float] = []
    handle = start_at.register_forward_pre_hook(lambda *_: clock.append(time.perf_counter()))
    with torch.inference_mode():
        for round_number in range(given.rounds + 1):
            for plan in seconds:
                if plan == "plain":
                    first, step, held = one_round(model, batch, clock, given.tokens)
                else:
                    with vlm.skipping(model, plan):
                        first, step, held = one_round(model, batch, clock, given.tokens)
                if round_number:
                    seconds[plan].append(first)
                    decode[plan].append(step)
                    cache_bytes[plan] = held
    handle.remove()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {given.rounds} rounds")
    print(f"{'plan':<22}{'prefill ratio':>14}{'ideal ratio':>13}{'over ideal':>12}{'decode ratio':>14}{'cache MB':>10}")
    for plan in seconds:
        text = "none" if plan == "plain" else plan
        ideal = vlm.operations_ratio(model, text, vision=VISION, text=TEXT)
        ratio, step = (
            statistics.median(a / b for a, b in zip(table[plan], table["plain"], strict=True))
            for table in (seconds, decode)
        )
        print(
            f"{plan:<22}{ratio:>14.3f}{ideal:>13.3f}{ratio / ideal:>12.3f}{step:>14.3f}{cache_bytes[plan] / 1e6:>10.1f}"
        )
    plain = statistics.median(seconds["plain"])
    step = statistics.median(decode["plain"])
    print(f"plain prefill {plain:.3f} s (decoder only), decode {step * 1e3:.1f} ms per token")


def one_round(
    model: object, batch: dict[str, torch.Tensor], clock: list[float], tokens: int
) -> tuple[float, float, int]:
    """Seconds of the decoder's prefill, seconds per decoded token, bytes held in the cache."""
    clock.clear()
    out = model(**batch, logits_to_keep=1, use_cache=True)  # type: ignore[operator]
    prefill = time.perf_counter() - clock[0]
    cache, token = out.past_key_values, out.logits[:, -1:].argmax(-1)
    start = time.perf_counter()
    for _ in range(tokens):
        out = model(input_ids=token, past_key_values=cache, use_cache=True)  # type: ignore[operator]
        token = out.logits[:, -1:].argmax(-1)
    step = (time.perf_counter() - start) / tokens
    held = sum(
        t.numel() * t.element_size() for layer in cache.layers for t in (layer.keys, layer.values) if t is not None
    )
    return prefill, step, held


if __name__ == "__main__":
    main()
