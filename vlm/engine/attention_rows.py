"""Chosen rows of an attention map, computed from queries and keys without the whole map."""

from __future__ import annotations

import torch
from torch import Tensor

from vlm.engine.attention_event import AttentionEvent
from vlm.engine.flash_layout import Layout
from vlm.engine.forward_call import Call


def attention_rows(event: AttentionEvent, rows: Tensor) -> Tensor:
    """Rows of a layer's attention map, (batch, heads, rows, keys) in float32.

    A row sums to 1, less the share of its head's sink where there is one.

    Parameters
    ----------
    event : AttentionEvent
        The layer that attends.
    rows : int (batch, rows)
        Which query rows.
    """
    query, key, mask = event.query, event.key, event.mask
    batch, heads, _, width = query.shape
    count, keys = rows.shape[1], key.shape[2]
    q = query.gather(2, rows.view(batch, 1, count, 1).expand(-1, heads, -1, width)).to(torch.float32)
    # Grouped queries: fold the group into the row axis instead of repeating the keys.
    q = q.reshape(batch, key.shape[1], -1, width)
    scores = (q @ key.to(torch.float32).transpose(2, 3)).view(batch, heads, count, keys) * event.scaling
    if event.softcap is not None:
        scores = event.softcap * torch.tanh(scores / event.softcap)
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
    if event.sinks is None:
        return torch.softmax(scores, dim=-1, dtype=torch.float32)
    sinks = event.sinks.to(scores).view(1, heads, 1, 1).expand(batch, -1, count, -1)
    return torch.softmax(torch.cat([scores, sinks], dim=-1), dim=-1)[..., :-1]


def row_of(call: Call, layer: int, token: Tensor) -> tuple[Tensor, Tensor]:
    """Row of a token (batch,) among the layer's queries, and whether the token runs there, both (batch,)."""
    if layer not in call.query_positions:
        return token, torch.ones_like(token, dtype=torch.bool)
    hits = call.query_positions[layer] == token.unsqueeze(1)
    return hits.to(torch.uint8).argmax(dim=1), hits.any(dim=1)
