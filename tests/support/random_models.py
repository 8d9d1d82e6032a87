"""Tiny random models of the real Hugging Face classes, and batches for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers as hf

IMAGE = 7
VOCABULARY = 50
PATCHES = 9
# Ids below are special tokens; prompts draw their text from here on.
_FIRST_WORD = 10
_ALONG_THE_SEQUENCE = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids")

_TEXT = dict(
    num_attention_heads=4,
    num_key_value_heads=2,
    vocab_size=VOCABULARY,
    max_position_embeddings=4096,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
)
_TOWER = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2)


def _text(config: str, layers: int, width: int, **more: Any) -> Any:
    sizes = dict(hidden_size=width, intermediate_size=2 * width, num_hidden_layers=layers)
    return getattr(hf, config)(**_TEXT, **sizes, **more)


def _rotary(width: int, **more: Any) -> dict[str, Any]:
    return {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [width // 16, width // 32, width // 32]}


def _clip() -> Any:
    return hf.CLIPVisionConfig(**_TOWER, image_size=12, patch_size=4)


def _siglip(image_size: int = 12, **more: Any) -> Any:
    return hf.SiglipVisionConfig(**_TOWER, image_size=image_size, patch_size=4, **more)


def _llava(layers: int, width: int, text: str = "LlamaConfig") -> Any:
    more = {
        "MistralConfig": {"sliding_window": None},
        "MiniMaxM2Config": dict(head_dim=width // 4, num_local_experts=2, num_experts_per_tok=1),
    }.get(text, {})
    return hf.LlavaConfig(
        text_config=_text(text, layers, width, **more), vision_config=_clip(), image_token_index=IMAGE
    )


def _llava_next(layers: int, width: int) -> Any:
    return hf.LlavaNextConfig(
        text_config=_text("LlamaConfig", layers, width),
        vision_config=_clip(),
        image_token_index=IMAGE,
        image_grid_pinpoints=[[12, 24], [24, 12], [24, 24]],
    )


def _vipllava(layers: int, width: int) -> Any:
    return hf.VipLlavaConfig(
        text_config=_text("LlamaConfig", layers, width),
        vision_config=_clip(),
        image_token_index=IMAGE,
        vision_feature_layers=[-2, -1],
    )


def _llava_onevision(layers: int, width: int) -> Any:
    return hf.LlavaOnevisionConfig(
        text_config=_text("Qwen2Config", layers, width),
        vision_config=_siglip(),
        image_token_index=IMAGE,
        video_token_index=6,
        image_grid_pinpoints=[[12, 24], [24, 12], [24, 24]],
    )


def _mistral3(layers: int, width: int) -> Any:
    return hf.Mistral3Config(
        text_config=_text("MistralConfig", layers, width, sliding_window=None, head_dim=width // 4),
        vision_config=hf.PixtralVisionConfig(**_TOWER, image_size=16, patch_size=4),
        image_token_index=IMAGE,
    )


def _internvl(layers: int, width: int) -> Any:
    return hf.InternVLConfig(
        text_config=_text("Qwen2Config", layers, width),
        vision_config=hf.InternVLVisionConfig(**_TOWER, image_size=[16, 16], patch_size=[4, 4]),
        image_token_id=IMAGE,
        image_seq_length=4,
    )


def _gemma3(layers: int, width: int) -> Any:
    kinds = ["sliding_attention", "full_attention"] * layers
    return hf.Gemma3Config(
        text_config=_text(
            "Gemma3TextConfig",
            layers,
            width,
            head_dim=width // 4,
            query_pre_attn_scalar=width // 4,
            sliding_window=9,
            layer_types=kinds[:layers],
        ),
        vision_config=_siglip(16),
        mm_tokens_per_image=4,
        image_token_index=IMAGE,
        boi_token_index=8,
        eoi_token_index=9,
    )


def _paligemma(layers: int, width: int) -> Any:
    return hf.PaliGemmaConfig(
        text_config=_text("GemmaConfig", layers, width, head_dim=width // 4),
        vision_config=_siglip(projection_dim=width),
        image_token_index=IMAGE,
        projection_dim=width,
        hidden_size=width,
    )


def _qwen(name: str, vision: dict[str, Any], layers: int, width: int, **more: Any) -> Any:
    text = _text(f"{name}TextConfig", layers, width, rope_parameters=_rotary(width), **more)
    tower = getattr(hf, f"{name}Config").sub_configs["vision_config"](
        depth=2, num_heads=2, patch_size=4, in_channels=3, spatial_merge_size=2, temporal_patch_size=2, **vision
    )
    ids = dict(image_token_id=IMAGE, video_token_id=6, vision_start_token_id=8, vision_end_token_id=9)
    return getattr(hf, f"{name}Config")(text_config=text, vision_config=tower, **ids)


def _qwen2_vl(layers: int, width: int) -> Any:
    return _qwen("Qwen2VL", dict(embed_dim=16, hidden_size=width), layers, width)


def _qwen2_5_vl(layers: int, width: int) -> Any:
    sizes = dict(hidden_size=16, intermediate_size=32, out_hidden_size=width, window_size=16)
    return _qwen("Qwen2_5_VL", sizes | dict(fullatt_block_indexes=[1]), layers, width)


def _qwen3_vl(layers: int, width: int) -> Any:
    sizes = dict(hidden_size=16, intermediate_size=32, out_hidden_size=width, num_position_embeddings=16)
    return _qwen("Qwen3VL", sizes | dict(deepstack_visual_indexes=[0, 1]), layers, width, head_dim=width // 4)


def _deepseek_vl(layers: int, width: int) -> Any:
    return hf.DeepseekVLConfig(
        text_config=_text("LlamaConfig", layers, width), vision_config=_siglip(), image_token_id=IMAGE
    )


def _deepseek_vl_hybrid(layers: int, width: int) -> Any:
    sam = dict(output_channels=8, image_size=16, patch_size=4, window_size=2, global_attn_indexes=[1], mlp_dim=32)
    sizes = {name: _TOWER[name] for name in ("hidden_size", "num_hidden_layers", "num_attention_heads")}
    return hf.DeepseekVLHybridConfig(
        text_config=_text("LlamaConfig", layers, width),
        vision_config=_siglip(),
        high_res_vision_config=hf.SamVisionConfig(**sizes, **sam),
        image_token_id=IMAGE,
    )


def _idefics3(layers: int, width: int, name: str = "Idefics3") -> Any:
    return getattr(hf, f"{name}Config")(
        text_config=_text("LlamaConfig", layers, width),
        vision_config=getattr(hf, f"{name}VisionConfig")(**_TOWER, image_size=16, patch_size=4),
        image_token_id=IMAGE,
        scale_factor=2,
        tie_word_embeddings=False,
    )


def _llama4(layers: int, width: int) -> Any:
    text = _text(
        "Llama4TextConfig",
        layers,
        width,
        head_dim=width // 4,
        intermediate_size_mlp=2 * width,
        num_local_experts=2,
        interleave_moe_layer_step=2,
        no_rope_layer_interval=3,
        attention_chunk_size=9,
    )
    tower = hf.Llama4VisionConfig(
        **_TOWER | dict(intermediate_size=64),
        image_size=16,
        patch_size=4,
        vision_output_dim=16,
        projector_input_dim=16,
        projector_output_dim=16,
    )
    return hf.Llama4Config(text_config=text, vision_config=tower, image_token_index=IMAGE)


_BUILDERS: dict[str, tuple[str, Callable[..., Any]]] = {
    "llava": ("Llava", _llava),
    "llava-mistral": ("Llava", lambda layers, width: _llava(layers, width, "MistralConfig")),
    "llava-minimax": ("Llava", lambda layers, width: _llava(layers, width, "MiniMaxM2Config")),
    "llava_next": ("LlavaNext", _llava_next),
    "vipllava": ("VipLlava", _vipllava),
    "llava_onevision": ("LlavaOnevision", _llava_onevision),
    "qwen2_vl": ("Qwen2VL", _qwen2_vl),
    "qwen2_5_vl": ("Qwen2_5_VL", _qwen2_5_vl),
    "qwen3_vl": ("Qwen3VL", _qwen3_vl),
    "deepseek_vl": ("DeepseekVL", _deepseek_vl),
    "deepseek_vl_hybrid": ("DeepseekVLHybrid", _deepseek_vl_hybrid),
    "internvl": ("InternVL", _internvl),
    "idefics3": ("Idefics3", _idefics3),
    "smolvlm": ("SmolVLM", lambda layers, width: _idefics3(layers, width, "SmolVLM")),
    "gemma3": ("Gemma3", _gemma3),
    "paligemma": ("PaliGemma", _paligemma),
    "mistral3": ("Mistral3", _mistral3),
    "llama4": ("Llama4", _llama4),
}
FAMILY_NAMES = tuple(name for name in _BUILDERS if name != "llava-minimax")


def absent(family: str) -> str | None:
    """Why this family cannot be built with the installed transformers; None when it can."""
    if (family, hf.__version__) == ("llama4", "5.24.0"):
        return "llama4: its forward fails in transformers 5.24.0 (the text model's output has no image_outputs)"
    name = f"{_BUILDERS[family][0]}ForConditionalGeneration"
    return None if hasattr(hf, name) else f"{family}: transformers {hf.__version__} has no {name}"


def unsuited(family: str) -> str | None:
    """Why flash attention does not do what this family's attention does, without any plan; None when it does."""
    return {
        "gemma3": "gemma3: image tokens see each other both ways and windows slide, which flash attention does not do",
        "paligemma": "paligemma: the prompt sees itself both ways, where flash attention can neither freeze nor prune",
        "llama4": "llama4: transformers offers no flash attention for it",
    }.get(family)


