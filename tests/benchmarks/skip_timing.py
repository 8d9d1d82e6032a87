"""Prefill, decoding and cache of one model under many plans in turns, beside what `vlm.plan_cost` says they cost."""

from __future__ import annotations

import platform
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers

import vlm
from vlm import SkipPlan
from vlm.models.families import anatomy
from vlm.plans.cost import _tokens

PLAIN = "no context"
HEAD = (
    "| plan | prefill ratio | ideal | over ideal | own layers | decode ratio | bytes read | cache MB | computed |",
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
)


@dataclass
class Taken:
    """Seconds of each round, and the bytes held in the cache after the prompt."""

    prefill: list[float] = field(default_factory=list)
    token: list[float] = field(default_factory=list)
    held: int = 0


def plans_for(depth: int, images: int) -> tuple[str, ...]:
    """Every kind of plan, in quarters of a model's depth."""
    quarter, half = depth // 4, depth // 2
    return (
        "none",
        f"vision:0-{quarter}",
        f"vision:{half}-",
        f"vision:0-{quarter}+{3 * quarter}-",
        f"vision:{quarter}-{half}/text:{quarter}-{half}",
        f"freeze:{quarter}-{3 * quarter}",
        f"freeze:{quarter}-{half}/vision:{half}-",
        f"keep:2-=0-{images // 4}",
        "prune:2=0.5",
        f"attention:{quarter}-{half}",
        f"mlp:{quarter}-{half}",
    )


def take_turns(
    model: Any,
    batch: Mapping[str, Any],
    ways: Mapping[str, Callable[[], AbstractContextManager[Any]]],
    *,
    rounds: int,
    tokens: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Taken]:
    """Time every way of running once a round, in a new random order each round, after one warm-up round.

    In a fixed order every way would inherit the allocator and the caches of the same other way.
    """
    taken, order, now = {way: Taken() for way in ways}, random.Random(0), clock_of(model, clock)
    with torch.inference_mode(), decoder_start(model, now) as begun:
        for number in range(rounds + 1):
            for way in order.sample(list(ways), len(ways)):
                with ways[way]():
                    prefill, token, held = _one_round(model, batch, now, begun, tokens)
                if number:
                    taken[way].prefill.append(prefill)
                    taken[way].token.append(token)
                    taken[way].held = held
    return taken


def clock_of(model: Any, clock: Callable[[], float]) -> Callable[[], float]:
    """The time, read after the model's device has finished."""

    def now() -> float:
        if model.device.type == "cuda":
            torch.cuda.synchronize(model.device)
        return clock()

    return now


def _one_round(
    model: Any, batch: Mapping[str, Any], now: Callable[[], float], begun: list[float], tokens: int
) -> tuple[float, float, int]:
    """Seconds of the decoder's prefill, seconds per decoded token, bytes held after the prompt."""
    out = model(**batch, logits_to_keep=1, use_cache=True)
    prefill = now() - begun[-1]
    cache, token = out.past_key_values, out.logits[:, -1:].argmax(-1)
    parts = [t for layer in cache.layers for t in (layer.keys, layer.values) if t is not None]
    held = sum(t.numel() * t.element_size() for t in parts)
    start = now()
    for _ in range(tokens):
        out = model(input_ids=token, past_key_values=cache, use_cache=True)
        token = out.logits[:, -1:].argmax(-1)
    return prefill, (now() - start) / tokens, held


