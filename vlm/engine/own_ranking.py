"""PyramidDrop inside the engine: before a layer runs, its own attention chooses the image tokens that go through it."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from vlm.engine.active_tokens import Roles
from vlm.engine.attention_event import AttentionEvent, Peeked
from vlm.engine.flash_attention import shortened_layout
from vlm.engine.forward_call import Call
from vlm.engine.hooks import Engine
from vlm.engine.kv_cache import PartialLayer, cache_in, cache_name
from vlm.engine.layer_forward import cut_to, partial_cache, refuse_unknown, rows_at
from vlm.engine.renumbering import renumbered
from vlm.engine.row_plans import RowStep
from vlm.engine.slicing import key_positions, shorter_mask
from vlm.engine.token_pruning import last_token_scores, most_attended
from vlm.engine.token_roles import roles
from vlm.models.layer_parts import cache_slot, device_of
from vlm.models.types import Arguments, Forward
from vlm.plans.plan import LayerPlan


def ranked_first(
    engine: Engine,
    index: int,
    plain: Forward,
    step: LayerPlan | RowStep,
    fractions: Sequence[float | None],
    shortened: Forward,
) -> Forward:
    """The forward of a layer of the plan that first finds out which image tokens stay (`plan_state.ranked`).

    Parameters
    ----------
    engine : Engine
    index : int
        The layer.
    plain : function
        Its own forward.
    step : LayerPlan or RowStep
        What the plan does there.
    fractions : sequence of float or None
        One per plan of the rows, None where a plan does not rank here.
    shortened : function
        Its forward under the plan, once the choice is made.
    """
    layer = engine.parts.layers[index]
    before = _without(step, index)
    names = list(inspect.signature(type(layer).forward).parameters)[2:]

    def forward(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        call = engine.current()
        kwargs |= dict(zip(names, args, strict=False))
        if not call.decoding and index not in call.plan_state.ranked and bool(call.vision.any()):
            with torch.no_grad():
                event = _peek(engine, index, plain, before, call, hidden_states, kwargs)
                each = len(call.vision) // len(fractions)
                by_row = [fraction for fraction in fractions for _ in range(each)]
                vision = call.vision.to(event.query.device)
                chosen = torch.tensor([fraction is not None for fraction in by_row], device=vision.device)
                scores = last_token_scores(event, chosen)
                stay = most_attended(scores, vision, [1.0 if f is None else f for f in by_row])
                call.plan_state.ranked[index] = torch.where(chosen.unsqueeze(1), stay, vision)
        return shortened(hidden_states, **kwargs)

    return forward


def _without(step: LayerPlan | RowStep, index: int) -> LayerPlan | RowStep:
    """What the plan does in the layer before the choice at it."""
    if isinstance(step, RowStep):
        return RowStep(tuple(_plain(row, index) for row in step.rows))
    return _plain(step, index)


def _plain(step: LayerPlan, index: int) -> LayerPlan:
    return replace(step, ranked=tuple(pair for pair in step.ranked if pair[0] != index))


def _peek(
    engine: Engine,
    index: int,
    plain: Forward,
    before: LayerPlan | RowStep,
    call: Call,
    states: Tensor,
    arguments: Arguments,
) -> AttentionEvent:
    """Queries and keys of the layer on all tokens that could take part: its own forward, up to where it attends."""
    layer = engine.parts.layers[index]
    given, length = cache_in(arguments), states.shape[1]
    here = device_of(layer) or states.device
    states = states.to(here)
    cache = partial_cache(given, cache_slot(layer, index))
    seen = roles(call, before, given, here).seen
    everybody = Roles(seen, None, seen)
    call.planned.add(index)
    if before.renumbered:
        arguments = renumbered(engine, call, dict(arguments), before, seen, cache, states)
    if not seen.everything:
        refuse_unknown(arguments, length)
    keys, filler = key_positions(call, seen, cache)
    call.query_positions[index], call.key_positions[index] = seen.places, keys
    shown = dict(arguments)
    if cache is not None:
        shown[cache_name(layer)] = _Held(cache, keys.shape[1])
    mask = arguments.get("attention_mask")
    if engine.flash:
        call.layouts[index] = shortened_layout(call, mask, arguments.get("position_ids"), everybody, keys, filler)
    else:
        shown["attention_mask"] = shorter_mask(call, mask, everybody, keys, filler)
    if layer.training and getattr(layer, "gradient_checkpointing", False):
        # Nothing of this run is recomputed: its result is a choice.
        plain = partial(inspect.unwrap(type(layer).forward), layer)
    call.peeking = True
    try:
        plain(states if seen.everything else rows_at(states, seen), **cut_to(call, shown, seen))
    except Peeked as peeked:
        return peeked.event
    finally:
        call.peeking = False
        call.layouts.pop(index, None)
    raise NotImplementedError(
        f"skipping: the attention of layer {index}, a {type(layer).__name__}, shows no queries and keys before it "
        f"attends, so that rank:{index} is not possible; use prune:, which reads the layer before"
    )


class _Held:
    """Stands in for a layer's cache: returns what it holds and the new keys and values, and stores nothing."""

    def __init__(self, layer: PartialLayer, shown: int) -> None:
        self.layer, self.shown = layer, shown

    def update(self, keys: Tensor, values: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Keys and values that the new tokens would attend to."""
        past = self.shown - keys.shape[2]
        if not past or self.layer.keys is None or self.layer.values is None:
            return keys, values
        held = self.layer.keys[:, :, -past:], self.layer.values[:, :, -past:]
        return torch.cat([held[0], keys], dim=2), torch.cat([held[1], values], dim=2)

    def get_seq_length(self, *args: Any) -> Any:
        """As the layer itself says it."""
        return self.layer.get_seq_length()
