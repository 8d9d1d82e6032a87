"""Sizes of one decoder layer, read from the shapes of its own modules: plain, fused, adapted or quantised."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from math import inf
from typing import Any

import torch
from torch import Tensor, nn

from vlm.models.layer_parts import (
    GATE_NAMES,
    OUTPUT_NAMES,
    QUERY_NAMES,
    cache_slot,
    find_attention,
    output_map,
    parameters_of,
)

# Linear maps of an attention whose outputs are keys or values, alone or together with queries.
_KEY_NAMES = (
    *("k_proj", "v_proj", "kv_proj", "kv_a_proj_with_mqa", "kv_b_proj", "wk", "wv"),
    *("qkv_proj", "query_key_value", "Wqkv", "c_attn", "W_pack", "qkv"),
)
# Arguments that tell experts which of them a token goes through.
_ROUTING = {"top_k_index", "topk_indices", "router_indices", "selected_experts", "expert_indices"}
# Keys and values are expanded from what the cache holds, in every call anew.
_EXPANDING = "kv_b_proj"


@dataclass(frozen=True)
class Recurrence:
    """Sizes of a recurrent state in place of attention: the gated delta rule (Qwen 3.5, Qwen3-Next).

    Attributes
    ----------
    heads, key, value : int
        Heads of values, and numbers of a key and of a value in each: the state has heads x key x value numbers.
    held : int
        Numbers of the inputs that the cache holds for the layer's convolution.
    """

    heads: int
    key: int
    value: int
    held: int

    def operations(self, tokens: int, prompt: bool) -> float:
        """Operations of reading and writing the state, besides the maps of the tokens.

        Kernels take a prompt in chunks of 64 tokens, the last one filled up: keys with keys and with queries, and
        sums of values, within a chunk; and the state once per chunk. The two triangular systems of a chunk count half
        of its square. A decoded token reads the state with its key and its query, and writes to it.
        """
        if not prompt:
            return 6.0 * self.heads * self.key * self.value * tokens
        chunks = -(-tokens // _CHUNK)
        square = 2.0 * _CHUNK * (2 * self.key + self.value) + _CHUNK * (self.key + self.value)
        return chunks * _CHUNK * self.heads * (square + 6.0 * self.key * self.value)

    def bytes(self, size: int) -> int:
        """Bytes of the state of one prompt, which is in float32, and of the inputs held, of `size` bytes each."""
        return 4 * self.heads * self.key * self.value + size * self.held


# Tokens of a chunk, as transformers and flash-linear-attention cut them.
_CHUNK = 64


@dataclass(frozen=True)
class LayerShape:
    """Sizes of one decoder layer.

    Attributes
    ----------
    queries, keys, expanding, feed_forward : float
        Weights that multiply tokens that run; tokens that are stored; and keys that are seen, where the cache holds
        them compressed.
    scored, summed : float
        Numbers of all heads' queries and values of one token.
    cached : int
        Numbers that the cache holds of a token.
    window : float
        Keys before a token that a sliding window leaves to it.
    attention_bytes, feed_forward_bytes, expert_bytes : int
        Weights of the two branches, in their own storage, and of one routed expert.
    experts, routed : int
        Routed experts, and how many of them a token goes through.
    unknown : tuple of str
        Maps of the attention that are neither queries, keys nor output by their names.
    recurrence : Recurrence or None
        The state of a layer without attention, whose maps count as queries.
    """

    queries: float
    keys: float
    expanding: float
    feed_forward: float
    scored: float
    summed: float
    cached: int
    window: float
    attention_bytes: int
    feed_forward_bytes: int
    expert_bytes: int
    experts: int
    routed: int
    unknown: tuple[str, ...]
    recurrence: Recurrence | None = None

    @property
    def ranking(self) -> float:
        """Operations per key for the scores of one query."""
        return 2.0 * self.scored

    def feed_forward_read(self, tokens: int) -> int:
        """Bytes of the feed-forward weights that so many tokens read at least once, each routed to other experts."""
        return self.feed_forward_bytes + self.expert_bytes * min(self.experts, self.routed * tokens)


def layer_shape(layer: nn.Module, config: Any, index: int) -> LayerShape:
    """Read the sizes of a decoder layer.

    Raises
    ------
    NotImplementedError
        The layer has neither attention nor a recurrent state of a known kind, or an adapter whose operations are not
        known.
    """
    attention, recurrence = find_attention(layer), None
    if attention is None:
        attention, recurrence = _recurrent(layer, index)
    inside = {id(module) for module in attention.modules()}
    groups: dict[str, float] = dict.fromkeys(("queries", "keys", "expanding", "feed_forward"), 0.0)
    unknown: list[str] = []
    if recurrence is not None:
        convolution: nn.Module = attention.get_submodule("conv1d")
        groups["queries"] = map_size(attention) + sum(w.numel() for w in convolution.parameters() if w.ndim == 3)
    for path, module, size in _maps(attention) if recurrence is None else ():
        name = path.split(".")[0]
        if name in _KEY_NAMES:
            latent = name == _EXPANDING and hasattr(attention, "expand_kv")
            groups["expanding" if latent else "keys"] += size
        else:
            groups["queries"] += size
            if name not in (*QUERY_NAMES, *GATE_NAMES, *OUTPUT_NAMES):
                unknown.append(f"{name} ({type(module).__name__})")
    experts, routed, per_expert, expert_bytes = 0, 0, 0.0, 0
    for _, _, size in _maps(layer, skipped=inside):
        groups["feed_forward"] += size
    for module in layer.modules():
        stacked = [weight for weight in module.parameters(recurse=False) if weight.ndim == 3]
        if not stacked or id(module) in inside:
            continue
        count = len(stacked[0])
        size = sum(weight.numel() for weight in stacked) / count
        if _ROUTING & parameters_of(module):
            experts, routed, per_expert = count, _routed(config), size
            expert_bytes = sum(map(stored, stacked)) // count
        else:
            # All experts compute for all tokens, as in Llama 4.
            groups["feed_forward"] += size * count
    groups["feed_forward"] += routed * per_expert
    scored, summed, cached = _widths(layer, attention, config) if recurrence is None else (0.0, 0.0, 0)
    parts = [(module, _bytes(module)) for module in layer.modules()]
    attention_bytes = sum(size for module, size in parts if id(module) in inside)
    total = sum(size for _, size in parts) - experts * expert_bytes
    return LayerShape(
        **groups,
        scored=scored,
        summed=summed,
        cached=cached,
        window=_window(layer, config, index) if recurrence is None else inf,
        attention_bytes=attention_bytes,
        feed_forward_bytes=total - attention_bytes,
        expert_bytes=expert_bytes,
        experts=experts,
        routed=routed,
        unknown=tuple(unknown),
        recurrence=recurrence,
    )


def _recurrent(layer: nn.Module, index: int) -> tuple[Any, Recurrence]:
    """The part of a layer with a recurrent state, and the sizes of that state."""
    names = ("num_v_heads", "head_k_dim", "head_v_dim", "conv_kernel_size")
    for child in layer.children():
        sizes = [size for name in names if isinstance(size := getattr(child, name, None), int)]
        if len(sizes) == len(names) and hasattr(child, "conv1d"):
            heads, key, value, kernel = sizes
            held = int(child.get_submodule("conv1d").get_parameter("weight").shape[0]) * kernel
            return child, Recurrence(heads, key, value, held)
    raise NotImplementedError(
        f"cost: layer {index}, a {type(layer).__name__}, has no attention, and what its state costs is not known (it "
        "is for the gated delta rule of Qwen 3.5)"
    )


def map_size(module: nn.Module) -> float:
    """Weights of a linear map, of whatever kind, that multiply each token."""
    return sum(size for _, _, size in _maps(module))


def _maps(root: nn.Module, skipped: Collection[int] = ()) -> Iterator[tuple[str, nn.Module, float]]:
    """Path, module and number of multiplied weights of every linear map below a module, and of the module itself."""
    silent: set[int] = set()
    for path, module in root.named_modules():
        if id(module) in skipped:
            continue
        silent |= _silent(module)
        if id(module) in silent:
            continue
        if _is_map(module):
            # A wrapper of adapters has the shape of the map inside it.
            if not any(_is_map(child) for child in module.modules() if child is not module):
                yield path, module, float(module.in_features * module.out_features)
        elif not isinstance(module, nn.Embedding):
            own = dict(module.named_parameters(recurse=False))
            stacked = any(weight.ndim == 3 for weight in own.values())  # what has two axes beside it are biases
            for name, weight in own.items():
                if weight.ndim == 2 and not stacked:
                    yield f"{path}.{name}".lstrip("."), module, float(weight.numel())


def _is_map(module: Any) -> bool:
    return isinstance(getattr(module, "in_features", None), int) and isinstance(
        getattr(module, "out_features", None), int
    )


def _silent(module: nn.Module) -> set[int]:
    """Modules of an adapter that do not run: it is merged, disabled or not the active one."""
    if not hasattr(module, "active_adapters") or not hasattr(module, "base_layer"):
        return set()
    kinds = {name.split("_")[0] for name in getattr(module, "adapter_layer_names", ("lora_A",))}
    directions = getattr(module, "lora_magnitude_vector", None)
    if kinds != {"lora"} or (directions is not None and len(directions)):
        raise NotImplementedError(
            f"cost: the operations of the adapter {type(module).__name__} ({', '.join(sorted(kinds))}) are not known; "
            "merge it (merge_and_unload) or count the base model"
        )
    active = [] if module.disable_adapters or module.merged else list(module.active_adapters)  # type: ignore[arg-type]
    parts = [getattr(module, name, None) for name in ("lora_A", "lora_B")]
    held = [(name, child) for part in parts if isinstance(part, nn.ModuleDict) for name, child in part.items()]
    return {id(child) for name, child in held if name not in active}


def _routed(config: Any) -> int:
    names = ("num_experts_per_tok", "num_experts_per_token", "moe_topk", "top_k", "moe_k")
    counts = [getattr(config, name, None) for name in names]
    found = next((count for count in counts if isinstance(count, int)), None)
    if found is None:
        raise NotImplementedError(f"cost: expected the number of experts of a token in the config ({', '.join(names)})")
    return found


def _widths(layer: nn.Module, attention: Any, config: Any) -> tuple[float, float, int]:
    """Numbers of a token's queries and values in all heads, and numbers that the cache holds of it."""
    usual = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    value = getattr(attention, "v_head_dim", None) or getattr(attention, "head_dim", None) or usual
    score = getattr(attention, "qk_head_dim", None) or getattr(attention, "head_dim", None) or usual
    summed = int(output_map(layer).in_features)
    heads = summed // value
    twice = 2 if hasattr(attention, "lambda_q1") else 1  # differential attention
    if hasattr(attention, "expand_kv"):
        return heads * score, summed, int(attention.kv_a_proj_with_mqa.out_features)
    keys: Any = getattr(attention, "k_proj", None)
    if _is_map(keys):
        values: Any = getattr(attention, "v_proj", None)
        stored_keys = int(keys.out_features)
        cached = stored_keys + (int(values.out_features) if _is_map(values) else stored_keys)
    else:
        groups = getattr(attention, "num_key_value_groups", None) or 1
        cached = heads // groups * (score + value)
    return float(twice * heads * score), float(twice * summed), cached