def own_layers(
    model: Any,
    sizes: Sequence[int],
    *,
    batch: int,
    rounds: int,
    frozen: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[dict[int, float], float]:
    """Time of the model's own decoder on a text prompt of each size over that of the largest, without the library.

    Then, over the same, that of all layers' own norm, keys and values of so many frozen tokens.
    """
    now, seconds, keys = clock_of(model, clock), {size: [] for size in sizes}, []
    with torch.inference_mode(), decoder_start(model, now) as begun:
        for number in range(rounds + 1):
            for size in sizes:
                ids = torch.full((batch, size), 10, device=model.device)
                model(input_ids=ids, attention_mask=torch.ones_like(ids), logits_to_keep=1, use_cache=True)
                if number:
                    seconds[size].append(now() - begun[-1])
            start = now()
            _keys_and_values(model, batch, frozen)
            if number:
                keys.append(now() - start)
    whole = seconds[max(sizes)]
    return {size: ratio(taken, whole) for size, taken in seconds.items()}, ratio(keys, whole) if frozen else 0.0


def _keys_and_values(model: Any, batch: int, rows: int) -> None:
    """Every layer's own input norm, keys and values of random states."""
    parts = anatomy(model)
    states = torch.randn(batch, rows, parts.text_config.hidden_size, device=model.device, dtype=model.dtype)
    for layer in parts.layers if rows else ():
        normed = layer.input_layernorm(states)
        layer.self_attn.k_proj(normed)
        layer.self_attn.v_proj(normed)


@contextmanager
def decoder_start(model: Any, now: Callable[[], float]) -> Iterator[list[float]]:
    """When the decoder began: a plan does not cover the vision tower, so its time is subtracted."""
    begun: list[float] = []
    handle = anatomy(model).decoder.register_forward_pre_hook(lambda *_: begun.append(now()))
    try:
        yield begun
    finally:
        handle.remove()


def ratio(some: Sequence[float], others: Sequence[float]) -> float:
    """Ratio of first quartiles: other work on the machine only adds time, so the faster rounds matter most."""
    # Twice each, since one value alone has no quartiles.
    first, second = (statistics.quantiles([*values, *values], n=4)[0] for values in (some, others))
    return first / second


def tokens_by_layer(model: Any, plan: str, vision: int, text: int) -> list[int] | None:
    """Number of tokens that run through each whole layer; None where a layer leaves out attention or feed-forward."""
    steps = SkipPlan.parse("none" if plan == PLAIN else plan).steps(anatomy(model).depth)
    if any(step.attention != step.mlp for step in steps):
        return None
    return [_tokens(step, vision, text)[0] * step.mlp for step in steps]


def frozen_share(model: Any, plan: str) -> float:
    """Share of the layers in which image tokens are frozen."""
    steps = SkipPlan.parse("none" if plan == PLAIN else plan).steps(anatomy(model).depth)
    return statistics.mean(step.vision == "frozen" for step in steps)


def plan_lines(
    model: Any,
    taken: Mapping[str, Taken],
    *,
    vision: int,
    text: int,
    batch: int,
    tokens: int,
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> list[str]:
    """A table row per plan: measured over no plan, beside operations (prefill) and bytes read (decoding)."""
    lines = list(HEAD)
    by_layer = {plan: tokens_by_layer(model, plan, vision, text) for plan in taken}
    sizes = sorted({n for counts in by_layer.values() for n in counts or () if n} | {vision + text})
    by_size, keys = own_layers(model, sizes, batch=batch, rounds=rounds, frozen=vision, clock=clock)
    alone = {0: 0.0} | by_size

    def cost(plan: str) -> Any:
        sizes = dict(vision=vision, text=text, batch=batch)
        return vlm.plan_cost(model, plan=plan, **sizes), vlm.plan_cost(model, plan=plan, generated=tokens // 2, **sizes)

    full, full_later = cost("none")
    for plan, result in taken.items():
        now, later = cost("none" if plan == PLAIN else plan)
        ideal = now.prefill.total / full.prefill.total
        read = (later.decode_weight_bytes + later.cache_bytes.sum()) / (
            full_later.decode_weight_bytes + full_later.cache_bytes.sum()
        )
        prefill, step = ratio(result.prefill, taken[PLAIN].prefill), ratio(result.token, taken[PLAIN].token)
        counts = by_layer[plan]
        # The attention of few tokens to frozen ones is left out: no text prompt has it.
        frozen = keys * frozen_share(model, plan)
        own = "" if counts is None else f"{statistics.mean(alone[n] for n in counts) + frozen:.3f}"
        lines.append(
            f"| {plan if plan == PLAIN else f'`{plan}`'} | {prefill:.3f} | {ideal:.3f} "
            f"| {prefill / ideal:.3f} | {own} | {step:.3f} | {read:.3f} "
            f"| {result.held / 1e6:.1f} | {now.cache_bytes.sum() / 1e6:.1f} |"
        )
    return lines


def observers(model: Any) -> dict[str, Callable[[], AbstractContextManager[Any]]]:
    """Ways of running that measure without skipping."""
    return {"vlm.probe": lambda: vlm.probe(model), "vlm.attention": lambda: vlm.attention(model)}


def observer_lines(measured: Mapping[str, Taken], plain: Taken) -> list[str]:
    """A table row per way of measuring, beside its target."""
    lines = ["", "| measuring | prefill ratio | target | decode ratio |", "| --- | ---: | ---: | ---: |"]
    for (way, result), target in zip(measured.items(), (1.03, 1.02), strict=True):
        prefill, step = ratio(result.prefill, plain.prefill), ratio(result.token, plain.token)
        lines.append(f"| `{way}` | {prefill:.3f} | {target:.2f} | {step:.3f} |")
    return lines


def seconds_line(plain: Taken) -> str:
    prefill, token = statistics.median(plain.prefill), statistics.median(plain.token)
    return f"Without a plan: prefill {prefill * 1e3:.1f} ms (decoder only), {token * 1e3:.2f} ms a decoded token."


def machine_line(device: str = "cpu") -> str:
    """Machine, versions and load, in one line."""
    gpu = f", {torch.cuda.get_device_name(device)}" if device.startswith("cuda") else ""
    load = (
        f", load {Path('/proc/loadavg').read_text().split()[0]} at the start" if Path("/proc/loadavg").exists() else ""
    )
    return (
        f"{platform.machine()}, {torch.get_num_threads()} threads{gpu}; Python {platform.python_version()}, "
        f"torch {torch.__version__}, transformers {transformers.__version__}{load}."
    )


def show(lines: Sequence[str], markdown: Path | None, name: str) -> None:
    """Print the lines, and write them between the markers of this name in a Markdown file."""
    print("\n".join(lines))
    if markdown is None:
        return
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, found, rest = markdown.read_text().partition(begin)
    _, also, after = rest.partition(end)
    if not (found and also):
        raise SystemExit(f"{markdown}: expected the lines {begin!r} and {end!r}, found no such pair; nothing written")
    markdown.write_text("\n".join([before + begin, "", *lines, "", end]) + after)
    print(f"wrote {markdown}")
