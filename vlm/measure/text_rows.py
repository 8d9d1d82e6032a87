"""What all text tokens of a prompt give to the image in one layer, in blocks of query rows."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from vlm.engine.attention_event import AttentionEvent
from vlm.engine.attention_rows import attention_rows
from vlm.engine.forward_call import Call

# Scores of one block of rows, over batch, heads and keys: 16 MiB in float32. One row at least.
_BLOCK = 1 << 22


class TextAttention(NamedTuple):
    """Over the text tokens of each sample that attend in a layer; NaN where none does.

    Attributes
    ----------
    largest : Tensor (batch, heads)
    largest_mean : Tensor (batch,)
        The largest mean over heads.
    mean : Tensor (batch, heads)
    """

    largest: Tensor
    largest_mean: Tensor
    mean: Tensor


class TextRows(NamedTuple):
    """Query rows of the text tokens after each sample's first image token.

    Attributes
    ----------
    rows : Tensor int (batch, rows)
        Filled up to the same number.
    counted : Tensor bool (batch, rows)
        Which of them are such tokens.
    """

    rows: Tensor
    counted: Tensor


def text_attention(event: AttentionEvent, chosen: TextRows) -> TextAttention:
    """Largest and mean attention of text tokens to the image, exact up to rounding, in O(keys) memory.

    Text before the image cannot see it: those rows are not computed, and not counted in the mean. A sample without an
    image has 0.
    """
    call, layer, query = event.call, event.layer, event.query
    batch, heads = query.shape[:2]
    rows, counted = chosen
    image = vision_keys(call, layer).unsqueeze(1).unsqueeze(3)  # (batch, 1, keys, 1)
    largest = query.new_full((batch, heads), -torch.inf, dtype=torch.float32)
    largest_mean = query.new_full((batch,), -torch.inf, dtype=torch.float32)
    total = query.new_zeros((batch, heads), dtype=torch.float32)
    size = max(1, _BLOCK // max(1, batch * heads * event.key.shape[2]))
    for start in range(0, rows.shape[1], size):
        block, valid = rows[:, start : start + size], counted[:, start : start + size].unsqueeze(1)
        mass = (attention_rows(event, block) @ image).squeeze(3)  # (batch, heads, rows of the block)
        total += mass.masked_fill(~valid, 0.0).sum(dim=2)  # a row of padding may be NaN
        hidden = mass.masked_fill(~valid, -torch.inf)
        largest = torch.maximum(largest, hidden.amax(dim=2))
        largest_mean = torch.maximum(largest_mean, hidden.mean(dim=1).amax(dim=1))
    number = counted.sum(dim=1, keepdim=True)
    # Without an image nothing is read; with one, but without a text token that runs here, nothing is known.
    nothing = torch.where(call.vision.any(dim=1), torch.nan, 0.0).to(total.dtype)
    return TextAttention(
        torch.where(number > 0, largest, nothing.unsqueeze(1)),
        torch.where(number[:, 0] > 0, largest_mean, nothing),
        torch.where(number > 0, total / number.clamp(min=1), nothing.unsqueeze(1)),
    )


def text_rows(call: Call, layer: int) -> TextRows:
    """The rows of a layer; the same for all layers that run on the full sequence."""
    reads = call.text & (call.vision.cumsum(dim=1) > 0)
    if layer in call.query_positions:
        places = call.query_positions[layer]
        reads = reads.gather(1, places.clamp(min=0)) & (places >= 0)
    number = int(reads.sum(dim=1).max())
    rows = torch.argsort(~reads, dim=1, stable=True)[:, :number]
    return TextRows(rows, reads.gather(1, rows))


def vision_keys(call: Call, layer: int) -> Tensor:
    """(batch, keys) 1 for image keys of this layer, 0 for all others."""
    if layer not in call.key_positions:
        return call.vision.to(torch.float32)
    keys = call.key_positions[layer]
    return (call.vision.gather(1, keys.clamp(min=0)) & (keys >= 0)).to(torch.float32)
