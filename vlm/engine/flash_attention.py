"""Flash attention under a plan: padding masks for the remaining keys, and runs where some tokens are only keys."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

from vlm.engine.active_tokens import Roles
from vlm.engine.flash_layout import Layout, SequenceLengths
from vlm.engine.forward_call import Call
from vlm.engine.plan_state import Entry
from vlm.models.types import Arguments, Forward

PACKED = tuple(SequenceLengths.__annotations__)
_SEVERAL_PROMPTS = (
    "skipping: under flash attention {} several prompts in one row, which a plan cannot tell apart; give each prompt "
    "a row of its own, padded on the left"
)


def shortened_layout(
    call: Call, mask: Tensor | None, positions: Tensor | None, tokens: Roles, keys: Tensor, filler: bool
) -> Layout:
    """Layout of a shortened layer, cached per call; `mask` and `positions` are those of the whole model."""
    cache, key = call.plan_state.layouts, (id(mask), id(tokens), id(keys))
    entry = cache.get(key)
    if entry is None:
        if mask is None and positions is not None and _restarts(positions):
            raise NotImplementedError(_SEVERAL_PROMPTS.format("position_ids that skip or restart mean"))
        entry = cache[key] = Entry(_shortened_layout(call, mask, tokens, keys, filler), (mask, tokens, keys))
    return entry.value


def _shortened_layout(call: Call, mask: Tensor | None, tokens: Roles, keys: Tensor, filler: bool) -> Layout:
    seen = tokens.seen
    held = keys.shape[1] - seen.rows
    column = torch.zeros_like(call.real, dtype=torch.long, device=keys.device).scatter(
        1, seen.index, torch.arange(held, keys.shape[1], device=keys.device).expand_as(seen.index)
    )
    own = column.gather(1, tokens.running.index)
    if tokens.running.valid is not None:
        own = torch.where(tokens.running.valid, own, -1)
    opened = _opened(call, mask, keys)
    if filler:
        opened = keys >= 0 if opened is None else opened & (keys >= 0)
    return Layout(own, keys, opened, tokens.frozen is not None)


def _restarts(positions: Tensor) -> bool:
    """Whether transformers reads position ids (1, tokens) as those of several prompts."""
    return positions.ndim == 2 and len(positions) == 1 and bool((positions.diff(dim=1) != 1).any())


def whole_layout(call: Call, mask: Tensor | None, queries: int, keys: int) -> Layout | None:
    """Layout of a layer that is not shortened, cached per call; None where attention is causal by row number."""
    if mask is None and not call.past:
        return None
    cache, key = call.plan_state.whole_layouts, (id(mask), queries, keys)
    entry = cache.get(key)
    if entry is None:
        end = call.past + call.real.shape[1]
        batch = call.real.shape[0]
        here = call.real.device if mask is None else mask.device
        places = torch.arange(end - keys, end, device=here).expand(batch, -1)
        own = torch.arange(keys - queries, keys, device=here).expand(batch, -1)
        entry = cache[key] = Entry(Layout(own, places, _opened(call, mask, places), False), (mask,))
    return entry.value


def _opened(call: Call, mask: Tensor | None, keys: Tensor) -> Tensor | None:
    """bool (batch, keys): which keys a padding mask leaves open."""
    if mask is None:
        return None
    if mask.ndim != 2:
        raise NotImplementedError(f"flash attention: expected a padding mask (batch, keys), got {mask.ndim} dimensions")
    # The mask's columns are positions unless a full sliding window cuts it.
    check_window(call, mask.shape[1])
    return mask.to(keys.device, torch.bool).gather(1, keys.clamp(min=0))


def check_causal(module: nn.Module, is_causal: bool | None) -> None:
    """Refuse bidirectional layers: only the model's own call of the kernel knows about them."""
    if not (module.is_causal if is_causal is None else is_causal):
        raise NotImplementedError(
            "flash attention: freezing, pruning and measuring attention need causal layers; load the model with "
            "attn_implementation='sdpa' or 'eager'"
        )


def refuse_packed(given: Arguments) -> None:
    """Refuse the arguments that mark several prompts in one row."""
    present = [name for name in PACKED if given.get(name) is not None]
    if present:
        raise NotImplementedError(_SEVERAL_PROMPTS.format(f"{', '.join(present)} mean"))


def check_window(call: Call, window: int | None) -> None:
    """Refuse a layer whose sliding window is full: the kernel counts it in rows, which need not be positions."""
    length = call.past + call.real.shape[1]
    if window is not None and length > window:
        raise NotImplementedError(
            f"flash attention: {length} tokens exceed this layer's sliding window of {window}, which cannot be "
            "followed exactly; load the model with attn_implementation='sdpa' or 'eager'"
        )


def attend(
    function: Forward,
    layout: Layout,
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    **options: Any,
) -> Any:
    """Attention of a shortened layer by transformers' flash function; query (batch, heads, rows, d)."""
    # Transformers would read gaps in the positions as several prompts in one row.
    options["position_ids"] = None
    if not layout.runs_apart:
        return function(module, query, key, value, layout.opened, **options)
    check_causal(module, options.get("is_causal"))
    batch, heads, rows, _ = query.shape
    runs = layout.runs
    if runs is None:
        for unusual in ("softcap", "s_aux"):
            if options.get(unusual) is not None:
                raise NotImplementedError(
                    f"skipping: freezing an image of so many runs under flash attention is not supported in layers "
                    f"with {unusual!r}; load the model with attn_implementation='eager'"
                )
        return AttentionInterface()["sdpa"](module, query, key, value, layout.lines(), **options)
    chosen = _rows(query, runs.queries)
    out, weights = function(
        module, chosen, _rows(key, runs.keys), _rows(value, runs.keys), None, **options, **runs.lengths
    )
    full = out.new_zeros(batch * rows, heads, out.shape[-1]).index_copy(0, runs.queries, out[0])
    return full.view(batch, rows, heads, -1), weights


def _rows(states: Tensor, index: Tensor) -> Tensor:
    """Rows of (batch, heads, rows, d), numbered through the batch, as one sequence (1, heads, chosen, d)."""
    return states.transpose(1, 2).flatten(0, 1)[index].transpose(0, 1).unsqueeze(0)
