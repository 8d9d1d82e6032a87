"""Scaled dot products of a layer with frozen tokens, whose keys are no queries, without a mask of all by all.

With few queries, they attend in blocks, each under a small mask. With many, the queries are put back to the rows of
their own keys, where attention is causal by row number and the kernel needs no mask.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlm.engine.active_tokens import Roles, flattened_index
from vlm.engine.flash_layout import Layout
from vlm.engine.forward_call import Call
from vlm.engine.plan_state import Entry
from vlm.models.types import Forward

# Queries of a block. A block's mask has this many rows at most, and columns up to its last query's own key.
_ROWS = 256
# Masks of at most this many entries in all are kept for the other layers of the call.
_KEPT = 2**22
# From this share of queries among so many keys on, half of the square costs less than the rectangle under a mask.
_MANY, _LONG = 1 / 3, 1024


@dataclass(frozen=True, eq=False)
class FrozenLayout(Layout):
    """A layout without padding or filler."""

    @cached_property
    def blocks(self) -> list[tuple[int, int, int]]:
        """Start and end of each block of queries, and how many keys its last query sees."""
        rows = self.own.shape[1]
        last = self.own.amax(dim=0).tolist()
        ends = [(start, min(start + _ROWS, rows)) for start in range(0, rows, _ROWS)]
        return [(start, stop, int(last[stop - 1]) + 1) for start, stop in ends]

    @cached_property
    def sources(self) -> Tensor:
        """For each key of all samples (batch * keys,), the row of its own query; of keys without one, any row."""
        batch, rows = self.own.shape
        first = torch.arange(batch, device=self.own.device).unsqueeze(1) * rows
        sources = first.expand(-1, self.keys.shape[1]).clone()
        return sources.scatter_(1, self.own, first + torch.arange(rows, device=self.own.device)).flatten()

    @cached_property
    def _masks(self) -> dict[int, Tensor]:
        return {}

    def mask(self, start: int, stop: int, keys: int) -> Tensor:
        """bool (batch, 1, queries, keys) of a block."""
        mask = self._masks.get(start)
        if mask is None:
            columns = torch.arange(keys, device=self.own.device)
            mask = (columns <= self.own[:, start:stop, None]).unsqueeze(1)
            if self.own.shape[1] * self.keys.shape[1] <= _KEPT:
                self._masks[start] = mask
        return mask


def frozen_layout(call: Call, tokens: Roles, keys: Tensor) -> FrozenLayout:
    """Layout of a layer with frozen tokens, cached per call; `keys` (batch, keys) are the positions of all its keys."""
    cache, key = call.plan_state.layouts, (0, id(tokens), id(keys))
    entry = cache.get(key)
    if entry is None:
        held = keys.shape[1] - tokens.seen.rows
        own = torch.searchsorted(tokens.seen.index.contiguous(), tokens.running.index.contiguous()) + held
        entry = cache[key] = Entry(FrozenLayout(own, keys, None, True), (tokens, keys))
    layout = entry.value
    assert isinstance(layout, FrozenLayout)
    return layout


def attend(
    function: Forward,
    layout: FrozenLayout,
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    **options: Any,
) -> Any:
    """Attention output (batch, rows, heads, d); `function` is transformers' own, query (batch, heads, rows, d)."""
    rows, keys = query.shape[2], key.shape[2]
    if options.get("position_bias") is not None:
        return function(module, query, key, value, layout.lines(), **options)
    if rows >= _MANY * keys and keys >= _LONG:
        batch, heads, _, width = query.shape
        # With the rows before the heads, as the projections return them, whole rows are copied.
        whole = query.transpose(1, 2).flatten(0, 1).index_select(0, layout.sources)
        whole = whole.view(batch, keys, heads, width).transpose(1, 2)
        # A mask of None means causal by row number to transformers' function.
        out, _ = function(module, whole, key, value, None, **options)
        index = flattened_index(layout.own, keys)
        return out.flatten(0, 1).index_select(0, index).view(batch, rows, *out.shape[2:]), None
    return _in_blocks(layout, query, key, value, options.get("dropout") or 0.0, options.get("scaling")), None


def _in_blocks(
    layout: FrozenLayout, query: Tensor, key: Tensor, value: Tensor, dropout: float, scaling: float | None
) -> Tensor:
    batch, heads, rows, width = query.shape
    groups = heads // key.shape[1]
    # Key heads are not repeated: the queries of a group are the heads of one key head.
    key, value = (part.flatten(0, 1).unsqueeze(1).expand(-1, groups, -1, -1) for part in (key, value))
    query = query.reshape(-1, groups, rows, width)
    parts = []
    for start, stop, keys in layout.blocks:
        mask = layout.mask(start, stop, keys).repeat_interleave(heads // groups, dim=0)
        part = F.scaled_dot_product_attention(
            query[:, :, start:stop], key[:, :, :keys], value[:, :, :keys], mask, dropout, scale=scaling
        )
        parts.append(part)
    out = parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)
    return out.reshape(batch, heads, rows, -1).transpose(1, 2).contiguous()
