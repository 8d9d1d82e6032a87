"""Chosen rows of an attention map, computed from queries and keys without the whole map."""

from __future__ import annotations

import torch
from torch import Tensor

from vlm.engine.flash_attention import Layout, Mask
from vlm.engine.forward_call import Call


def attention_rows(rows: Tensor, query: Tensor, key: Tensor, mask: Mask, scaling: float) -> Tensor:
    """Rows of the attention map, (batch, heads, rows, keys) in float32.

    Parameters
    ----------
    rows : int (batch, rows)
        Which query rows.
    query : (batch, heads, queries, d)
    key : (batch, key heads, keys, d)
        Fewer key heads than heads: each serves a group of query heads.
    mask : (batch or 1, heads or 1, queries, keys) or Layout, optional
        Added to the scores, or boolean with True for "may attend", or who sees whom under flash attention; without it
        attention is causal.
    """
    batch, heads, _, width = query.shape
    count, keys = rows.shape[1], key.shape[2]
    q = query.gather(2, rows.view(batch, 1, count, 1).expand(-1, heads, -1, width)).to(torch.float32)
    # Grouped queries: fold the group into the row axis instead of repeating the keys.
    q = q.reshape(batch, key.shape[1], -1, width)
    scores = (q @ key.to(torch.float32).transpose(2, 3)).view(batch, heads, count, keys) * scaling
    if mask is not None:
        if isinstance(mask, Layout):
            lines = mask.lines(rows)
        else:
            lines = mask.expand(batch, -1, -1, -1)
            lines = lines.gather(2, rows.view(batch, 1, count, 1).expand(-1, lines.shape[1], -1, keys))
        scores = scores.masked_fill(~lines, -torch.inf) if lines.dtype == torch.bool else scores + lines
    else:
        later = torch.arange(keys, device=key.device) > rows.unsqueeze(-1)
        scores = scores.masked_fill(later.unsqueeze(1), -torch.inf)
    return torch.softmax(scores, dim=-1, dtype=torch.float32)


def row_of(call: Call, layer: int, asked: Tensor) -> tuple[Tensor, Tensor]:
    """Row of the asked token among the layer's queries, and whether it is there."""
    if layer not in call.query_positions:
        return asked, torch.ones_like(asked, dtype=torch.bool)
    hits = call.query_positions[layer] == asked.unsqueeze(1)
    return hits.to(torch.uint8).argmax(dim=1), hits.any(dim=1)
