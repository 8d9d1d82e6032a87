"""One decoder layer under a plan: its own forward on fewer tokens, scattered back into the full sequence."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import Any

from torch import Tensor

from vlm.engine.active_tokens import Active
from vlm.engine.flash_attention import shortened_layout
from vlm.engine.forward_call import Call
from vlm.engine.frozen_attention import frozen_layout
from vlm.engine.hooks import Engine
from vlm.engine.kv_cache import CACHE_NAMES, PartialLayer, PartialStaticLayer, cache_in, cache_name
from vlm.engine.renumbering import renumbered
from vlm.engine.row_plans import RowStep
from vlm.engine.slicing import key_positions, rows_of, shorter_mask
from vlm.engine.sublayers import WithFrozen, frozen_order, keys_and_values
from vlm.engine.token_roles import roles
from vlm.models.layer_parts import cache_slot, device_of
from vlm.models.transformers_internals import read_again
from vlm.models.types import Arguments, Cache, Forward
from vlm.plans.plan import LayerPlan

_SEQUENCE_ARGUMENTS = frozenset(
    {"attention_mask", "position_embeddings", "position_ids", "per_layer_input", *CACHE_NAMES}
    # Gemma 4's: read by layers that share keys, which are refused beforehand.
    | {"shared_kv_states"}
)
# Arguments with one row per token, beside the mask.
_PER_TOKEN = ("position_embeddings", "position_ids", "per_layer_input")


def shortened(engine: Engine, index: int, original: Forward, step: LayerPlan | RowStep) -> Forward:
    """The layer's forward on the tokens that run, scattered back into the full-length states."""
    everybody = step.text and step.attention and not step.renumbered
    layer = engine.parts.layers[index]
    slot, cache_argument = cache_slot(layer, index), cache_name(layer)
    names = list(inspect.signature(type(layer).forward).parameters)[2:]

    def forward(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        call = engine.current()
        if args:
            kwargs |= dict(zip(names, args, strict=False))
        given = cache_in(kwargs)
        length = hidden_states.shape[1]
        call.planned.add(index)
        if call.decoding and everybody:
            if kwargs.get("attention_mask") is None and _all_join(given, slot, length):
                return original(hidden_states, **kwargs)
            if isinstance(partial := slot_of(given, slot), PartialStaticLayer) and partial.fixed and not engine.flash:
                return original(hidden_states, **step_of(partial, kwargs, length))
        here = device_of(layer) or hidden_states.device
        if hidden_states.device != here:
            # A model spread over devices: its hooks would move the arguments only inside `original`.
            hidden_states = hidden_states.to(here)
        cache = partial_cache(given, slot)
        if call.decoding and step.text and not step.attention:
            if cache is not None:
                cache.advance(length)
            return original(hidden_states, **_unread(kwargs, cache_argument))
        tokens = roles(call, step, given, here)
        running = tokens.running
        if not step.attention or tokens.seen.rows == 0:
            if cache is not None:
                cache.advance(length)
            if running.rows == 0:
                return hidden_states
            # No token attends, so masks and positions are irrelevant.
            return on_rows(original, hidden_states, running, _unread(kwargs, cache_argument), call)
        if step.renumbered:
            kwargs = dict(renumbered(engine, call, kwargs, step, tokens.seen, cache, hidden_states))
        if not (running.everything and tokens.frozen is None):
            refuse_unknown(kwargs, length)
        keys, filler = key_positions(call, tokens.seen, cache)
        if cache is not None:
            cache.expect(keys, length, filler)
        call.query_positions[index], call.key_positions[index] = running.places, keys
        shorter = dict(kwargs)
        if tokens.frozen is not None:
            states = rows_at(hidden_states, tokens.frozen)
            cut = cut_to(call, kwargs, tokens.frozen)
            frozen = keys_and_values(engine, layer, original, states, cut)
            joined = WithFrozen(given, *frozen, frozen_order(call, tokens))
            if running.rows == 0:
                joined.alone(slot)
                return hidden_states
            shorter[cache_argument] = joined
        mask = kwargs.get("attention_mask")
        if engine.flash:
            call.layouts[index] = shortened_layout(call, mask, kwargs.get("position_ids"), tokens, keys, filler)
        elif tokens.frozen is not None and mask is None and not filler and engine.attention_name == "sdpa":
            call.layouts[index] = frozen_layout(call, tokens, keys)
        else:
            shorter["attention_mask"] = shorter_mask(call, mask, tokens, keys, filler)
        with read_again(layer) if tokens.frozen is not None else nullcontext():
            out = on_rows(original, hidden_states, running, shorter, call)
        if index in call.layouts and index not in call.followed:
            raise NotImplementedError(
                f"skipping: layer {index}, a {type(layer).__name__}, does not attend through transformers' attention "
                "interface, which this plan needs there; leave it out of the plan, or load the model with "
                "attn_implementation='eager'"
            )
        return out

    return forward


def _unread(arguments: Arguments, cache_argument: str) -> dict[str, Any]:
    """The arguments of a layer that does not attend: without masks, positions and cache."""
    unread = ("attention_mask", "position_embeddings", "position_ids", cache_argument)
    return {**arguments, **{name: None for name in unread if name in arguments}}


def cut_to(call: Call, arguments: Arguments, active: Active) -> Arguments:
    """The arguments of a layer with the rows of these tokens in what has one row per token."""
    if active.everything:
        return arguments
    cut = {name: rows_of(call, arguments[name], active) for name in _PER_TOKEN if arguments.get(name) is not None}
    return {**arguments, **cut}


def on_rows(original: Forward, states: Tensor, active: Active, kwargs: Arguments, call: Call) -> Any:
    """The layer on some rows of the states; the other rows are unchanged."""
    if active.everything:
        return original(states, **kwargs)
    out = original(rows_at(states, active), **cut_to(call, kwargs, active))
    new = (out[0] if isinstance(out, tuple) else out).flatten(0, 1)
    where = active.flat
    if active.real is not None:
        new, where = new.index_select(0, active.real), where.index_select(0, active.real)
    full = states.flatten(0, 1).index_copy(0, where, new).view(states.shape)
    return (full, *out[1:]) if isinstance(out, tuple) else full


def rows_at(states: Tensor, active: Active) -> Tensor:
    """The states (batch, rows, width) of these tokens."""
    batch, width = states.shape[0], states.shape[-1]
    return states.flatten(0, 1).index_select(0, active.flat).view(batch, active.rows, width)


def slot_of(cache: Cache | None, slot: int) -> Any:
    """A layer's part of the cache, None if there is none yet."""
    return None if cache is None or len(cache.layers) <= slot else cache.layers[slot]


def step_of(cache: PartialStaticLayer, arguments: Arguments, tokens: int) -> dict[str, Any]:
    """The arguments of a decoding step on a static cache, with the mask of what this layer holds."""
    return {**arguments, "attention_mask": cache.step(arguments.get("attention_mask"), tokens)}


def _all_join(cache: Cache | None, slot: int, length: int) -> bool:
    """Whether this cache layer accepts every token of a decoding step without extra position bookkeeping."""
    if cache is None or len(cache.layers) <= slot:
        return False
    layer = cache.layers[slot]
    return isinstance(layer, PartialLayer) and layer.expect_all(length)


def partial_cache(cache: Cache | None, slot: int) -> PartialLayer | None:
    """The layer's part of the cache, made a PartialLayer if it is not one yet."""
    if cache is None:
        return None
    layers = cache.layers
    while len(layers) <= slot:
        layers.append(cache.layer_class_to_replicate())
    layers[slot] = PartialLayer.adopt(layers[slot])
    partial: PartialLayer = layers[slot]
    return partial


def refuse_unknown(kwargs: Arguments, length: int) -> None:
    """Refuse tensors that may have one entry per token but are not among the arguments that are shortened."""
    for name, value in kwargs.items():
        for tensor in () if name in _SEQUENCE_ARGUMENTS else _tensors(value):
            if length > 1 and length in tensor.shape:
                raise NotImplementedError(
                    f"skipping: the layer receives the argument {name!r} of shape {tuple(tensor.shape)}, which may run "
                    "along the sequence; this family needs support for it"
                )


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in an argument, also those in lists and dictionaries."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _tensors(item)
