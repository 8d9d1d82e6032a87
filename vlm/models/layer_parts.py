"""The parts of a decoder layer, found by what they do: its attention, its feed-forward, its place in the cache."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

ATTENTION_NAMES = ("self_attn", "self_attention", "attention", "attn")
FEED_FORWARD_NAMES = ("mlp", "feed_forward", "block_sparse_moe", "ffn", "moe", "feedforward")
_FEED_FORWARD_WORDS = ("mlp", "moe", "feed_forward", "ffn", "expert")
# Linear maps of an attention module that only its queries go through, or that gate what they have read.
QUERY_NAMES = ("q_proj", "q_a_proj", "q_b_proj", "wq", "wq_a", "wq_b", "query")
GATE_NAMES = ("gate_proj", "g_proj", "q_gate_proj")
# Last linear map of an attention module, under the names that transformers gives it.
OUTPUT_NAMES = ("o_proj", "out_proj", "dense", "wo", "c_proj")


def find_attention(layer: nn.Module) -> nn.Module | None:
    """The attention module of a decoder layer, None if it has none (as layers with a recurrent state)."""
    named = (getattr(layer, name, None) for name in ATTENTION_NAMES)
    found = next((module for module in named if isinstance(module, nn.Module)), None)
    if found is not None:
        return found
    by_role = [child for child in layer.children() if _attends(child)]
    return by_role[0] if len(by_role) == 1 else None


def attention_module(layer: nn.Module) -> nn.Module:
    """The attention module of a decoder layer.

    Raises
    ------
    TypeError
        The layer has none.
    """
    module = find_attention(layer)
    if module is None:
        children = ", ".join(name for name, _ in layer.named_children()) or "none"
        raise TypeError(
            f"{type(layer).__name__}: expected an attention module ({', '.join(ATTENTION_NAMES)}), got the parts "
            f"{children}"
        )
    return module


def _attends(module: nn.Module) -> bool:
    """Whether a module is an attention by its role: it has a place in the cache and takes a mask."""
    return hasattr(module, "layer_idx") and {"attention_mask", "position_embeddings"} <= parameters_of(module)


def feed_forward_candidates(layer: nn.Module) -> tuple[tuple[nn.Module, ...], ...]:
    """What may be the feed-forward branch, likeliest first: a module of a known name, that with others of the kind.

    Others of the kind are shared experts beside routed ones, for instance. Without a known name: all parts with
    matrices beside the attention. Whether dropping them drops the branch is for
    :func:`vlm.engine.half_layers.halves` to check.
    """
    named = next((m for n in FEED_FORWARD_NAMES if isinstance(m := getattr(layer, n, None), nn.Module)), None)
    attention = find_attention(layer)
    others = [(name, child) for name, child in layer.named_children() if child is not attention]
    if named is None:
        found = tuple(child for _, child in others if any(weight.ndim > 1 for weight in child.parameters()))
        return (found,) if found else ()
    kind = tuple(child for name, child in others if any(word in name for word in _FEED_FORWARD_WORDS))
    return ((named,), kind) if len(kind) > 1 else ((named,),)


def cache_slot(layer: nn.Module, position: int) -> int:
    """Index of a layer's part of the cache: its `layer_idx`, which is not its position once layers were removed."""
    attention = find_attention(layer)
    # Inside the attention too, which another module may wrap.
    for module in ([] if attention is None else [*attention.modules()]) + [layer]:
        slot = getattr(module, "layer_idx", None)
        if isinstance(slot, int):
            return slot
    return position


def output_map(layer: nn.Module) -> Any:
    """The linear map at the end of a layer's attention.

    Raises
    ------
    TypeError
        There is none with one of the names of :data:`OUTPUT_NAMES`.
    """
    attention = find_attention(layer)
    for name in OUTPUT_NAMES:
        module = getattr(attention, name, None)
        if isinstance(module, nn.Module) and hasattr(module, "in_features"):
            return module
    raise TypeError(
        f"{type(layer).__name__}: expected an output matrix self_attn.o_proj with in_features (or one called "
        f"{', '.join(OUTPUT_NAMES[1:])}), found none"
    )


def device_of(layer: nn.Module) -> torch.device | None:
    """Where a layer computes: on the device of its weights, or for offloaded weights where they are loaded to."""
    hook = getattr(layer, "_hf_hook", None)
    place = getattr(hook, "execution_device", None)
    if place is not None:
        return torch.device(place if not isinstance(place, int) else f"cuda:{place}")
    device = next((weight.device for weight in layer.parameters()), None)
    return None if device is None or device.type == "meta" else device


def parameters_of(module: nn.Module) -> set[str]:
    """Names of the arguments of a module's forward."""
    # The class's own, since contexts and accelerate replace the instance's.
    return set(inspect.signature(type(module).forward).parameters)
