"""Tiny random models of the real Hugging Face classes, and batches for them."""

from __future__ import annotations

from typing import Any

import torch
from transformers import CLIPVisionConfig, LlamaConfig, MistralConfig

IMAGE = 7
VOCABULARY = 50
PATCHES = 9


def _vision() -> CLIPVisionConfig:
    return CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=12, patch_size=4
    )


def _text(kind: str, layers: int, width: int) -> Any:
    common = dict(
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=VOCABULARY,
        max_position_embeddings=4096,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    return MistralConfig(**common, sliding_window=None) if kind == "mistral" else LlamaConfig(**common)


def random_model(
    family: str = "llava", attention: str = "sdpa", layers: int = 5, width: int = 32, seed: int = 0
) -> Any:
    """A random model whose layers change the states enough for mistakes to show."""
    import transformers as hf

    torch.manual_seed(seed)
    common = dict(vision_config=_vision(), image_token_index=IMAGE)
    if family == "llava":
        config = hf.LlavaConfig(text_config=_text("llama", layers, width), **common)
        model = hf.LlavaForConditionalGeneration._from_config(config, attn_implementation=attention)
    elif family == "llava-mistral":
        config = hf.LlavaConfig(text_config=_text("mistral", layers, width), **common)
        model = hf.LlavaForConditionalGeneration._from_config(config, attn_implementation=attention)
    elif family == "vipllava":
        config = hf.VipLlavaConfig(text_config=_text("llama", layers, width), vision_feature_layers=[-2, -1], **common)
        model = hf.VipLlavaForConditionalGeneration._from_config(config, attn_implementation=attention)
    elif family == "llava_next":
        config = hf.LlavaNextConfig(
            text_config=_text("llama", layers, width), image_grid_pinpoints=[[12, 24], [24, 12], [24, 24]], **common
        )
        model = hf.LlavaNextForConditionalGeneration._from_config(config, attn_implementation=attention)
    else:
        raise ValueError(family)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "language_model.layers" in name and weight.ndim == 2:
                weight.mul_(6.0)
    return model.eval()


def next_image_tokens(model: Any, size: tuple[int, int] = (24, 24)) -> int:
    """How many placeholders a LLaVA-NeXT image of this size takes: measured, not computed."""
    with torch.no_grad():
        features = model.model.get_image_features(
            pixel_values=torch.zeros(1, 5, 3, 12, 12), image_sizes=torch.tensor([size])
        ).pooler_output
    return int(features[0].shape[0])


def batch_for(
    model: Any, images: tuple[int, ...] = (1,), before: int = 3, after: tuple[int, ...] = (6,), seed: int = 0
) -> dict[str, torch.Tensor]:
    """A left-padded batch: per row some text, that many images, and more text."""
    generator = torch.Generator().manual_seed(seed)
    is_next = model.config.model_type == "llava_next"
    per_image = next_image_tokens(model) if is_next else PATCHES
    rows = []
    for count, tail in zip(images, after, strict=True):
        text = torch.randint(10, VOCABULARY, (before + tail + count,), generator=generator).tolist()
        row = text[:before]
        for i in range(count):
            row += [IMAGE] * per_image + [text[before + i]]
        rows.append(row + text[before + count :])
    longest = max(map(len, rows))
    ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    batch = {"input_ids": ids, "attention_mask": mask}
    total = sum(images)
    if total and is_next:
        batch["pixel_values"] = torch.randn(total, 5, 3, 12, 12, generator=generator)
        batch["image_sizes"] = torch.tensor([[24, 24]] * total)
    elif total:
        batch["pixel_values"] = torch.randn(total, 3, 12, 12, generator=generator)
    return batch


def with_positions(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The batch with position ids that count real tokens only, as generate makes them."""
    positions = (batch["attention_mask"].cumsum(1) - 1).clamp(min=0)
    return {**batch, "position_ids": positions}
