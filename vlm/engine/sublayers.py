"""Half a decoder layer: leaving out attention or feed-forward, and keys and values without queries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from vlm.engine.forward_call import Call
from vlm.engine.hooks import Engine
from vlm.engine.kv_cache import cache_name
from vlm.engine.token_roles import Active, Roles, numbered
from vlm.plans.plan import LayerPlan


def replacements(engine: Engine, steps: tuple[LayerPlan, ...]) -> dict[nn.Module, Callable[..., Any]]:
    """Forwards of the modules inside decoder layers that the plan makes do less."""
    out: dict[nn.Module, Callable[..., Any]] = {}
    for layer, step in zip(engine.parts.layers, steps, strict=True):
        if step.vision == "frozen" and hasattr(part(layer, "self_attn"), "q_proj"):
            module = part(layer, "self_attn")
            out[module.q_proj] = _no_query_if_frozen(engine, module.q_proj)
        if not step.attention:
            out[part(layer, "input_layernorm")] = _unchanged
            out[part(layer, "self_attn")] = lambda hidden_states, *_, **__: (_nothing(hidden_states), None)
        if not step.mlp:
            out[part(layer, "pre_feedforward_layernorm", "post_attention_layernorm")] = _unchanged
            pair = getattr(layer, "is_moe_layer", False)  # Llama 4's experts return their routing as well.
            out[part(layer, "mlp", "feed_forward")] = lambda x, pair=pair: (_nothing(x), None) if pair else _nothing(x)
    return out


def part(layer: nn.Module, *names: str) -> Any:
    """The first of these parts that a decoder layer has."""
    for name in names:
        if hasattr(layer, name):
            return getattr(layer, name)
    raise NotImplementedError(
        f"skipping: {type(layer).__name__} has no {' or '.join(names)}; freezing and dropping half a layer need a "
        "decoder layer of norm, attention, norm and feed-forward"
    )


def _unchanged(hidden_states: Tensor) -> Tensor:
    return hidden_states


def _nothing(hidden_states: Tensor) -> Tensor:
    """Zeros of the same shape that take no memory."""
    return hidden_states.new_zeros(()).expand_as(hidden_states)


def _no_query_if_frozen(engine: Engine, linear: Any) -> Callable[..., Tensor]:
    """The query projection, but zeros for frozen tokens."""
    original = linear.forward

    def forward(states: Tensor) -> Tensor:
        if engine.current().memo.get("keys only"):
            return states.new_zeros(linear.out_features).expand(*states.shape[:-1], -1)
        out: Tensor = original(states)
        return out

    return forward


class _Caught(Exception):
    """Carries keys and values out of an attention module before it attends."""


class _Catch:
    """In place of a cache: stops the attention module once keys and values are made."""

    def update(self, keys: Tensor, values: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        raise _Caught(keys, values)

    def get_seq_length(self, *args: Any) -> int:
        return 0


def keys_and_values(call: Call, layer: nn.Module, states: Tensor, rotary: Any) -> tuple[Tensor, Tensor]:
    """Keys and values (batch, heads, rows, d) that the model's own attention makes of these states.

    The module runs up to the point where it would hand them to a cache, its query projection replaced by zeros.
    """
    call.memo["keys only"] = True
    try:
        layer.self_attn.forward(  # type: ignore[union-attr]
            hidden_states=part(layer, "input_layernorm").forward(states),
            position_embeddings=rotary,
            attention_mask=None,
            **{cache_name(layer): _Catch()},
        )
    except _Caught as caught:
        keys, values = caught.args
        return keys, values
    finally:
        call.memo["keys only"] = False
    raise NotImplementedError(f"skipping: {type(layer).__name__} hands no keys to its cache; freezing needs that")


class WithFrozen:
    """In place of the cache of one layer: joins the frozen tokens' keys and values with the running ones'."""

    def __init__(self, cache: Any, keys: Tensor, values: Tensor, order: Tensor) -> None:
        self.cache, self.keys, self.values, self.order = cache, keys, values, order

    def update(self, keys: Tensor, values: Tensor, *args: Any, **kwargs: Any) -> Any:
        both = _joined(self.keys, keys, self.order), _joined(self.values, values, self.order)
        return both if self.cache is None else self.cache.update(*both, *args, **kwargs)

    def get_seq_length(self, *args: Any) -> Any:
        return 0 if self.cache is None else self.cache.get_seq_length(*args)

    def alone(self, index: int) -> None:
        """Store the frozen tokens in a call in which nobody runs through the layer."""
        if self.cache is not None:
            self.cache.update(self.keys, self.values, index)


def frozen_order(call: Call, tokens: Roles) -> Tensor:
    """Where in (frozen rows, running rows) of its sample each seen token is, in the order of positions.

    Numbered through the batch, (batch * seen rows,).
    """
    key = ("order", id(tokens))
    if key not in call.memo:
        parts: tuple[Active | None, ...] = (tokens.frozen, tokens.running)
        places = torch.cat([p.places for p in parts if p is not None], dim=1)
        order = torch.argsort(places, dim=1, stable=True)[:, places.shape[1] - tokens.seen.rows :]
        call.memo[key] = numbered(order, places.shape[1])
    found: Tensor = call.memo[key]
    return found


def _joined(frozen: Tensor, running: Tensor, order: Tensor) -> Tensor:
    """Keys or values (batch, heads, rows, d) of both, in this order."""
    # With the rows before the heads, as projections make them, whole rows are copied.
    both = torch.cat([frozen.transpose(1, 2), running.transpose(1, 2)], dim=1)
    batch, heads, width = both.shape[0], both.shape[2], both.shape[3]
    return both.flatten(0, 1).index_select(0, order).view(batch, -1, heads, width).transpose(1, 2)
