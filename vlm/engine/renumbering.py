"""Consecutive positions for the tokens that take part in a layer."""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from torch import Tensor

from vlm.engine.active_tokens import Active
from vlm.engine.forward_call import Call
from vlm.engine.hooks import Engine
from vlm.engine.kv_cache import PartialLayer
from vlm.engine.row_plans import RowStep, plan_of_row
from vlm.models.layer_parts import parameters_of
from vlm.plans.plan import LayerPlan


def renumbered(
    engine: Engine,
    call: Call,
    arguments: dict[str, Any],
    step: LayerPlan | RowStep,
    seen: Active,
    cache: PartialLayer | None,
    states: Tensor,
) -> dict[str, Any]:
    """A layer's arguments with positions that count only the tokens seen in it, earlier calls on the cache included.

    Parameters
    ----------
    engine : Engine
    call : Call
    arguments : mapping
        Of the layer's forward, for all tokens of the call.
    step : LayerPlan or RowStep
        What the plan does here.
    seen : Active
        Tokens of the call that are queries or keys here.
    cache : PartialLayer or None
        The layer's part of the cache, before this call's keys.
    states : Tensor (batch, tokens, width)
        The layer's input, for its device and type.

    Raises
    ------
    NotImplementedError
        Positions of several coordinates, sliding windows, flash attention, or another rotary embedding than one that
        the decoder computes from the positions.
    """
    positions, given = arguments.get("position_ids"), arguments.get("position_embeddings")
    rotary = getattr(engine.parts.decoder, "rotary_emb", None)
    if engine.flash:
        _refuse("flash attention")
    if rotary is None or not isinstance(given, tuple) or not isinstance(positions, Tensor):
        _refuse("a decoder that gives its layers no rotary positions")
    if "layer_type" in parameters_of(rotary):
        _refuse("a rotary embedding for each kind of layer")
    if positions.ndim != 2:
        _refuse("positions of several coordinates (M-RoPE)")
    if cache is not None and cache.window is not None:
        _refuse("a layer with a sliding window")
    if not call.past and not all(map(torch.equal, rotary(states, positions), given)):
        _refuse("a rotary embedding that is not the decoder's own")
    index = seen.index
    real = torch.ones_like(index, dtype=torch.bool) if seen.valid is None else seen.valid
    # Filler stands at places of tokens that take no part.
    missing = torch.ones_like(call.real, device=index.device).scatter(1, index, ~real)
    before = missing.long().cumsum(dim=1)
    if cache is not None:
        before = before + _missing_in(cache, before)
    if isinstance(step, RowStep):
        which = plan_of_row(len(before), len(step.rows), before.device)
        flags = torch.tensor([row.renumbered for row in step.rows], device=before.device)[which]
        before = before * flags.unsqueeze(1)
    # Tokens that take no part may come below 0; nobody reads theirs.
    moved = (positions.to(before.device) - before).clamp(min=0)
    return {**arguments, "position_ids": moved, "position_embeddings": rotary(states, moved)}


def _missing_in(cache: PartialLayer, like: Tensor) -> Tensor:
    """(batch, 1) how many tokens of earlier calls are not in this layer of the cache."""
    held = cache.visible()
    if held is None:
        return torch.full_like(like[:, :1], cache.logical)
    return (cache.logical - (held >= 0).sum(dim=1, keepdim=True)).to(like.device)


def _refuse(what: str) -> NoReturn:
    raise NotImplementedError(
        f"skipping: renumber: is not possible with {what}; leave it out, so that tokens keep their positions"
    )
