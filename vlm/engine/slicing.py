"""Cut what a decoder layer receives down to the tokens that take part: positions, rotary tables, masks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vlm.engine.forward_call import Call
from vlm.engine.kv_cache import PartialLayer
from vlm.engine.token_roles import Active, Roles


def key_positions(call: Call, active: Active, cache: PartialLayer | None) -> tuple[Tensor, bool]:
    """Logical positions of the keys this layer will see, those held and then those of this call; is any filler."""
    held = None if cache is None else cache.visible()
    past = 0 if cache is None else cache.logical
    key = ("keys", id(active), id(held), past)
    if key not in call.memo:
        new = active.places
        new = new + past if active.valid is None else torch.where(new >= 0, new + past, new)
        # What is known without a look at the device is not asked of it.
        filler = active.valid is not None or (cache is not None and cache.ragged)
        call.memo[key] = (new if held is None else torch.cat([held, new], dim=1), filler), held
    found: tuple[Tensor, bool] = call.memo[key][0]
    return found


def shorter_mask(call: Call, mask: Tensor | None, tokens: Roles, keys: Tensor, filler: bool) -> Tensor | None:
    """The 4-D mask on the query and key axes that remain; None stays None where causality is all it says."""
    # Causality by row numbers is right only where every key of this call is also a query.
    if mask is None and not filler and tokens.frozen is None:
        return None
    key = ("mask", id(mask), id(tokens), id(keys))
    if key not in call.memo:
        call.memo[key] = (_gathered_mask(mask, tokens, keys, filler, call), mask, tokens, keys)
    gathered: Tensor | None = call.memo[key][0]
    return gathered


def _gathered_mask(mask: Tensor | None, tokens: Roles, keys: Tensor, filler: bool, call: Call) -> Tensor:
    active = tokens.running
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
    # Under a sliding window the mask's first column is not position 0.
    keys = torch.where(keys < 0, keys, keys - (call.past + call.real.shape[1] - mask.shape[3]))
    if keys.shape[1] != mask.shape[3] or filler:
        mask = mask.gather(3, keys.clamp(min=0)[:, None, None, :].expand(-1, heads, mask.shape[2], -1))
    if filler:
        closed = False if mask.dtype == torch.bool else torch.finfo(mask.dtype).min
        opened = True if mask.dtype == torch.bool else 0.0
        mask = mask.masked_fill((keys < 0)[:, None, None, :], closed)
        if active.valid is not None:
            # Filler queries may look anywhere: a row without any key would give NaN.
            mask = mask.masked_fill(~active.valid[:, None, :, None], opened)
    return mask


def rows_of(call: Call, value: Any, active: Active) -> Any:
    """Positions or rotary tables (..., batch or 1, sequence[, features]) of the active tokens."""
    if isinstance(value, tuple):
        return tuple(rows_of(call, part, active) for part in value)
    key = ("rows", id(value), id(active))
    if key not in call.memo:
        features = value.is_floating_point() or value.is_complex()
        flat = value if features else value.unsqueeze(-1)
        batch, rows = active.index.shape
        lead = flat.shape[:-3]
        flat = flat.expand(*lead, batch, *flat.shape[-2:])
        index = active.index.view(*(1,) * len(lead), batch, rows, 1).expand(*lead, batch, rows, flat.shape[-1])
        picked = flat.gather(-2, index)
        call.memo[key] = (picked if features else picked.squeeze(-1), value)
    return call.memo[key][0]