def random_model(
    family: str = "llava", attention: str = "sdpa", layers: int = 5, width: int = 32, seed: int = 0
) -> Any:
    """A random model whose layers change the states enough for mistakes to show."""
    torch.manual_seed(seed)
    name, build = _BUILDERS[family]
    kind = getattr(hf, f"{name}ForConditionalGeneration")
    flash = "flash" in attention
    model = kind._from_config(build(layers, width), attn_implementation="sdpa" if flash else attention)
    if flash:
        # Behind the check that a package and a GPU are there; the vision tower keeps sdpa.
        model.config.get_text_config()._attn_implementation = attention
    with torch.no_grad():
        for path, weight in model.named_parameters():
            in_decoder = ".layers." in path and "vision" not in path and "visual" not in path
            if in_decoder and weight.ndim >= 2:
                weight.mul_(6.0)
            elif "mm_input_projection" in path:
                weight.normal_(0.0, 0.5)
            elif "deepstack" in path and weight.ndim == 2:
                weight.mul_(20.0)
    # A generated pad, end or image token would end or confuse the comparison of whole generations.
    model.generation_config.suppress_tokens = list(range(_FIRST_WORD))
    return model.eval()


def image_tokens(model: Any) -> int:
    """How many placeholders one image takes: measured, not computed."""
    if model.config.model_type == "llama4":
        return 4
    with torch.no_grad():
        out = model.model.get_image_features(**_pictures(model, [1], torch.Generator()))
    features = out.pooler_output
    features = torch.cat(list(features), dim=0) if isinstance(features, list | tuple) else features
    return features.numel() // features.shape[-1]


