"""Parts of a decoder layer: leaving out attention or feed-forward, and keys and values without queries."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from vlm.engine.active_tokens import Active, Roles, flattened_index
from vlm.engine.forward_call import Call
from vlm.engine.half_layer_exit import fed_fewer
from vlm.engine.half_layers import halves
from vlm.engine.hooks import Engine
from vlm.engine.kv_cache import cache_name
from vlm.engine.plan_state import Entry
from vlm.engine.row_plans import Steps
from vlm.models.layer_parts import GATE_NAMES, QUERY_NAMES, find_attention
from vlm.models.transformers_internals import checkpointed
from vlm.models.types import Arguments, Cache, Forward
from vlm.plans.plan import LayerPlan


def replacements(engine: Engine, steps: Steps) -> tuple[dict[nn.Module, Forward], dict[nn.Module, Forward]]:
    """Replacement forwards of modules inside decoder layers that do less under the plan, and of the plan's layers."""
    inside: dict[nn.Module, Forward] = {}
    layers: dict[nn.Module, Forward] = {}
    dropped: dict[nn.Module, dict[nn.Module, Forward]] = {}
    width, dtype = engine.parts.text_config.hidden_size, engine.parts.model.dtype
    for index, (layer, step) in enumerate(zip(engine.parts.layers, steps, strict=True)):
        if step.vision == "frozen":
            maps = query_maps(layer)
            inside |= {module: _no_query_if_frozen(engine, layer, module, module is maps[-1]) for module in maps}
        if not (step.attention and step.mlp):
            parts = halves(layer, width, dtype)
            dropped[layer] = parts.without(attention=not step.attention, feed_forward=not step.mlp)
            inside |= dropped[layer]
        if step.leaving is not None and step.mlp:
            fewer = fed_fewer(engine, index, width, dtype)
            dropped[layer] = dropped.get(layer, {}) | fewer
            inside |= fewer
        if step != LayerPlan():
            layers[layer] = _repeated_alike(engine, layer, dropped.get(layer, {}))
    _refuse_shared(engine, dropped)
    return inside, layers


def _refuse_shared(engine: Engine, dropped: Mapping[nn.Module, Mapping[nn.Module, Forward]]) -> None:
    """Refuse to drop a branch that another layer has too, and whose plan does not drop it."""
    for index, layer in enumerate(engine.parts.layers if dropped else ()):
        own = dropped.get(layer, {})
        for other, parts in dropped.items():
            if other is not layer and any(module in parts and module not in own for module in layer.modules()):
                number = engine.parts.layers.index(other)
                raise NotImplementedError(
                    f"skipping: layers {number} and {index} share a module that the plan drops in layer {number} "
                    "alone; drop it in both, or give each layer a module of its own (copy.deepcopy)"
                )


def _repeated_alike(engine: Engine, layer: nn.Module, dropped: dict[nn.Module, Forward]) -> Forward:
    """The layer's forward, which backward repeats with the same branches and tokens even when the plan has ended."""
    original = layer.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        if checkpointed(layer) == "no":
            return original(*args, **kwargs)
        checkpoint, call = layer.__dict__["_gradient_checkpointing_func"], engine.current()

        def again(run: Forward, *given: Any, **options: Any) -> Any:
            def repeated(*inputs: Any) -> Any:
                with engine.repeating(call), engine.replace_forwards(dropped, again=True):
                    return run(*inputs)

            return checkpoint(repeated, *given, **options)

        layer.__dict__["_gradient_checkpointing_func"] = again
        try:
            return original(*args, **kwargs)
        finally:
            layer.__dict__["_gradient_checkpointing_func"] = checkpoint

    return forward


def query_maps(layer: nn.Module) -> list[Any]:
    """The linear maps of a layer's attention that only queries need; none where queries and keys come from one map.

    Those of the queries themselves come after gates.
    """
    parts = find_attention(layer)
    children = [] if parts is None else list(parts.named_children())
    named = [module for names in (GATE_NAMES, QUERY_NAMES) for name, module in children if name in names]
    return [module for module in named if isinstance(getattr(module, "out_features", None), int)]


