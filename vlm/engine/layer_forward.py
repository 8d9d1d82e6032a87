"""One decoder layer under a plan: its own forward on fewer tokens, scattered back into the full sequence."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from vlm.engine.active_tokens import Active
from vlm.engine.flash_attention import shortened_layout
from vlm.engine.hooks import Engine
from vlm.engine.kv_cache import CACHE_NAMES, PartialLayer, cache_in, cache_name
from vlm.engine.slicing import key_positions, rows_of, shorter_mask
from vlm.engine.sublayers import WithFrozen, frozen_order, keys_and_values
from vlm.engine.token_roles import roles
from vlm.models.types import Arguments, Cache, Forward
from vlm.plans.plan import LayerPlan

_SEQUENCE_ARGUMENTS = frozenset({"attention_mask", "position_embeddings", "position_ids", *CACHE_NAMES})


def shortened(engine: Engine, index: int, original: Forward, step: LayerPlan) -> Forward:
    """The layer's forward on the tokens that run, scattered back into the full-length states."""
    everybody = step.text and step.attention

    def forward(hidden_states: Tensor, **kwargs: Any) -> Any:
        call, given = engine.current(), cache_in(kwargs)
        length = hidden_states.shape[1]
        call.planned.add(index)
        if call.decoding and everybody and kwargs.get("attention_mask") is None and _all_join(given, index, length):
            return original(hidden_states, **kwargs)
        cache = _partial_cache(given, index)
        tokens = roles(call, step, given)
        running = tokens.running
        if not step.attention or tokens.seen.rows == 0:
            if cache is not None:
                cache.advance(length)
            if running.rows == 0:
                return hidden_states
            # No token attends, so masks and positions are irrelevant.
            return _on_rows(original, hidden_states, running, {"attention_mask": None, "position_embeddings": None})
        if not (running.everything and tokens.frozen is None):
            _refuse_unknown(kwargs, length)
        keys, filler = key_positions(call, tokens.seen, cache)
        if cache is not None:
            cache.expect(keys, length, filler)
        call.query_positions[index], call.key_positions[index] = running.places, keys
        shorter = dict(kwargs)
        if tokens.frozen is not None:
            states = _rows(hidden_states, tokens.frozen)
            rotary = rows_of(call, kwargs["position_embeddings"], tokens.frozen)
            frozen = keys_and_values(call, engine.parts.layers[index], states, rotary)
            joined = WithFrozen(given, *frozen, frozen_order(call, tokens))
            if running.rows == 0:
                joined.alone(index)
                return hidden_states
            shorter[cache_name(engine.parts.layers[index])] = joined
        mask = kwargs.get("attention_mask")
        if engine.flash:
            call.layouts[index] = shortened_layout(call, mask, kwargs.get("position_ids"), tokens, keys, filler)
        else:
            shorter["attention_mask"] = shorter_mask(call, mask, tokens, keys, filler)
        if not running.everything:
            for name in ("position_embeddings", "position_ids"):
                if kwargs.get(name) is not None:
                    shorter[name] = rows_of(call, kwargs[name], running)
        return _on_rows(original, hidden_states, running, shorter)

    return forward


def _on_rows(original: Forward, states: Tensor, active: Active, kwargs: Arguments) -> Any:
    """The layer on some rows of the states; the other rows are unchanged."""
    if active.everything:
        return original(states, **kwargs)
    out = original(_rows(states, active), **kwargs)
    new = (out[0] if isinstance(out, tuple) else out).flatten(0, 1)
    where = active.flat
    if active.real is not None:
        new, where = new.index_select(0, active.real), where.index_select(0, active.real)
    full = states.flatten(0, 1).index_copy(0, where, new).view(states.shape)
    return (full, *out[1:]) if isinstance(out, tuple) else full


def _rows(states: Tensor, active: Active) -> Tensor:
    """The states (batch, rows, width) of these tokens."""
    batch, width = states.shape[0], states.shape[-1]
    return states.flatten(0, 1).index_select(0, active.flat).view(batch, active.rows, width)


def _all_join(cache: Cache | None, index: int, length: int) -> bool:
    """Whether this cache layer accepts every token of a decoding step without extra position bookkeeping."""
    if cache is None or len(cache.layers) <= index:
        return False
    layer = cache.layers[index]
    return isinstance(layer, PartialLayer) and layer.expect_all(length)


def _partial_cache(cache: Cache | None, index: int) -> PartialLayer | None:
    """The layer's part of the cache, made a PartialLayer if it is not one yet."""
    if cache is None:
        return None
    layers = cache.layers
    while len(layers) <= index:
        layers.append(cache.layer_class_to_replicate())
    layers[index] = PartialLayer.adopt(layers[index])
    partial: PartialLayer = layers[index]
    return partial


def _refuse_unknown(kwargs: Arguments, length: int) -> None:
    """Refuse tensors that may have one entry per token but are not among the arguments that are shortened."""
    for name, value in kwargs.items():
        if name not in _SEQUENCE_ARGUMENTS and isinstance(value, Tensor) and length > 1 and length in value.shape:
            raise NotImplementedError(
                f"skipping: the layer receives the argument {name!r} of shape {tuple(value.shape)}, which may run "
                "along the sequence; this family needs support for it"
            )
