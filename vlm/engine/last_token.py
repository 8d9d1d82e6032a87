"""The last prompt token of each row, which predicts the first token of the answer, and its logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def last_tokens(real: Tensor) -> Tensor:
    """(batch,) index of the last token that is not padding."""
    positions = torch.arange(real.shape[1], device=real.device)
    return torch.where(real, positions, -1).amax(dim=1).clamp(min=0)


def last_logits(model: Any, batch: Mapping[str, Any]) -> Tensor:
    """(batch, vocabulary) logits at the last real token of each prompt, in float64, without a cache."""
    ids = batch["input_ids"]
    mask = batch.get("attention_mask")
    last = last_tokens(torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool())
    aligned = bool((last == ids.shape[1] - 1).all())
    logits = model(**batch, use_cache=False, logits_to_keep=1 if aligned else 0).logits
    row = torch.zeros_like(last) if aligned else last
    picked: Tensor = logits[torch.arange(len(row), device=row.device), row]
    return picked.to(torch.float64)
