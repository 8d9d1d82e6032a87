"""The last prompt token of each row, which predicts the first token of the answer, and its logits."""

from __future__ import annotations

import torch
from torch import Tensor

from vlm.models.precision import wide
from vlm.models.types import Arguments, Model


def last_tokens(real: Tensor) -> Tensor:
    """Index (batch,) of the last token that is not padding, 0 for a row of padding; `real` is bool (batch, tokens)."""
    positions = torch.arange(real.shape[1], device=real.device)
    return torch.where(real, positions, -1).amax(dim=1).clamp(min=0)


def last_logits(model: Model, batch: Arguments) -> Tensor:
    """Logits (batch, vocabulary) at the last real token of each prompt, in float64, computed without a cache.

    Parameters
    ----------
    model : Model
        A vision-language model.
    batch : mapping
        Arguments of its forward; `logits_to_keep` spares the other logits if every row ends with a real token.
    """
    ids = batch["input_ids"]
    mask = batch.get("attention_mask")
    last = last_tokens(torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool())
    aligned = bool((last == ids.shape[1] - 1).all())
    logits = model(**batch, use_cache=False, logits_to_keep=1 if aligned else 0).logits
    row = torch.zeros_like(last) if aligned else last
    picked: Tensor = logits[torch.arange(len(row), device=row.device), row]
    return wide(picked)
