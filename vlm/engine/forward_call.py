"""One forward call of a model: which of its tokens are image, text and padding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from vlm.engine.flash_layout import Layout
from vlm.engine.kv_cache import PartialStaticLayer, cache_in, is_static
from vlm.engine.plan_state import PlanState
from vlm.models.precision import has_float64
from vlm.models.types import Arguments

# Arguments that hold images, encoded or not; some earlier transformers encode those of Idefics3 and SmolVLM into
# image_hidden_states, later ones into mm_encoder_outputs.
_IMAGE_ARGUMENTS = (
    "pixel_values",
    "pixel_values_images",
    "pixel_values_videos",
    "image_hidden_states",
    "mm_encoder_outputs",
)


@dataclass(eq=False, repr=False)
class Call:
    """One forward call of the model.

    Attributes
    ----------
    vision : bool (batch, sequence)
        Which tokens of this call are image tokens.
    real : bool (batch, sequence)
        Which tokens are not padding.
    past : int
        Logical number of tokens already in the cache.
    images : bool
        Whether images came with the call. If False, the call has no image tokens, so `vision` need not be read.
    static : bool
        Whether masks have a column for every place of a static cache, from position 0 on.
    query_positions, key_positions : dict of layer -> (batch, rows)
        Under a plan, the index in this call of each query row and the logical position of each key of a layer
        (-1 for filler). Absent where a layer ran on the full sequence, and for decoded tokens.
    planned : set of int
        Layers reached so far whose tokens or whose cache the plan shortens.
    layouts : dict of layer -> Layout
        Who attends to whom in shortened layers, under flash attention.
    followed : set of int
        Layers that attended by their layout.
    peeking : bool
        True while a layer runs only to show its queries and keys.
    begun : int
        Number of the last part of a context that was open when the call began.
    candidates : int
        How many tokens behind the prompt are proposals of assisted generation, by which nothing is chosen.
    """

    vision: Tensor
    real: Tensor
    past: int
    images: bool = True
    static: bool = False
    query_positions: dict[int, Tensor] = field(default_factory=dict)
    key_positions: dict[int, Tensor] = field(default_factory=dict)
    planned: set[int] = field(default_factory=set)
    layouts: dict[int, Layout] = field(default_factory=dict)
    peeking: bool = False
    followed: set[int] = field(default_factory=set)
    begun: int = 0
    candidates: int = 0
    _copies: dict[torch.device, Call] = field(default_factory=dict)
    _original: Call | None = None

    def __repr__(self) -> str:
        batch, length = self.real.shape
        return f"Call(batch={batch}, tokens={length}, past={self.past}, images={self.images})"

    @cached_property
    def decoding(self) -> bool:
        """Whether the call continues a cache with text alone."""
        return self.past > 0 and not self.images

    def measurable(self) -> Call:
        """This call with its tensors where there is float64: itself on most devices, else a copy on the processor."""
        return self if has_float64(self.real.device) else self.on(torch.device("cpu"))

    def on(self, device: torch.device) -> Call:
        """This call with its tensors on a device: itself, or a copy that later calls of this method return again."""
        if self.real.device == device:
            return self
        copy = self._copies.get(device)
        if copy is None:
            vision, real = self.vision.to(device), self.real.to(device)
            copy = Call(vision, real, self.past, self.images, self.static, planned=self.planned)
            copy.candidates = self.candidates
            copy.query_positions = _Moved(self.query_positions, device)
            copy.key_positions = _Moved(self.key_positions, device)
            copy._original = self
            self._copies[device] = copy
        return copy

    @property
    def original(self) -> Call:
        """The call of which this is a copy on another device, or itself."""
        return self if self._original is None else self._original

    @cached_property
    def plan_state(self) -> PlanState:
        """What the layers of this call share under a plan."""
        return PlanState()

    @property
    def text(self) -> Tensor:
        """Which tokens (batch, sequence) are text: neither padding nor image."""
        return self.real & ~self.vision

    @property
    def prompt(self) -> Tensor:
        """Which tokens (batch, sequence) are real and no candidates."""
        return (
            torch.cat([self.real[:, :-n], self.real.new_zeros(len(self.real), n)], 1)
            if (n := self.candidates)
            else self.real
        )


class _Moved(dict[int, Tensor]):
    """Positions by layer, moved to a device when they are asked for."""

    def __init__(self, source: dict[int, Tensor], device: torch.device) -> None:
        super().__init__()
        self._source, self._device = source, device

    def __contains__(self, layer: object) -> bool:
        return layer in self._source

    def __getitem__(self, layer: int) -> Tensor:
        return self._source[layer].to(self._device)

    def get(self, layer: int, default: Any = None) -> Any:
        source = self._source.get(layer)
        return default if source is None else source.to(self._device)


def read_call(given: Arguments, placeholders: frozenset[int]) -> Call:
    """Tell image tokens, text and padding apart from the arguments of the model's forward.

    Parameters
    ----------
    given : mapping
        The arguments by name.
    placeholders : frozenset of int
        Token ids that stand for image tokens.
    """
    ids = given.get("input_ids")
    if ids is None:
        raise ValueError(
            "expected input_ids (image tokens are found by their placeholder id), got inputs_embeds alone; "
            "call the model with input_ids (prompt tuning and p-tuning pass none on; prefix tuning and LoRA do)"
        )
    cache = cache_in(given)
    past = 0 if cache is None else int(cache.get_seq_length())
    # A placeholder id that the model generates itself is text: image tokens only come with an image.
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
    elif is_static(cache) and isinstance(mask, Mapping) and mask.get("full_attention", mask) is None:
        real = torch.ones_like(vision)  # causal, and nothing is padded
    elif is_static(cache) and (whole := _whole_mask(mask)) is not None:
        # generate makes the masks of a static cache itself; its columns are positions.
        real = whole[:, 0, -1, past : past + ids.shape[1]].expand(len(ids), -1)
    else:
        got = f"{mask.ndim} dimensions" if isinstance(mask, Tensor) else type(mask).__name__
        raise ValueError(
            f"attention_mask: expected a padding mask (batch, tokens), got {got}; masks of other kinds are read only "
            "with a static cache"
        )
    return Call(vision & real if has_image else vision, real, past, has_image, is_static(cache))


def steps_in_a_graph(given: Arguments) -> bool:
    """Whether `torch.compile` traces a decoding step: one token per row, no image, on a static cache that is filled."""
    if not torch.compiler.is_compiling():
        return False
    ids, cache = given.get("input_ids"), cache_in(given)
    if ids is None or ids.shape[1] != 1 or any(_present(given.get(name)) for name in _IMAGE_ARGUMENTS):
        return False
    return is_static(cache) and all(_ready(layer) for layer in cache.layers)


def _ready(layer: Any) -> bool:
    if isinstance(layer, PartialStaticLayer):
        return layer.ready
    return bool(getattr(layer, "is_initialized", True))


def traced_step(given: Arguments) -> Call:
    """The call of such a step, which does not read how many tokens are in the cache: that would break the graph."""
    ids = given["input_ids"]
    return TracedStep(torch.zeros_like(ids, dtype=torch.bool), torch.ones_like(ids, dtype=torch.bool), 1, False, True)


@dataclass(eq=False, repr=False)
class TracedStep(Call):
    """A decoding step inside a compiled graph; its `past` says only that there is one."""

    begun: int = 2**62  # never traced before a context that it runs in

    @property
    def decoding(self) -> bool:
        """It continues a cache with text alone."""
        return True


def _whole_mask(mask: Any) -> Tensor | None:
    """bool (batch, 1, tokens, keys): what a mask of all layers, or of those without a window, leaves open."""
    if isinstance(mask, Mapping):
        mask = mask.get("full_attention")
    if not isinstance(mask, Tensor) or mask.ndim != 4:
        return None
    return mask if mask.dtype == torch.bool else mask > 0.5 * torch.finfo(mask.dtype).min


def _present(value: Any) -> bool:
    """Whether an image argument holds anything: generate may pass a dictionary whose values are all None."""
    return any(v is not None for v in value.values()) if isinstance(value, Mapping) else value is not None
