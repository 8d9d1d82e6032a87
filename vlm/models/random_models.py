"""Tiny models of the real Hugging Face classes with random weights, one per family.

They check without a download that skipping is exact for a family: see :mod:`vlm.engine.exactness`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import transformers as hf

from vlm.models.transformers_internals import model_from_config, set_attention_implementation
from vlm.models.types import Model

IMAGE = 7
VOCABULARY = 50
# Ids below are special tokens; prompts draw their text tokens from here on.
FIRST_WORD = 10

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


def _text(config: str, layers: int, width: int, **more: object) -> hf.PreTrainedConfig:
    sizes = dict(hidden_size=width, intermediate_size=2 * width, num_hidden_layers=layers)
    return getattr(hf, config)(**_TEXT | sizes | more)


def _rotary(width: int) -> dict[str, object]:
    return {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [width // 16, width // 32, width // 32]}


def _clip() -> hf.PreTrainedConfig:
    return hf.CLIPVisionConfig(**_TOWER, image_size=12, patch_size=4)


def _siglip(image_size: int = 12, **more: object) -> hf.PreTrainedConfig:
    return hf.SiglipVisionConfig(**_TOWER, image_size=image_size, patch_size=4, **more)


# What the text models of LLaVA below need beyond the common sizes.
_LATENT = dict(
    num_key_value_heads=4, kv_lora_rank=8, q_lora_rank=8, qk_rope_head_dim=4, qk_nope_head_dim=4, v_head_dim=8
)
_EXPERTS = dict(num_experts_per_tok=2, moe_intermediate_size=16)
_TEXT_OPTIONS: dict[str, dict[str, object]] = {
    "MistralConfig": {"sliding_window": None},
    "MiniMaxM2Config": dict(head_dim=8, num_local_experts=2, num_experts_per_tok=1),
    "DeepseekV2Config": _LATENT | _EXPERTS | dict(n_routed_experts=4, first_k_dense_replace=1, n_group=1, topk_group=1),
    "DeepseekV3Config": _LATENT | _EXPERTS | dict(n_routed_experts=4, first_k_dense_replace=1, n_group=1, topk_group=1),
    "Qwen2MoeConfig": _EXPERTS | dict(num_experts=4, shared_expert_intermediate_size=32),
    "Qwen3MoeConfig": _EXPERTS | dict(num_experts=4, head_dim=8),
    "MixtralConfig": dict(num_local_experts=4, num_experts_per_tok=2, head_dim=8),
    "GraniteMoeConfig": dict(num_local_experts=4, num_experts_per_tok=2),
    "GraniteConfig": dict(residual_multiplier=0.5, attention_multiplier=0.3),
    "Gemma2Config": dict(head_dim=8, query_pre_attn_scalar=8, sliding_window=4096),
    "Cohere2Config": dict(sliding_window=4096),
    "Olmo3Config": dict(sliding_window=4096),
    "Exaone4Config": dict(sliding_window=4096),
    "StableLmConfig": dict(use_parallel_residual=True),
    "Phi3Config": dict(sliding_window=None),
    "GlmConfig": dict(head_dim=8),
    "Glm4Config": dict(head_dim=8),
    "HeliumConfig": dict(head_dim=8),
    "Qwen3Config": dict(head_dim=8),
}
TEXT_MODELS = (
    *("CohereConfig", "Cohere2Config", "StableLmConfig"),  # parallel branches
    *("Olmo2Config", "Olmo3Config", "Exaone4Config"),  # norms after the branches
    *("Gemma2Config", "Glm4Config"),  # norms before and after
    *("OlmoConfig", "NemotronConfig", "Starcoder2Config", "ApertusConfig"),  # norms without weights, with biases
    *("DeepseekV2Config", "DeepseekV3Config"),  # latent attention
    *("Phi3Config", "GlmConfig"),  # fused projections
    *("GraniteConfig", "GraniteMoeConfig", "HeliumConfig", "Qwen3Config", "BitNetConfig"),
    *("MixtralConfig", "Qwen2MoeConfig", "Qwen3MoeConfig"),  # experts
)
"""Text models of LLaVA whose layers are built in other ways than Llama's; names of their configurations."""


