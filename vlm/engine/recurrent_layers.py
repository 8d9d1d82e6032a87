"""Decoder layers without attention under a plan: their state reads the tokens that remain, one after the other."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from vlm.engine.hooks import Engine
from vlm.engine.kv_cache import CACHE_NAMES, cache_in
from vlm.engine.layer_forward import on_rows, partial_cache, refuse_unknown
from vlm.engine.row_plans import RowStep, Steps
from vlm.engine.token_roles import roles
from vlm.models.layer_parts import cache_slot, device_of, find_attention, parameters_of
from vlm.models.types import Forward
from vlm.plans.plan import LayerPlan


def recurrent(engine: Engine, index: int, original: Forward, step: LayerPlan | RowStep, keeper: int | None) -> Forward:
    """The forward of a layer with a recurrent state (Qwen 3.5's linear attention) on the tokens that run.

    The tokens that remain follow one another: the layer's convolution and decay count them alone. `keeper` is the
    cache slot of the first layer of the plan that attends, where numbers of image tokens are kept.
    """
    layer = engine.parts.layers[index]

    def forward(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        if args:
            raise NotImplementedError(f"skipping: {type(layer).__name__} is called with arguments by position")
        call, cache = engine.current(), cache_in(kwargs)
        call.planned.add(index)
        if call.decoding and step.text:
            return original(hidden_states, **kwargs)
        here = device_of(layer) or hidden_states.device
        hidden_states = hidden_states.to(here)
        if keeper is not None:
            partial_cache(cache, keeper)
        running = roles(call, step, cache, here).running
        if running.rows == 0:
            return hidden_states
        if not running.everything:
            refuse_unknown(kwargs, hidden_states.shape[1])
            if running.valid is not None and call.past:
                raise NotImplementedError(
                    f"skipping: layer {index}, a {type(layer).__name__}, has a recurrent state, and the rows of this "
                    "call, which continues a cache, keep different numbers of tokens; run them one at a time"
                )
            mask = kwargs.get("attention_mask")
            if mask is not None:
                mask = mask.to(here).gather(1, running.index)
            if running.valid is not None:
                # Filler, on the left, reads as padding.
                mask = running.valid if mask is None else mask.to(running.valid.dtype) & running.valid
            kwargs["attention_mask"] = mask
        return on_rows(original, hidden_states, running, kwargs, call)

    return forward


def _other_state(layer: nn.Module, index: int, config: Any) -> str | None:
    """What a layer with an attention keeps besides keys and values, or in their place; None if nothing."""
    attention = find_attention(layer)
    for name, child in layer.named_children():
        if child is not attention and {"cache_params", *CACHE_NAMES} & parameters_of(child):
            return f"{name}, a {type(child).__name__}"
    kinds, slot = getattr(config, "layer_types", None) or (), cache_slot(layer, index)
    kind = kinds[slot] if slot < len(kinds) else ""
    return f"{type(attention).__name__} is a {kind}" if kind in _LINEAR else None


# Kinds of layers, by the names of transformers' configurations, whose attention is a recurrent state.
_LINEAR = ("linear_attention", "lightning_attention")


def refuse_recurrent(layers: tuple[nn.Module, ...], steps: Steps, config: Any) -> None:
    """Refuse what a layer without attention cannot do: freeze tokens, drop half of itself, rank tokens.

    A layer that attends and keeps a state of another kind too (Falcon-H1, MiniMax) follows no plan.
    """
    for index, (layer, step) in enumerate(zip(layers, steps, strict=True)):
        if find_attention(layer) is not None:
            if step != LayerPlan() and (other := _other_state(layer, index, config)) is not None:
                raise NotImplementedError(
                    f"skipping: layer {index}, a {type(layer).__name__}, keeps a state of another kind than keys and "
                    f"values ({other}), which follows no plan; leave the layer out of the plan"
                )
            continue
        name = f"skipping: layer {index}, a {type(layer).__name__}, has no attention but a recurrent state"
        if step.vision == "frozen":
            raise NotImplementedError(
                f"{name}, so that no token can be read there without running; leave it out of freeze:"
            )
        if not (step.attention and step.mlp):
            raise NotImplementedError(f"{name}; drop the whole layer (vision:A-B/text:A-B) instead of half of it")
        if any(first == index for first, _ in step.ranked) or step.leaving is not None:
            raise NotImplementedError(f"{name}, which ranks no tokens for rank: or leave:; choose a layer that attends")
        if index + 1 < len(steps) and any(first == index + 1 for first, _ in steps[index + 1].pruned):
            raise NotImplementedError(
                f"{name}, which ranks no tokens for prune:{index + 1}; prune after a layer that attends"
            )