def _pictures(model: Any, images: list[int], generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Image arguments of the model's forward for a batch whose rows have these numbers of images."""
    kind, total = model.config.model_type, sum(images)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    if kind in ("llava_next", "llava_onevision"):
        return {"pixel_values": noise(total, 5, 3, 12, 12), "image_sizes": torch.tensor([[24, 24]] * total)}
    if kind.startswith("qwen"):
        return {"pixel_values": noise(16 * total, 96), "image_grid_thw": torch.tensor([[1, 4, 4]] * total)}
    if kind in ("idefics3", "smolvlm"):
        # Rows with fewer images are filled with empty ones.
        pixels = torch.zeros(len(images), max(images), 3, 16, 16)
        for row, count in enumerate(images):
            pixels[row, :count] = noise(count, 3, 16, 16)
        return {"pixel_values": pixels}
    if kind == "mistral3":
        return {"pixel_values": noise(total, 3, 16, 16), "image_sizes": torch.tensor([[16, 16]] * total)}
    if kind == "deepseek_vl_hybrid":
        return {"pixel_values": noise(total, 3, 12, 12), "high_res_pixel_values": noise(total, 3, 16, 16)}
    side = 16 if kind in ("internvl", "gemma3", "llama4") else 12
    return {"pixel_values": noise(total, 3, side, side)}


def batch_for(
    model: Any, images: tuple[int, ...] = (1,), before: int = 3, after: tuple[int, ...] = (6,), seed: int = 0
) -> dict[str, torch.Tensor]:
    """A left-padded batch: per row some text, that many images, and more text."""
    generator = torch.Generator().manual_seed(seed)
    per_image = image_tokens(model)
    rows = []
    for count, tail in zip(images, after, strict=True):
        text = torch.randint(_FIRST_WORD, VOCABULARY, (before + tail + count,), generator=generator).tolist()
        row = text[:before]
        for i in range(count):
            row += [IMAGE] * per_image + [text[before + i]]
        rows.append(row + text[before + count :])
    longest = max(map(len, rows))
    ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    pictures = _pictures(model, list(images), generator) if sum(images) else {}
    return {"input_ids": ids, "attention_mask": mask, **_token_types(model, ids), **pictures}


def _token_types(model: Any, ids: torch.Tensor) -> dict[str, torch.Tensor]:
    kind = model.config.model_type
    if kind.startswith("qwen"):
        return {"mm_token_type_ids": (ids == IMAGE).to(torch.int32)}
    if kind == "gemma3":
        return {"token_type_ids": (ids == IMAGE).to(torch.int64)}
    # PaliGemma: the prompt is one prefix, whose tokens all see each other.
    return {"token_type_ids": torch.zeros_like(ids)} if kind == "paligemma" else {}


def lengthened(model: Any, batch: dict[str, torch.Tensor], sequences: torch.Tensor) -> dict[str, torch.Tensor]:
    """The batch with generated tokens appended: `sequences` (batch, tokens) starts with its `input_ids`."""
    more = sequences.shape[1] - batch["input_ids"].shape[1]
    ones = torch.ones(len(sequences), more, dtype=torch.long)
    out = {**batch, "input_ids": sequences, "attention_mask": torch.cat([batch["attention_mask"], ones], dim=1)}
    for name in ("token_type_ids", "mm_token_type_ids"):
        if name in batch:
            # In PaliGemma what is generated belongs to the causal suffix.
            new = (ones if model.config.model_type == "paligemma" else 0 * ones).to(batch[name].dtype)
            out[name] = torch.cat([batch[name], new], dim=1)
    return out


def row_of(model: Any, batch: dict[str, torch.Tensor], images: tuple[int, ...], row: int) -> dict[str, torch.Tensor]:
    """One row of a batch as a batch of its own, without padding."""
    real = batch["attention_mask"][row].bool()
    along = {name: value[row : row + 1, real] for name, value in batch.items() if name in _ALONG_THE_SEQUENCE}
    return {**along, **pictures_of(batch, images, row, 0, images[row])}


def pictures_of(
    batch: dict[str, torch.Tensor], images: tuple[int, ...], row: int, start: int, count: int
) -> dict[str, torch.Tensor]:
    """Image arguments of `count` images of a row from its number `start` on; rows have these numbers of images."""
    if not count or "pixel_values" not in batch:
        return {}
    pixels, first = batch["pixel_values"], sum(images[:row]) + start
    names = ("image_sizes", "image_grid_thw", "high_res_pixel_values")
    others = {n: batch[n][first : first + count] for n in names if n in batch}
    if "image_grid_thw" in batch:
        return {"pixel_values": pixels[16 * first : 16 * (first + count)], **others}
    if pixels.ndim == 5 and "image_sizes" not in batch:
        return {"pixel_values": pixels[row : row + 1, start : start + count], **others}
    return {"pixel_values": pixels[first : first + count], **others}


def with_positions(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The batch with position ids that count real tokens only, as generate makes them.

    Models with three-dimensional positions work them out from the token types themselves.
    """
    if "mm_token_type_ids" in batch:
        return batch
    positions = (batch["attention_mask"].cumsum(1) - 1).clamp(min=0)
    return {**batch, "position_ids": positions}
