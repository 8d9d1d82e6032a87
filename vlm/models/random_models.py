"""Tiny models of the real Hugging Face classes with random weights, one per family.

They check without a download that skipping is exact for a family: see :mod:`vlm.engine.exactness`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

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
_LATENT: dict[str, object] = dict(
    num_key_value_heads=4, kv_lora_rank=8, q_lora_rank=8, qk_rope_head_dim=4, qk_nope_head_dim=4, v_head_dim=8
)
_EXPERTS: dict[str, object] = dict(num_experts_per_tok=2, moe_intermediate_size=16)
_TEXT_OPTIONS: dict[str, dict[str, object]] = {
    "MistralConfig": {"sliding_window": None},
    "MiniMaxM2Config": dict(head_dim=8, num_local_experts=2, num_experts_per_tok=1),
    "DeepseekV2Config": _LATENT | _EXPERTS | dict(n_routed_experts=4, first_k_dense_replace=1, n_group=1, topk_group=1),
    "DeepseekV3Config": _LATENT | _EXPERTS | dict(n_routed_experts=4, first_k_dense_replace=1, n_group=1, topk_group=1),
    "Qwen2MoeConfig": _EXPERTS | dict(num_experts=4, shared_expert_intermediate_size=32),
    "Qwen3MoeConfig": _EXPERTS | dict(num_experts=4, head_dim=8),
    "MixtralConfig": dict(num_local_experts=4, num_experts_per_tok=2, head_dim=8),
    "GraniteMoeConfig": dict(num_local_experts=4, num_experts_per_tok=2),
    "GraniteMoeSharedConfig": dict(num_local_experts=4, num_experts_per_tok=2, shared_intermediate_size=32),
    "GraniteConfig": dict(residual_multiplier=0.5, attention_multiplier=0.3),
    "Gemma2Config": dict(head_dim=8, query_pre_attn_scalar=8, sliding_window=4096),
    "Cohere2Config": dict(sliding_window=4096),
    "Olmo3Config": dict(sliding_window=4096),
    "Exaone4Config": dict(sliding_window=4096),
    "StableLmConfig": dict(use_parallel_residual=True),
    "GPTNeoXConfig": dict(num_key_value_heads=None),
    "DiffLlamaConfig": dict(head_dim=8),
    "AfmoeConfig": _EXPERTS | dict(num_experts=4, head_dim=8, num_dense_layers=2, sliding_window=4096),
    "GptOssConfig": dict(head_dim=8, num_local_experts=4, num_experts_per_tok=2),
    "Phi3Config": dict(sliding_window=None),
    "GlmConfig": dict(head_dim=8),
    "Glm4Config": dict(head_dim=8),
    "HeliumConfig": dict(head_dim=8),
    "Qwen3Config": dict(head_dim=8),
}
# Mixers of Mamba 2 of width 8 heads x 8.
_MAMBA: dict[str, object] = dict(mamba_n_heads=8, mamba_d_head=8, mamba_n_groups=1, mamba_d_state=4)
_TEXT_OPTIONS |= {
    "Lfm2Config": dict(layer_types=["conv", "full_attention"] * 2 + ["conv"], block_multiple_of=8),
    "JambaConfig": dict(
        attn_layer_period=2,
        attn_layer_offset=1,
        num_experts=2,
        mamba_d_state=4,
        mamba_dt_rank=4,
        use_mamba_kernels=False,
    ),
    "GraniteMoeHybridConfig": _MAMBA
    | dict(layer_types=["mamba", "attention"] * 2 + ["mamba"], num_local_experts=2, num_experts_per_tok=1),
    "MiniMaxConfig": dict(head_dim=8, num_local_experts=4, num_experts_per_tok=2),
    "FalconH1Config": _MAMBA | dict(mamba_d_ssm=32, mamba_n_heads=4, head_dim=8),
}
HYBRIDS = ("Lfm2Config", "JambaConfig", "GraniteMoeHybridConfig")
"""Text models of LLaVA some of whose layers have a convolution or a recurrent state in place of attention."""
MIXED = ("MiniMaxConfig", "FalconH1Config")
"""Text models of LLaVA whose layers keep another state beside or inside their attention; of 5 layers."""
EAGER = ("Gemma2Config", "GptOssConfig")
"""Text models of LLaVA whose attention, with soft caps or sinks, is whole only under the eager implementation."""
TEXT_MODELS = (
    *("CohereConfig", "Cohere2Config", "StableLmConfig"),  # parallel branches
    *("PhiConfig", "GPTNeoXConfig"),  # the same, and a last norm of another name
    *("Olmo2Config", "Olmo3Config", "Exaone4Config"),  # norms after the branches
    *("Gemma2Config", "Glm4Config"),  # norms before and after
    *("OlmoConfig", "NemotronConfig", "Starcoder2Config", "ApertusConfig"),  # norms without weights, with biases
    *("DeepseekV2Config", "DeepseekV3Config"),  # latent attention
    *("Phi3Config", "GlmConfig"),  # fused projections
    *("GraniteConfig", "GraniteMoeConfig", "HeliumConfig", "Qwen3Config", "BitNetConfig", "DiffLlamaConfig"),
    *("AfmoeConfig", "GptOssConfig"),  # gated heads, heads with sinks
    *("MixtralConfig", "Qwen2MoeConfig", "Qwen3MoeConfig", "GraniteMoeSharedConfig"),  # experts, also shared ones
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


_GRID = dict(depth=2, num_heads=2, patch_size=4, in_channels=3, spatial_merge_size=2, temporal_patch_size=2)
_GRID |= dict(hidden_size=16, intermediate_size=32)
_GRID_IDS = dict(image_token_id=IMAGE, video_token_id=6)


def _aria(layers: int, width: int) -> hf.PreTrainedConfig:
    experts = dict(moe_num_experts=4, moe_topk=2, moe_num_shared_experts=1)
    return hf.AriaConfig(
        text_config=_text("AriaTextConfig", layers, width, **experts, intermediate_size=32),
        vision_config=hf.Idefics3VisionConfig(**_TOWER, image_size=12, patch_size=4),
        image_token_index=IMAGE,
        projector_patch_to_query_dict={9: 4},
    )


def _idefics2(layers: int, width: int) -> hf.PreTrainedConfig:
    parts = hf.Idefics2Config.sub_configs
    resampler = dict(resampler_n_latents=4, resampler_depth=1, resampler_n_heads=2, num_key_value_heads=1)
    return hf.Idefics2Config(
        text_config=_text("MistralConfig", layers, width, sliding_window=None),
        vision_config=parts["vision_config"](**_TOWER, image_size=12, patch_size=4),
        perceiver_config=parts["perceiver_config"](hidden_size=width, **resampler, resampler_head_dim=8),
        image_token_id=IMAGE,
    )


def _llava_next_video(layers: int, width: int) -> hf.PreTrainedConfig:
    return hf.LlavaNextVideoConfig(
        text_config=_text("LlamaConfig", layers, width),
        vision_config=_clip(),
        image_token_index=IMAGE,
        video_token_index=6,
        image_grid_pinpoints=[[12, 24], [24, 12], [24, 24]],
    )


def _video_llava(layers: int, width: int) -> hf.PreTrainedConfig:
    ids = dict(image_token_index=IMAGE, video_token_index=6)
    return hf.VideoLlavaConfig(text_config=_text("LlamaConfig", layers, width), vision_config=_clip(), **ids)


def _janus(layers: int, width: int) -> hf.PreTrainedConfig:
    parts = hf.JanusConfig.sub_configs
    tower = {name: size for name, size in _TOWER.items() if name != "intermediate_size"}
    codes = dict(embed_dim=4, num_embeddings=8, base_channels=32, channel_multiplier=[1, 1], num_res_blocks=1)
    return hf.JanusConfig(
        text_config=_text("LlamaConfig", layers, width),
        vision_config=parts["vision_config"](
            **tower, image_size=12, patch_size=4, projection_dim=width, mlp_ratio=2.0, num_image_tokens=9
        ),
        vq_config=parts["vq_config"](**codes, num_patches=3, projection_dim=width, image_token_embed_dim=width),
        image_token_id=IMAGE,
    )


def _ovis2(layers: int, width: int) -> hf.PreTrainedConfig:
    tower = hf.Ovis2Config.sub_configs["vision_config"](
        **_TOWER, image_size=16, patch_size=4, vocab_size=20, hidden_stride=2, num_visual_indicator_tokens=3
    )
    sizes = dict(vocab_size=VOCABULARY, hidden_size=width, visual_indicator_token_ids=[3, 4, 5])
    return hf.Ovis2Config(
        text_config=_text("Qwen2Config", layers, width), vision_config=tower, image_token_id=IMAGE, **sizes
    )


def _grid(name: str, layers: int, width: int, *, tower: dict[str, object], **more: object) -> hf.PreTrainedConfig:
    config = getattr(hf, f"{name}Config")
    return config(
        text_config=_text(
            f"{name}TextConfig", layers, width, rope_parameters=_rotary(width) | {"partial_rotary_factor": 1.0}, **more
        ),
        vision_config=config.sub_configs["vision_config"](**_GRID, out_hidden_size=width, **tower),
        **_GRID_IDS,
    )


def _qwen3_vl_moe(layers: int, width: int) -> hf.PreTrainedConfig:
    tower: dict[str, object] = dict(num_position_embeddings=16, deepstack_visual_indexes=[0, 1])
    experts = dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16, head_dim=width // 4)
    return _grid("Qwen3VLMoe", layers, width, tower=tower, **experts)


def _glm4v(layers: int, width: int) -> hf.PreTrainedConfig:
    return _grid("Glm4v", layers, width, tower=dict(image_size=16))


def _glm4v_moe(layers: int, width: int) -> hf.PreTrainedConfig:
    experts = dict(n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=16, n_group=1, topk_group=1)
    more = dict(head_dim=width // 4, first_k_dense_replace=1)
    return _grid("Glm4vMoe", layers, width, tower=dict(image_size=16), **experts, **more)


def _cohere2_vision(layers: int, width: int) -> hf.PreTrainedConfig:
    return hf.Cohere2VisionConfig(
        text_config=_text("Cohere2Config", layers, width, sliding_window=9),
        vision_config=_siglip(16),
        image_token_id=IMAGE,
        downsample_factor=2,
        alignment_intermediate_size=64,
    )


def _aya_vision(layers: int, width: int) -> hf.PreTrainedConfig:
    return hf.AyaVisionConfig(
        text_config=_text("Cohere2Config", layers, width, sliding_window=9),
        vision_config=_siglip(16),
        image_token_index=IMAGE,
        downsample_factor=2,
    )


def _qwen3_5(layers: int, width: int, name: str = "Qwen3_5", **more: object) -> hf.PreTrainedConfig:
    kinds = [*["linear_attention", "full_attention"] * layers][:layers]
    recurrence = dict(linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=8, linear_value_head_dim=8)
    turned = _rotary(width) | {"mrope_interleaved": True, "partial_rotary_factor": 1.0}
    text = _text(
        f"{name}TextConfig", layers, width, head_dim=width // 4, layer_types=kinds, rope_parameters=turned,
        **recurrence, **more,
    )  # fmt: skip
    config = getattr(hf, f"{name}Config")
    tower = config.sub_configs["vision_config"](**_GRID, out_hidden_size=width, num_position_embeddings=16)
    ids = dict(vision_start_token_id=8, vision_end_token_id=9)
    return config(text_config=text, vision_config=tower, **_GRID_IDS, **ids)


def _qwen3_5_moe(layers: int, width: int) -> hf.PreTrainedConfig:
    experts = dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16, shared_expert_intermediate_size=32)
    return _qwen3_5(layers, width, "Qwen3_5Moe", **experts)


def _gemma4(layers: int, width: int) -> hf.PreTrainedConfig:
    text = _text(
        "Gemma4TextConfig", layers, width, head_dim=8, global_head_dim=8, num_kv_shared_layers=0, sliding_window=9,
        hidden_size_per_layer_input=0, use_bidirectional_attention="vision",
        layer_types=["sliding_attention", "full_attention"] * (layers // 2) + ["full_attention"] * (layers % 2),
    )  # fmt: skip
    tower = hf.Gemma4Config.sub_configs["vision_config"](
        **_TOWER, num_key_value_heads=2, head_dim=8, patch_size=4, position_embedding_size=64, pooling_kernel_size=2
    )
    return hf.Gemma4Config(text_config=text, vision_config=tower, audio_config=None, image_token_id=IMAGE)


def _molmo2(layers: int, width: int) -> hf.PreTrainedConfig:
    parts = hf.Molmo2Config.sub_configs
    tower = parts["vision_config"](**_TOWER, num_key_value_heads=2, head_dim=8, image_size=[16, 16], patch_size=4)
    heads = dict(hidden_size=16, num_attention_heads=2, num_key_value_heads=2, head_dim=8, intermediate_size=32)
    adapter = parts["adapter_config"](**heads, text_hidden_size=width, vision_feature_layer=[-1, -2])
    text = _text("Molmo2TextConfig", layers, width, head_dim=width // 4, additional_vocab_size=0)
    return hf.Molmo2Config(text_config=text, vision_config=tower, adapter_config=adapter, image_patch_id=IMAGE)


def _blip(layers: int, width: int, name: str, text: hf.PreTrainedConfig) -> hf.PreTrainedConfig:
    config = getattr(hf, f"{name}Config")
    former = dict(_TOWER, num_hidden_layers=1, encoder_hidden_size=16, vocab_size=VOCABULARY, hidden_dropout_prob=0.0)
    return config(
        text_config=text,
        vision_config=config.sub_configs["vision_config"](**_TOWER, image_size=12, patch_size=4, initializer_range=0.1),
        qformer_config=config.sub_configs["qformer_config"](**former, initializer_range=0.1),
        num_query_tokens=4,
        image_token_index=IMAGE,
    )


def _blip_2(layers: int, width: int) -> hf.PreTrainedConfig:
    text = _text("OPTConfig", layers, width, ffn_dim=2 * width, word_embed_proj_dim=width, dropout=0.0)
    return _blip(layers, width, "Blip2", text)


def _instructblip(layers: int, width: int) -> hf.PreTrainedConfig:
    return _blip(layers, width, "InstructBlip", _text("LlamaConfig", layers, width))


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
    "aria": ("Aria", _aria),
    "idefics2": ("Idefics2", _idefics2),
    "llava_next_video": ("LlavaNextVideo", _llava_next_video),
    "video_llava": ("VideoLlava", _video_llava),
    "janus": ("Janus", _janus),
    "ovis2": ("Ovis2", _ovis2),
    "qwen3_vl_moe": ("Qwen3VLMoe", _qwen3_vl_moe),
    "glm4v": ("Glm4v", _glm4v),
    "glm4v_moe": ("Glm4vMoe", _glm4v_moe),
    "cohere2_vision": ("Cohere2Vision", _cohere2_vision),
    "aya_vision": ("AyaVision", _aya_vision),
    "qwen3_5": ("Qwen3_5", _qwen3_5),
    "qwen3_5_moe": ("Qwen3_5Moe", _qwen3_5_moe),
    "gemma4": ("Gemma4", _gemma4),
    "molmo2": ("Molmo2", _molmo2),
    "blip-2": ("Blip2", _blip_2),
    "instructblip": ("InstructBlip", _instructblip),
}
FAMILY_NAMES = tuple(name for name in _BUILDERS if name != "llava-minimax")
_BUILDERS |= {f"llava-{text}": ("Llava", partial(_llava, text=text)) for text in (*TEXT_MODELS, *HYBRIDS, *MIXED)}


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
        "cohere2_vision": "cohere2_vision: windows slide, which flash attention cannot follow beyond their size",
        "aya_vision": "aya_vision: windows slide, which flash attention cannot follow beyond their size",
        "glm4v_moe": "glm4v_moe: transformers takes its positions of several axes for several prompts in one row",
        "llama4": "llama4: transformers offers no flash attention for it",
        "gemma4": "gemma4: image tokens see each other both ways and windows slide, which flash attention does not do",
        "molmo2": "molmo2: image tokens see each other both ways, which flash attention does not do",
        "blip-2": "blip-2: transformers offers no flash attention for its Q-Former",
        "instructblip": "instructblip: transformers offers no flash attention for its Q-Former",
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
            elif (
                (name == "Molmo2" and "multi_modal_projector" in path and weight.ndim == 2)
                or "query_tokens" in path
                or "language_projection.weight" in path
            ):
                weight.normal_(0.0, 0.5)
    # A generated padding, end or image token would end a generation early or change what is compared.
    for part in {model, getattr(model, "language_model", model)}:  # BLIP-2's language model generates by itself
        if part.generation_config is not None:
            part.generation_config.suppress_tokens = list(range(FIRST_WORD))
    model.eval()
    return model
