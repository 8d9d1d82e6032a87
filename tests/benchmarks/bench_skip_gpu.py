"""Prefill, decoding and cache under plans in the true shapes of four models, random weights in bfloat16, on a GPU.

    python tests/benchmarks/bench_skip_gpu.py --rounds 7 --markdown docs/reference/benchmarks/skip-gpu.md

Nothing is downloaded: the models are built on the meta device and filled on the GPU. Without a GPU it says so and ends.
"""

from __future__ import annotations

import argparse
import gc
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
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
from vlm.models.loading import ATTENTION

IMAGE, TEXT = 7, 64
_CLIP = dict(
    hidden_size=1024,
    intermediate_size=4096,
    num_hidden_layers=24,
    num_attention_heads=16,
    image_size=336,
    patch_size=14,
)
_7B = dict(hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32, vocab_size=32064)
_13B = dict(hidden_size=5120, intermediate_size=13824, num_hidden_layers=40, num_attention_heads=40, vocab_size=32064)
_QWEN = dict(
    hidden_size=3584,
    intermediate_size=18944,
    num_hidden_layers=28,
    num_attention_heads=28,
    num_key_value_heads=4,
    vocab_size=152064,
    rope_parameters={"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
)
_QWEN_TOWER = dict(
    depth=32,
    hidden_size=1280,
    intermediate_size=3420,
    num_heads=16,
    out_hidden_size=3584,
    window_size=112,
    fullatt_block_indexes=[7, 15, 23, 31],
)


@dataclass(frozen=True)
class Shape:
    """A model's sizes and its images: how many per prompt, and the tokens of each."""

    name: str
    text: dict[str, Any]
    tower: dict[str, Any]
    images: int = 1
    per_image: int = 576

    @property
    def vision(self) -> int:
        return self.images * self.per_image

    @property
    def is_qwen(self) -> bool:
        return self.name.startswith("Qwen")


SHAPES = (
    Shape("LLaVA 1.5 7B", _7B, _CLIP),
    Shape("LLaVA 1.5 13B", _13B, _CLIP),
    # Five tiles of 576 tokens, as LLaVA-NeXT cuts a large image.
    Shape("LLaVA-NeXT 7B", _7B, _CLIP, images=5),
    Shape("Qwen2.5-VL 7B", _QWEN, _QWEN_TOWER, per_image=1024),
)
_SMALL = dict(
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=8,
    num_attention_heads=4,
    num_key_value_heads=4,
    vocab_size=64,
)
_SMALL_CLIP = dict(
    hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=56, patch_size=14
)
TINY = (
    Shape("LLaVA tiny", _SMALL, _SMALL_CLIP, images=2, per_image=16),
    Shape(
        "Qwen2.5-VL tiny",
        _SMALL | dict(rope_parameters={"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]}),
        _QWEN_TOWER | dict(depth=2, hidden_size=16, intermediate_size=32, num_heads=2, out_hidden_size=64),
        per_image=16,
    ),
)


def skeleton(shape: Shape, attention: str = "sdpa") -> Any:
    """A model without memory."""
    if shape.is_qwen:
        config = transformers.Qwen2_5_VLConfig(
            text_config=shape.text, vision_config=shape.tower, image_token_id=IMAGE, video_token_id=6
        )
        kind = transformers.Qwen2_5_VLForConditionalGeneration
    else:
        config = transformers.LlavaConfig(
            text_config=transformers.LlamaConfig(**shape.text, max_position_embeddings=4096),
            vision_config=transformers.CLIPVisionConfig(**shape.tower),
            image_token_index=IMAGE,
        )
        kind = transformers.LlavaForConditionalGeneration
    with torch.device("meta"):
        return kind._from_config(config, attn_implementation=attention, dtype=torch.bfloat16)


def build(shape: Shape, device: str, attention: str = "sdpa") -> Any:
    """A model of random weights, made without memory and then filled where it runs."""
    torch.manual_seed(0)
    model = skeleton(shape, attention)
    model.to_empty(device=device)
    for tensor in (*model.modules(), *model.parameters(), *model.buffers()):
        tensor.__dict__.pop("_is_hf_initialized", None)
    # Filling also works out positions and rotary frequencies, which are no weights.
    model.initialize_weights()
    return model.eval()


def prompt(shape: Shape, batch: int, model: Any) -> dict[str, torch.Tensor]:
    """Text, images, text: eight tokens before the images, the rest after."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(10, shape.text["vocab_size"], (batch, shape.vision + TEXT), generator=generator)
    ids[:, 8 : 8 + shape.vision] = IMAGE
    if shape.is_qwen:
        side = 2 * int(shape.per_image**0.5)
        pixels = {
            "pixel_values": torch.randn(batch * side * side, 1176, generator=generator),
            "image_grid_thw": torch.tensor([[1, side, side]] * batch),
            "mm_token_type_ids": (ids == IMAGE).to(torch.int32),
        }
    else:
        size = shape.tower["image_size"]
        pixels = {"pixel_values": torch.randn(batch * shape.images, 3, size, size, generator=generator)}
    pixels["pixel_values"] = pixels["pixel_values"].to(model.dtype)
    return {name: value.to(model.device) for name, value in ({"input_ids": ids} | pixels).items()}


def measure(
    shape: Shape, device: str, *, attention: str, batches: tuple[int, ...], rounds: int, tokens: int
) -> list[str]:
    """Tables of one shape, one per batch size."""
    model = build(shape, device, attention)
    plans = plans_for(shape.text["num_hidden_layers"], shape.vision)
    ways = {PLAIN: nullcontext} | {plan: partial(vlm.skipping, model, plan) for plan in plans} | observers(model)
    lines = []
    for batch in batches:
        taken = take_turns(model, prompt(shape, batch, model), ways, rounds=rounds, tokens=tokens)
        measured = {way: taken.pop(way) for way in observers(model)}
        lines += ["", f"### {shape.name}, {shape.vision} image + {TEXT} text tokens, batch {batch}", ""]
        lines += [seconds_line(taken[PLAIN]), ""]
        sizes = dict(vision=shape.vision, text=TEXT, batch=batch)
        lines += plan_lines(model, taken, **sizes, tokens=tokens, rounds=rounds)
        lines += observer_lines(measured, taken[PLAIN])
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=32, help="tokens decoded per round")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--attention", choices=ATTENTION, default="sdpa")
    parser.add_argument("--only", help="run the shapes whose name contains this")
    parser.add_argument("--tiny", action="store_true", help="two tiny shapes on the processor, to try the script out")
    parser.add_argument(
        "--markdown", type=Path, help="file whose tables between the bench_skip_gpu markers are replaced"
    )
    given = parser.parse_args()
    device = "cpu" if given.tiny else "cuda"
    if not (given.tiny or torch.cuda.is_available()):
        print("no GPU here: nothing measured (try --tiny)")
        return
    lines = [f"{machine_line(device)} {given.attention}, {given.rounds} rounds, {given.tokens} decoded tokens."]
    for shape in TINY if given.tiny else SHAPES:
        if given.only is None or given.only in shape.name:
            sizes = dict(batches=tuple(given.batches), rounds=given.rounds, tokens=given.tokens)
            lines += measure(shape, device, attention=given.attention, **sizes)
            gc.collect()
            if device == "cuda":
                torch.cuda.empty_cache()
    show(lines, given.markdown, "bench_skip_gpu")


if __name__ == "__main__":
    main()
