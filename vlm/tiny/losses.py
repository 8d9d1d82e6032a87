"""What the stages minimise: cross-entropy of answers, and of the digits under the patches."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vlm.models.types import Model
from vlm.tiny.training_batches import IGNORE


def answer_loss(model: Model, batch: dict[str, Tensor]) -> Tensor:
    """Cross-entropy (nats) of the answers. Right padding needs no mask under causal attention."""
    return answer_loss_and_attention(model, batch, attention=False)[0]


def answer_loss_and_attention(
    model: Model, batch: dict[str, Tensor], *, attention: bool = True
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The answers' cross-entropy, and each layer's attention weights (batch, heads, tokens, tokens), if asked for.

    Attention weights need a model with eager attention.
    """
    inputs = {name: batch[name] for name in ("input_ids", "pixel_values") if name in batch}
    out = model.model(**inputs, use_cache=False, output_attentions=attention)
    labels = batch["labels"][:, 1:]
    counted = labels != IGNORE
    loss = F.cross_entropy(model.lm_head(out.last_hidden_state[:, :-1][counted]), labels[counted])
    return loss, out.attentions if attention else ()


def patch_loss(model: Model, head: torch.nn.Linear, batch: dict[str, Tensor]) -> Tensor:
    """Cross-entropy (nats) of each patch's digit, from the tower's patch tokens and a temporary linear head."""
    states = model.model.vision_tower(batch["pixel_values"]).last_hidden_state[:, 1:]
    digits = batch["digits"].view(-1, 3, 1, 3, 1).expand(-1, 3, 2, 3, 2).reshape(len(states), -1)
    return F.cross_entropy(head(states).flatten(0, 1), digits.flatten())