def _window(layer: nn.Module, config: Any, index: int) -> float:
    kinds = getattr(config, "layer_types", None)
    slot = cache_slot(layer, index)
    kind = kinds[slot] if kinds and slot < len(kinds) else "full_attention"
    name = {"sliding_attention": "sliding_window", "chunked_attention": "attention_chunk_size"}.get(kind)
    size = None if name is None else getattr(config, name)
    return inf if size is None else size - 1


def _bytes(module: nn.Module) -> int:
    """Bytes of a module's own weights as they are stored; buffers are weights where quantisation keeps them there."""
    tensors: list[Tensor] = list(module.parameters(recurse=False))
    if _is_map(module):
        tensors += [buffer for buffer in module.buffers(recurse=False) if buffer is not None]
    return sum(map(stored, tensors))


def stored(tensor: Any) -> int:
    """Bytes of a tensor in its own storage, with the scales of a quantised one."""
    parts = getattr(type(tensor), "__tensor_flatten__", None)
    if parts is not None:
        inner, _ = tensor.__tensor_flatten__()
        return sum(stored(getattr(tensor, name)) for name in inner)
    scales = getattr(getattr(tensor, "quant_state", None), "__dict__", {})
    return int(tensor.numel() * tensor.element_size()) + sum(
        stored(part) for part in scales.values() if isinstance(part, torch.Tensor)
    )
