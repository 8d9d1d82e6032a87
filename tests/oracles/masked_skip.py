"""Slow twins of the skip engine: the full sequence everywhere, skipped tokens masked out and restored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from vlm.plan import SkipPlan

PLACEHOLDERS = ("image_token_id", "image_token_index", "video_token_id", "video_token_index")


def vision_tokens(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Which tokens (batch, tokens) stand for image features."""
    ids = batch["input_ids"]
    known = {getattr(model.config, name, None) for name in PLACEHOLDERS} - {None}
    has_image = any(name in batch for name in ("pixel_values", "pixel_values_videos"))
    return sum((ids == k for k in known), torch.zeros_like(ids, dtype=torch.bool)) & has_image


def decoder_of(model: Any) -> Any:
    """The language model of any family, found by its layers' place beside an embedding."""
    return next(m for m in model.modules() if hasattr(m, "layers") and hasattr(m, "embed_tokens"))


def masked_logits(
    model: Any, batch: dict[str, torch.Tensor], plan: SkipPlan, *, gradients: bool = False
) -> torch.Tensor:
    """Logits (batch, tokens, vocabulary) of one uncached forward of the model's own code under a plan.

    Each layer runs on every token with eager attention, its mask closed for the tokens that bypass it, and
    their states are put back afterwards. Shares no code with the engine.
    """
    decoder = decoder_of(model)
    vision = vision_tokens(model, batch)
    depth = len(decoder.layers)
    skip = {m: plan.layers(m, depth) for m in ("vision", "text")}
    active = [(vision & (i not in skip["vision"])) | (~vision & (i not in skip["text"])) for i in range(depth)]
    with torch.set_grad_enabled(gradients), _eager(model), _wrapped(decoder.layers, active):
        return model(**batch, use_cache=False).logits


@contextmanager
def _eager(model: Any) -> Iterator[None]:
    configs = {id(c): c for c in (decoder_of(model).config, model.config.get_text_config())}.values()
    saved = [c._attn_implementation for c in configs]
    for config in configs:
        config._attn_implementation = "eager"
    try:
        yield
    finally:
        for config, name in zip(configs, saved, strict=True):
            config._attn_implementation = name


@contextmanager
def _wrapped(layers: Any, active: list[torch.Tensor]) -> Iterator[None]:
    def wrap(original: Callable[..., Any], stays: torch.Tensor) -> Callable[..., Any]:
        def forward(states: torch.Tensor, **kwargs: Any) -> Any:
            mask = kwargs["attention_mask"]
            closed = ~stays[:, None, None, :] & ~torch.eye(stays.shape[1], dtype=torch.bool)
            kwargs["attention_mask"] = mask.masked_fill(closed, torch.finfo(mask.dtype).min)
            new = original(states, **kwargs)
            return torch.where(stays.unsqueeze(-1), new[0] if isinstance(new, tuple) else new, states)

        return forward

    for layer, stays in zip(layers, active, strict=True):
        layer.forward = wrap(layer.forward, stays)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


@torch.no_grad()
def by_hand_logits(model: Any, batch: dict[str, torch.Tensor], plan: SkipPlan) -> torch.Tensor:
    """The same for LLaVA-like models with a mask and a loop of their own: what the twin above is checked against."""
    inner, decoder = model.model, model.model.language_model
    ids, real = batch["input_ids"], batch["attention_mask"].bool()
    states = inner.get_input_embeddings()(ids)
    vision = torch.zeros_like(real)
    if "pixel_values" in batch:
        vision = ids == model.config.image_token_id
        extra = {"image_sizes": batch["image_sizes"]} if "image_sizes" in batch else {}
        features = inner.get_image_features(pixel_values=batch["pixel_values"], **extra).pooler_output
        states = states.masked_scatter(vision.unsqueeze(-1), torch.cat(list(features), dim=0).to(states.dtype))
    length = ids.shape[1]
    positions = batch.get("position_ids", torch.arange(length).unsqueeze(0))
    rotary = decoder.rotary_emb(states, position_ids=positions)
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    skip = {m: plan.layers(m, len(decoder.layers)) for m in ("vision", "text")}
    for index, layer in enumerate(decoder.layers):
        active = torch.ones_like(vision)
        if index in skip["vision"]:
            active &= ~vision
        if index in skip["text"]:
            active &= vision
        allowed = causal & (real & active)[:, None, :]
        allowed |= torch.eye(length, dtype=torch.bool) & ~allowed.any(-1, keepdim=True)
        mask = torch.where(allowed, 0.0, torch.finfo(states.dtype).min).unsqueeze(1)
        new = layer(states, attention_mask=mask, position_ids=positions, position_embeddings=rotary)
        new = new[0] if isinstance(new, tuple) else new
        states = torch.where(active.unsqueeze(-1), new, states)
    return model.lm_head(decoder.norm(states))