def _no_query_if_frozen(engine: Engine, layer: nn.Module, linear: Any, last: bool) -> Callable[..., Tensor]:
    """The forward of a query projection that returns zeros for frozen tokens."""
    original = linear.forward
    attention = find_attention(layer)
    head = getattr(attention, "qk_head_dim", None) or getattr(attention, "head_dim", None)

    def forward(states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        call = engine.call
        only = call is not None and not call.decoding and call.plan_state.keys_only
        if only and type(layer) not in engine.keys_need_queries:
            # One head, where the attention takes any number: it turns them all by their positions for nothing.
            width = head if last and head and type(layer) not in engine.whole_queries else linear.out_features
            return states.new_zeros(width).expand(*states.shape[:-1], -1)
        out: Tensor = original(states, *args, **kwargs)
        return out

    return forward


# Classes of layers whose keys were seen not to depend on the maps that are taken for those of queries.
_ROLES_SEEN: WeakSet[type[nn.Module]] = WeakSet()


# Tokens on which that is seen.
_FEW = 2


class _Caught(Exception):
    """Carries keys and values out of an attention module before it attends."""


class _Catch:
    """Stands in for a cache and stops the attention module once keys and values are computed."""

    def update(self, keys: Tensor, values: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        raise _Caught(keys, values)

    def get_seq_length(self, *args: Any) -> int:
        return 0


def keys_and_values(
    engine: Engine, layer: nn.Module, original: Forward, states: Tensor, arguments: Arguments
) -> tuple[Tensor, Tensor]:
    """What the layer's own attention would hand to its cache for these states: keys and values (batch, heads, rows, d).

    The layer runs up to that point, with its query projections replaced by zeros, so that its norms are where they
    are. `arguments` are those of the layer's forward, cut to these rows.
    """
    if layer.training and getattr(layer, "gradient_checkpointing", False):
        # Nothing of this run is recomputed: its result is an input of the layer.
        original = partial(inspect.unwrap(type(layer).forward), layer)
    arguments = {**arguments, "attention_mask": None, cache_name(layer): _Catch()}
    state = engine.current().plan_state
    state.keys_only = True
    try:
        found = _keys_only(engine, layer, original, states, arguments)
        if found is not None and type(layer) not in _ROLES_SEEN | engine.keys_need_queries:
            few = {name: _first(value) for name, value in arguments.items()}
            part = _keys_only(engine, layer, original, states[:, :_FEW], few)
            state.keys_only = False
            whole = _caught(original, states[:, :_FEW], few)
            if part is not None and whole is not None and all(map(torch.equal, whole, part)):
                _ROLES_SEEN.add(type(layer))
            else:
                # What is named as a map of queries makes keys too.
                engine.keys_need_queries.add(type(layer))
                found = _caught(original, states, arguments)
    finally:
        state.keys_only = False
    if found is not None:
        return found
    raise NotImplementedError(
        f"skipping: {type(layer).__name__} hands no keys to its cache (it may use those of another layer), so that "
        "image tokens cannot be frozen there; leave the layer out of the plan's freeze:"
    )


def _keys_only(
    engine: Engine, layer: nn.Module, run: Forward, states: Tensor, arguments: Arguments
) -> tuple[Tensor, Tensor] | None:
    """Keys and values without those of the queries that nobody asks for."""
    try:
        return _caught(run, states, arguments)
    except RuntimeError:
        if type(layer) in engine.whole_queries:
            raise
        # Its norm of queries goes over all heads, for instance, or their number is written in its code.
        engine.whole_queries.add(type(layer))
        return _caught(run, states, arguments)


def _caught(run: Forward, states: Tensor, arguments: Arguments) -> tuple[Tensor, Tensor] | None:
    """Keys and values that a layer hands to its cache; None if it hands none."""
    try:
        run(states, **arguments)
    except _Caught as caught:
        keys, values = caught.args
        return keys, values
    return None


def _first(value: Any) -> Any:
    """The first tokens of position ids or of what has numbers along its last axis."""
    if isinstance(value, tuple):
        return tuple(map(_first, value))
    if not isinstance(value, Tensor):
        return value
    return value[..., :_FEW, :] if value.is_floating_point() or value.is_complex() else value[..., :_FEW]


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
