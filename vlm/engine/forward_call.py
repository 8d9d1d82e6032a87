"""One forward call of a model: which of its tokens are image, text and padding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from vlm.engine.kv_cache import cache_in

# Encoded images: the last, or in some earlier transformers for Idefics3 and SmolVLM the one before.
_IMAGE_ARGUMENTS = ("pixel_values", "pixel_values_videos", "image_hidden_states", "mm_encoder_outputs")


@dataclass(eq=False)
class Call:
    """What one forward call of the model is about.

    Attributes
    ----------
    vision : bool (batch, sequence)
        Which tokens of this call are image tokens.
    real : bool (batch, sequence)
        Which tokens are not padding.
    past : int
        Logical number of tokens already in the cache.
    images : bool
        Whether pictures came with the call; without them no token is an image token, and nobody need look.
    query_positions, key_positions : dict layer -> (batch, rows) or None
        Under a plan, the index in this call of each query row and the logical position of each key of a
        layer (-1 = filler); absent where a layer ran on the full sequence, and for decoded tokens.
    planned : set of int
        Layers reached so far whose tokens or whose cache the plan shortens.
    layouts : dict layer -> vlm.flash.Layout
        The same for flash attention, which knows no masks.
    value : (batch, key heads, keys, d) or None
        While attention observers run, the value vectors of the layer that attends.
    """

    vision: Tensor
    real: Tensor
    past: int
    images: bool = True
    query_positions: dict[int, Tensor] = field(default_factory=dict)
    key_positions: dict[int, Tensor] = field(default_factory=dict)
    planned: set[int] = field(default_factory=set)
    layouts: dict[int, Any] = field(default_factory=dict)
    value: Tensor | None = None
    memo: dict[Any, Any] = field(default_factory=dict)

    @cached_property
    def decoding(self) -> bool:
        """Whether the call continues a cache with text alone."""
        return self.past > 0 and not self.images

    @property
    def text(self) -> Tensor:
        """Which tokens are text: real and not of an image."""
        return self.real & ~self.vision


def read_call(given: Mapping[str, Any], placeholders: frozenset[int]) -> Call:
    """Tell image tokens, text and padding apart from the arguments of the model's forward."""
    ids = given.get("input_ids")
    if ids is None:
        raise ValueError(
            "expected input_ids (image tokens are found by their placeholder id), got inputs_embeds alone; "
            "call the model with input_ids"
        )
    cache = cache_in(given)
    past = 0 if cache is None else int(cache.get_seq_length())
    # A placeholder id that the model generates itself is text: image tokens come with an image.
    has_image = any(_present(given.get(name)) for name in _IMAGE_ARGUMENTS)
    vision = torch.zeros_like(ids, dtype=torch.bool)
    if has_image:
        for placeholder in placeholders:
            vision |= ids == placeholder
    mask = given.get("attention_mask")
    if mask is None:
        real = torch.ones_like(vision)
    elif isinstance(mask, Tensor) and mask.ndim == 2:
        real = mask[:, -ids.shape[1] :].to(torch.bool)
    else:
        got = f"{mask.ndim} dimensions" if isinstance(mask, Tensor) else type(mask).__name__
        raise ValueError(
            f"attention_mask: expected a padding mask (batch, tokens), got {got}; a static cache makes such masks, use "
            "the default dynamic cache"
        )
    return Call(vision & real if has_image else vision, real, past, has_image)


def _present(value: Any) -> bool:
    """Whether an image argument holds anything: generate may pass a dictionary of nothing."""
    return any(v is not None for v in value.values()) if isinstance(value, Mapping) else value is not None