def _llava(layers: int, width: int, text: str = "LlamaConfig") -> hf.PreTrainedConfig:
    more = dict(_TEXT_OPTIONS.get(text, {}))
    if "head_dim" in more:
        more["head_dim"] = width // 4
    return hf.LlavaConfig(
        text_config=_text(text, layers, width, **more), vision_config=_clip(), image_token_index=IMAGE
    )


def _llava_next(layers: int, width: int) -> hf.PreTrainedConfig:
    return hf.LlavaNextConfig(
        text_config=_text("LlamaConfig", layers, width),
        vision_config=_clip(),
        image_token_index=IMAGE,
        image_grid_pinpoints=[[12, 24], [24, 12], [24, 24]],
    )


def _vipllava(layers: int, width: int) -> hf.PreTrainedConfig:
    return hf.VipLlavaConfig(
        text_config=_text("LlamaConfig", layers, width),
        vision_config=_clip(),
        image_token_index=IMAGE,
        vision_feature_layers=[-2, -1],
    )


def _llava_onevision(layers: int, width: int) -> hf.PreTrainedConfig:
    return hf.LlavaOnevisionConfig(
        text_config=_text("Qwen2Config", layers, width),
        vision_config=_siglip(),
        image_token_index=IMAGE,
        video_token_index=6,
        image_grid_pinpoints=[[12, 24], [24, 12], [24, 24]],
    )


