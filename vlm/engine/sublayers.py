"""Parts of a decoder layer: leaving out attention or feed-forward, and keys and values without queries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from vlm.engine.active_tokens import Active, Roles, flattened_index
from vlm.engine.forward_call import Call
from vlm.engine.hooks import Engine
from vlm.engine.kv_cache import cache_name
from vlm.engine.plan_state import Entry
from vlm.models.types import Cache, Forward
from vlm.plans.plan import LayerPlan


def replacements(engine: Engine, steps: tuple[LayerPlan, ...]) -> dict[nn.Module, Forward]:
    """Replacement forwards of the modules inside decoder layers that do less under the plan."""
    out: dict[nn.Module, Forward] = {}
    for layer, step in zip(engine.parts.layers, steps, strict=True):
        if step.vision == "frozen" and hasattr(first_part(layer, "self_attn"), "q_proj"):
            module = first_part(layer, "self_attn")
            out[module.q_proj] = _no_query_if_frozen(engine, module.q_proj)
        if not step.attention:
            out[first_part(layer, "input_layernorm")] = _unchanged
            out[first_part(layer, "self_attn")] = _no_attention
        if not step.mlp:
            out[first_part(layer, "pre_feedforward_layernorm", "post_attention_layernorm")] = _unchanged
            # Llama 4's experts also return their routing.
            experts = getattr(layer, "is_moe_layer", False)
            out[first_part(layer, "mlp", "feed_forward")] = _no_experts if experts else _zeros
    return out


def first_part(layer: nn.Module, *names: str) -> Any:
    """The first of these modules that a decoder layer has."""
    for name in names:
        if hasattr(layer, name):
            return getattr(layer, name)
    raise NotImplementedError(
        f"skipping: {type(layer).__name__} has no {' or '.join(names)}; freezing and dropping half a layer need a "
        "decoder layer of norm, attention, norm and feed-forward"
    )


def _unchanged(hidden_states: Tensor) -> Tensor:
    return hidden_states


def _zeros(hidden_states: Tensor) -> Tensor:
    """A broadcast view of a single zero (no allocation)."""
    return hidden_states.new_zeros(()).expand_as(hidden_states)


def _no_attention(hidden_states: Tensor, *_: object, **__: object) -> tuple[Tensor, None]:
    """Output of an attention module that adds nothing, without weights."""
    return _zeros(hidden_states), None


def _no_experts(hidden_states: Tensor) -> tuple[Tensor, None]:
    """Output of a mixture of experts that adds nothing, without routing."""
    return _zeros(hidden_states), None


def _no_query_if_frozen(engine: Engine, linear: Any) -> Callable[..., Tensor]:
    """The forward of a query projection that returns zeros for frozen tokens."""
    original = linear.forward

    def forward(states: Tensor) -> Tensor:
        if engine.current().plan_state.keys_only:
            return states.new_zeros(linear.out_features).expand(*states.shape[:-1], -1)
        out: Tensor = original(states)
        return out

    return forward


class _Caught(Exception):
    """Carries keys and values out of an attention module before it attends."""


class _Catch:
    """Stands in for a cache and stops the attention module once keys and values are computed."""

    def update(self, keys: Tensor, values: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        raise _Caught(keys, values)

    def get_seq_length(self, *args: Any) -> int:
        return 0


def keys_and_values(call: Call, layer: nn.Module, states: Tensor, rotary: Any) -> tuple[Tensor, Tensor]:
    """Keys and values (batch, heads, rows, d) that the model's own attention computes from these states.

    The module runs up to the point where it would pass them to a cache, its query projection replaced by zeros.
    """
    call.plan_state.keys_only = True
    try:
        layer.self_attn.forward(  # type: ignore[union-attr]
            hidden_states=first_part(layer, "input_layernorm").forward(states),
            position_embeddings=rotary,
            attention_mask=None,
            **{cache_name(layer): _Catch()},
        )
    except _Caught as caught:
        keys, values = caught.args
        return keys, values
    finally:
        call.plan_state.keys_only = False
    raise NotImplementedError(f"skipping: {type(layer).__name__} hands no keys to its cache; freezing needs that")


class WithFrozen:
    """Stands in for the cache of one layer: joins the keys and values of frozen and of running tokens."""

    def __init__(self, cache: Cache | None, keys: Tensor, values: Tensor, order: Tensor) -> None:
        self.cache, self.keys, self.values, self.order = cache, keys, values, order

    def update(self, keys: Tensor, values: Tensor, *args: Any, **kwargs: Any) -> Any:
        both = _joined(self.keys, keys, self.order), _joined(self.values, values, self.order)
        return both if self.cache is None else self.cache.update(*both, *args, **kwargs)

    def get_seq_length(self, *args: Any) -> Any:
        return 0 if self.cache is None else self.cache.get_seq_length(*args)

    def alone(self, index: int) -> None:
        """Store the frozen tokens of a call in which no token runs through the layer."""
        if self.cache is not None:
            self.cache.update(self.keys, self.values, index)


def frozen_order(call: Call, tokens: Roles) -> Tensor:
    """Index (batch * seen rows,) of each seen token into the (frozen rows, running rows) of all samples.

    Seen tokens come in the order of their positions. Cached per call.
    """
    entry = call.plan_state.orders.get(id(tokens))
    if entry is None:
        parts: tuple[Active | None, ...] = (tokens.frozen, tokens.running)
        places = torch.cat([p.places for p in parts if p is not None], dim=1)
        order = torch.argsort(places, dim=1, stable=True)[:, places.shape[1] - tokens.seen.rows :]
        entry = call.plan_state.orders[id(tokens)] = Entry(flattened_index(order, places.shape[1]), (tokens,))
    return entry.value


def _joined(frozen: Tensor, running: Tensor, order: Tensor) -> Tensor:
    """Keys or values (batch, heads, rows, d) of frozen and running tokens, in this order."""
    # With the rows before the heads, as the projections return them, whole rows are copied.
    both = torch.cat([frozen.transpose(1, 2), running.transpose(1, 2)], dim=1)
    batch, heads, width = both.shape[0], both.shape[2], both.shape[3]
    return both.flatten(0, 1).index_select(0, order).view(batch, -1, heads, width).transpose(1, 2)
