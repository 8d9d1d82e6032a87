"""Cut the arguments of a decoder layer down to the tokens that take part: positions, rotary tables, masks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vlm.engine.active_tokens import Active, Roles
from vlm.engine.forward_call import Call
from vlm.engine.kv_cache import PartialLayer
from vlm.engine.plan_state import Entry


def key_positions(call: Call, active: Active, cache: PartialLayer | None) -> tuple[Tensor, bool]:
    """Logical positions (batch, keys) of the layer's keys, cached ones first, and whether any of them is filler."""
    held = None if cache is None else cache.visible()
    past = 0 if cache is None else cache.logical
    cached, key = call.plan_state.keys, (id(active), id(held), past)
    entry = cached.get(key)
    if entry is None:
        new = active.places
        new = new + past if active.valid is None else torch.where(new >= 0, new + past, new)
        # Decided from Python values, without a device synchronisation.
        filler = active.valid is not None or (cache is not None and cache.ragged)
        positions = new if held is None else torch.cat([held, new], dim=1)
        entry = cached[key] = Entry((positions, filler), (active, held))
    return entry.value


def shorter_mask(call: Call, mask: Tensor | None, tokens: Roles, keys: Tensor, filler: bool) -> Tensor | None:
    """The 4-D mask on the remaining rows and columns; None stays None where attention is causal by row number."""
    # Causality by row number is right only if every key of this call is also a query.
    if mask is None and not filler and tokens.frozen is None:
        return None
    cached, key = call.plan_state.masks, (id(mask), id(tokens), id(keys))
    entry = cached.get(key)
    if entry is None:
        entry = cached[key] = Entry(_gathered_mask(mask, tokens, keys, filler, call), (mask, tokens, keys))
    return entry.value


def _gathered_mask(mask: Tensor | None, tokens: Roles, keys: Tensor, filler: bool, call: Call) -> Tensor:
    active = tokens.running
    mask = None if mask is None else mask.to(keys.device)
    if mask is None:
        queries = torch.where(active.places >= 0, active.places + call.past, -1)
        seen = (keys.unsqueeze(1) <= queries.unsqueeze(2)) & (keys >= 0).unsqueeze(1)
        return (seen | (queries < 0).unsqueeze(2)).unsqueeze(1)
    if mask.ndim != 4:
        raise NotImplementedError(f"skipping: expected a 4-D attention mask, got {mask.ndim} dimensions")
    mask = mask.expand(active.index.shape[0], -1, -1, -1)
    heads = mask.shape[1]
    if not active.everything:
        mask = mask.gather(2, active.index[:, None, :, None].expand(-1, heads, -1, mask.shape[3]))
    if not call.static:
        # Under a sliding window the mask's first column is not position 0.
        keys = torch.where(keys < 0, keys, keys - (call.past + call.real.shape[1] - mask.shape[3]))
    if keys.shape[1] != mask.shape[3] or filler:
        mask = mask.gather(3, keys.clamp(min=0)[:, None, None, :].expand(-1, heads, mask.shape[2], -1))
    if filler:
        closed = False if mask.dtype == torch.bool else torch.finfo(mask.dtype).min
        opened = True if mask.dtype == torch.bool else 0.0
        mask = mask.masked_fill((keys < 0)[:, None, None, :], closed)
        if active.valid is not None:
            # Filler queries may attend to anything: a row without any key would give NaN.
            mask = mask.masked_fill(~active.valid[:, None, :, None], opened)
    return mask


def rows_of(call: Call, value: Any, active: Active) -> Any:
    """Rows of position ids or rotary tables (..., batch or 1, sequence[, features]) that belong to active tokens."""
    if isinstance(value, tuple):
        return tuple(rows_of(call, part, active) for part in value)
    cached, key = call.plan_state.rotary, (id(value), id(active))
    entry = cached.get(key)
    if entry is None:
        features = value.is_floating_point() or value.is_complex()
        flat = (value if features else value.unsqueeze(-1)).to(active.index.device)
        batch, rows = active.index.shape
        lead = flat.shape[:-3]
        flat = flat.expand(*lead, batch, *flat.shape[-2:])
        index = active.index.view(*(1,) * len(lead), batch, rows, 1).expand(*lead, batch, rows, flat.shape[-1])
        picked = flat.gather(-2, index)
        entry = cached[key] = Entry(picked if features else picked.squeeze(-1), (value, active))
    return entry.value