def _mistral3(layers: int, width: int) -> hf.PreTrainedConfig:
    return hf.Mistral3Config(
        text_config=_text("MistralConfig", layers, width, sliding_window=None, head_dim=width // 4),
        vision_config=hf.PixtralVisionConfig(**_TOWER, image_size=16, patch_size=4),
        image_token_index=IMAGE,
    )


def _internvl(layers: int, width: int) -> hf.PreTrainedConfig:
    return hf.InternVLConfig(
        text_config=_text("Qwen2Config", layers, width),
        vision_config=hf.InternVLVisionConfig(**_TOWER, image_size=[16, 16], patch_size=[4, 4]),
        image_token_id=IMAGE,
        image_seq_length=4,
    )


def _gemma3(layers: int, width: int) -> hf.PreTrainedConfig:
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


def _paligemma(layers: int, width: int) -> hf.PreTrainedConfig:
    return hf.PaliGemmaConfig(
        text_config=_text("GemmaConfig", layers, width, head_dim=width // 4),
        vision_config=_siglip(projection_dim=width),
        image_token_index=IMAGE,
        projection_dim=width,
        hidden_size=width,
    )


def _qwen(name: str, vision: dict[str, object], layers: int, width: int, **more: object) -> hf.PreTrainedConfig:
    text = _text(f"{name}TextConfig", layers, width, rope_parameters=_rotary(width), **more)
    tower = getattr(hf, f"{name}Config").sub_configs["vision_config"](
        depth=2, num_heads=2, patch_size=4, in_channels=3, spatial_merge_size=2, temporal_patch_size=2, **vision
    )
    ids = dict(image_token_id=IMAGE, video_token_id=6, vision_start_token_id=8, vision_end_token_id=9)
    return getattr(hf, f"{name}Config")(text_config=text, vision_config=tower, **ids)


def _qwen2_vl(layers: int, width: int) -> hf.PreTrainedConfig:
    return _qwen("Qwen2VL", dict(embed_dim=16, hidden_size=width), layers, width)


def _qwen2_5_vl(layers: int, width: int) -> hf.PreTrainedConfig:
    sizes = dict(hidden_size=16, intermediate_size=32, out_hidden_size=width, window_size=16)
    return _qwen("Qwen2_5_VL", sizes | dict(fullatt_block_indexes=[1]), layers, width)


def _qwen3_vl(layers: int, width: int) -> hf.PreTrainedConfig:
    sizes = dict(hidden_size=16, intermediate_size=32, out_hidden_size=width, num_position_embeddings=16)
    return _qwen("Qwen3VL", sizes | dict(deepstack_visual_indexes=[0, 1]), layers, width, head_dim=width // 4)


def _deepseek_vl(layers: int, width: int) -> hf.PreTrainedConfig:
    return hf.DeepseekVLConfig(
        text_config=_text("LlamaConfig", layers, width), vision_config=_siglip(), image_token_id=IMAGE
    )


def _deepseek_vl_hybrid(layers: int, width: int) -> hf.PreTrainedConfig:
    sam = dict(output_channels=8, image_size=16, patch_size=4, window_size=2, global_attn_indexes=[1], mlp_dim=32)
    sizes = {name: _TOWER[name] for name in ("hidden_size", "num_hidden_layers", "num_attention_heads")}
    return hf.DeepseekVLHybridConfig(
        text_config=_text("LlamaConfig", layers, width),
        vision_config=_siglip(),
        high_res_vision_config=hf.SamVisionConfig(**sizes, **sam),
        image_token_id=IMAGE,
    )


def _idefics3(layers: int, width: int, name: str = "Idefics3") -> hf.PreTrainedConfig:
    return getattr(hf, f"{name}Config")(
        text_config=_text("LlamaConfig", layers, width),
        vision_config=getattr(hf, f"{name}VisionConfig")(**_TOWER, image_size=16, patch_size=4),
        image_token_id=IMAGE,
        scale_factor=2,
        tie_word_embeddings=False,
    )


def _llama4(layers: int, width: int) -> hf.PreTrainedConfig:
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


_BUILDERS: dict[str, tuple[str, Callable[[int, int], hf.PreTrainedConfig]]] = {
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
_BUILDERS |= {
    f"llava-{text}": ("Llava", lambda layers, width, text=text: _llava(layers, width, text)) for text in TEXT_MODELS
}


def absent(family: str) -> str | None:
    """Why this family cannot be built with the installed transformers; None if it can."""
    if (family, hf.__version__) == ("llama4", "5.24.0"):
        return "llama4: its forward fails in transformers 5.24.0 (the text model's output has no image_outputs)"
    name = f"{_BUILDERS[family][0]}ForConditionalGeneration"
    return None if hasattr(hf, name) else f"{family}: transformers {hf.__version__} has no {name}"


def unsuited(family: str) -> str | None:
    """Why flash attention differs from this family's attention even without a plan; None if it does not."""
    return {
        "gemma3": "gemma3: image tokens see each other both ways and windows slide, which flash attention does not do",
        "paligemma": "paligemma: the prompt sees itself both ways, where flash attention can neither freeze nor prune",
        "llama4": "llama4: transformers offers no flash attention for it",
    }.get(family)


def random_model(
    family: str = "llava", attention: str = "sdpa", layers: int = 5, width: int = 32, seed: int = 0
) -> Model:
    """A random model whose layers change the states enough for mistakes to show.

    Parameters
    ----------
    family : str
        One of :data:`FAMILY_NAMES`, or "llava-" with one of :data:`TEXT_MODELS`.
    attention : str
        Attention implementation; of a flash attention only the name is set, without its kernel.
    layers, width : int
        Number of decoder layers and width of their states.
    seed : int
        Determines the weights.
    """
    torch.manual_seed(seed)
    name, build = _BUILDERS[family]
    kind = getattr(hf, f"{name}ForConditionalGeneration")
    flash = "flash" in attention
    model: Model = model_from_config(kind, build(layers, width), "sdpa" if flash else attention)
    if flash:
        # Bypasses the check for a GPU and the package; the vision tower keeps sdpa.
        set_attention_implementation(model.config.get_text_config(), attention)
    with torch.no_grad():
        for path, weight in model.named_parameters():
            in_decoder = ".layers." in path and "vision" not in path and "visual" not in path
            if in_decoder and weight.ndim >= 2:
                weight.mul_(6.0)
            elif "mm_input_projection" in path:
                weight.normal_(0.0, 0.5)
            elif "deepstack" in path and weight.ndim == 2:
                weight.mul_(20.0)
    # A generated padding, end or image token would end a generation early or change what is compared.
    model.generation_config.suppress_tokens = list(range(FIRST_WORD))
    model.eval()
    return model
