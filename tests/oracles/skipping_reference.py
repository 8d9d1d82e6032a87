"""Slow references for the engine: the full sequence in every layer, skipped tokens masked and restored."""

from __future__ import annotations

from typing import Any

import torch

from vlm.engine.masked_reference import planned_logits
from vlm.plans.plan import SkipPlan


def masked_logits(model: Any, batch: dict[str, torch.Tensor], plan: SkipPlan) -> torch.Tensor:
    """Logits (batch, tokens, vocabulary) of one uncached forward of any family under a plan."""
    return planned_logits(model, batch, str(plan))


@torch.no_grad()
def by_hand_logits(model: Any, batch: dict[str, torch.Tensor], plan: SkipPlan) -> torch.Tensor:
    """The same for LLaVA-like models, with an independent mask and loop: a check of the reference above."""
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
