"""A key-value cache layer that holds only the tokens that went through its decoder layer."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer, LinearAttentionLayer, StaticLayer

from vlm.models.layer_parts import find_attention
from vlm.models.types import Arguments, Forward

# Names of the cache argument of models, layers and attention modules in transformers; `cache` from 5.24 on.
CACHE_NAMES = ("cache", "layer_past", "past_key_values")


def cache_in(arguments: Arguments) -> Any:
    """The key-value cache among the arguments of a call, None if there is none."""
    for name in CACHE_NAMES:
        if arguments.get(name) is not None:
            return arguments[name]
    return None


def cache_name(layer: Any) -> str:
    """Name of the cache argument of a decoder layer."""
    attention = find_attention(layer)
    # Layers that take any keyword pass it on to their attention.
    forwards = [type(layer).forward] if attention is None else [type(layer).forward, type(attention).forward]
    return next((name for name in map(_cache_name, forwards) if name is not None), CACHE_NAMES[-1])


@cache
def _cache_name(forward: Forward) -> str | None:
    names = inspect.signature(forward).parameters
    return next((name for name in CACHE_NAMES if name in names), None)


class PartialLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of some positions, which reports lengths as if it held all of them.

    The rest of transformers (mask sizes, positions, cropping, beam reordering, sliding windows) counts logical
    positions, so it need not know that tokens are missing.

    Attributes
    ----------
    window : int or None
        Size of the sliding window: only keys of the last window - 1 logical positions are kept and returned.
    positions : int (batch, held) or None
        Logical position of each held key, -1 for filler.
    ragged : bool
        Whether `positions` may contain filler.
    tail : int
        Number of keys at the end that are not in `positions` yet, from calls in which every token was stored.
    logical : int
        Logical number of tokens.
    images : bool (batch, known positions) or None
        Which positions hold image tokens; stored in at most one layer of a cache.
    """

    keys: Tensor | None
    values: Tensor | None

    def __init__(self, window: int | None = None) -> None:
        super().__init__()
        self.window = window
        self.is_sliding = window is not None
        self.positions: Tensor | None = None
        self.images: Tensor | None = None
        self.ragged = False
        self.tail = 0
        self.logical = 0
        self.record_past = False
        self._forgotten = 0
        self._incoming: tuple[Tensor | None, int] | None = None

    @classmethod
    def adopt(cls, layer: Any) -> PartialLayer:
        """A PartialLayer with the contents of a plain cache layer, which holds all positions."""
        if isinstance(layer, PartialLayer):
            return layer
        _refuse_layer(layer)
        if isinstance(layer, StaticLayer):
            return PartialStaticLayer.from_static(layer)
        new = cls(getattr(layer, "sliding_window", None))
        new.record_past = getattr(layer, "record_past", False)
        length = layer.get_seq_length()
        if length:
            new.keys, new.values, new.is_initialized = layer.keys, layer.values, True
            new.dtype, new.device = layer.keys.dtype, layer.keys.device
            new.logical, new._forgotten = length, length - layer.keys.shape[2]
            held = torch.arange(new._forgotten, length, device=layer.keys.device)
            new.positions = held.repeat(layer.keys.shape[0], 1)
        return new

    def visible(self) -> Tensor | None:
        """Positions (batch, keys) of the held keys that the next tokens can attend to, -1 for filler."""
        self._settle()
        start = self._window_start()
        if self.positions is None or start == 0:
            return self.positions
        # Rows may leave the window at different columns.
        self.ragged = True
        inside = self.positions >= start
        # Positions increase along a row, so the columns outside the window in all rows are a prefix.
        first = int(inside.any(dim=0).to(torch.uint8).argmax()) if bool(inside.any()) else self.positions.shape[1]
        return torch.where(inside, self.positions, -1)[:, first:]

    def _settle(self) -> None:
        """Write the positions of the tail."""
        if self.tail and self.positions is not None:
            end = torch.arange(self.logical - self.tail, self.logical, device=self.positions.device)
            self.positions = torch.cat([self.positions, end.expand(len(self.positions), -1)], dim=1)
            self.tail = 0

    def expect(self, positions: Tensor, query_length: int, ragged: bool = False) -> None:
        """Announce the next update: positions (batch, keys) of all keys it returns, and the logical tokens it adds."""
        self._incoming = (positions, query_length)
        self.ragged = ragged

    def expect_all(self, query_length: int) -> bool:
        """Announce an update with every token of a call; False if the returned keys would need a mask."""
        if self.ragged or self.window is not None or self.positions is None:
            return False
        self._incoming = (None, query_length)
        return True

    def advance(self, query_length: int) -> None:
        """Count tokens none of which goes through this layer."""
        self._settle()
        self.logical += query_length

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Store new keys and values; returns all that the new tokens can attend to."""
        if self._incoming is None:
            raise RuntimeError(
                "this cache was filled under a skip plan and is used outside it; start a new cache, or continue "
                "inside vlm.skipping with the same plan from the start"
            )
        (returned, length), self._incoming = self._incoming, None
        keys, values = super().update(key_states, value_states)
        if returned is None:
            self.tail += length
            self.logical += length
            return keys, values
        new, shown = key_states.shape[2], returned.shape[1]
        hidden = keys.shape[2] - shown
        if self.record_past and self.positions is not None:
            # Keys outside the sliding window are hidden now and freed at the next crop.
            self.positions = torch.cat([self.positions, returned[:, shown - new :]], dim=1)
        else:
            self._forgotten = max(self._forgotten, self._window_start())
            self.positions, self.keys, self.values = returned, keys[..., hidden:, :], values[..., hidden:, :]
        self.logical += length
        return keys[..., hidden:, :], values[..., hidden:, :]

    def _window_start(self) -> int:
        return 0 if self.window is None else max(0, self.logical - self.window + 1)

    def get_seq_length(self) -> int:
        """Logical number of tokens."""
        return self.logical

    def get_max_length(self) -> int:
        """Size of the sliding window, -1 for none."""
        return -1 if self.window is None else self.window

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Logical number of keys and the position of the first."""
        offset = self._window_start()
        return self.logical + query_length - offset, offset

    def activate_past_recording(self) -> None:
        """Keep keys that leave the window until the next crop, so that rejected tokens can be removed again."""
        self.record_past = True

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self.positions, self.logical, self._forgotten, self._incoming = None, 0, 0, None
        self.ragged, self.tail, self.images = False, 0, None

    def crop(self, tokens_to_remove: int) -> None:
        """Remove the last tokens; the number is negative, as in transformers."""
        if tokens_to_remove > 0:
            raise ValueError("crop: expected a negative number of tokens to remove")
        self._settle()
        self.logical = max(0, self.logical + tokens_to_remove)
        if self.images is not None:
            self.images = self.images[:, : self.logical]
        if self._window_start() < self._forgotten:
            raise RuntimeError(
                f"crop: the sliding window of {self.window} has forgotten positions below {self._forgotten} that the "
                "cropped cache needs; call activate_past_recording on the cache before the prompt"
            )
        if self.positions is None or self.keys is None or self.values is None:
            return
        self._forgotten = self._window_start()
        inside = (self.positions >= self._forgotten) & (self.positions < self.logical)
        columns = inside.any(dim=0)
        self.positions = torch.where(inside, self.positions, -1)[:, columns]
        self.ragged = bool((self.positions < 0).any())
        self.keys, self.values = self.keys[..., columns, :], self.values[..., columns, :]

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Select rows of the batch, for beam search."""
        self.batch_select_indices(beam_idx)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every row of the batch."""
        if self.images is not None:
            self.images = self.images.repeat_interleave(repeats, dim=0)
        if self.positions is not None and self.keys is not None and self.values is not None:
            self.keys = self.keys.repeat_interleave(repeats, dim=0)
            self.values = self.values.repeat_interleave(repeats, dim=0)
            self.positions = self.positions.repeat_interleave(repeats, dim=0)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Select rows of the batch."""
        if self.images is not None:
            self.images = self.images[indices.to(self.images.device)]
        if self.positions is not None and self.keys is not None and self.values is not None:
            indices = indices.to(self.keys.device)
            self.keys, self.values = self.keys[indices], self.values[indices]
            self.positions = self.positions[indices]


class PartialStaticLayer(PartialLayer):
    """The same in the place of a static layer: what a prompt left in it, and room for the tokens that may follow.

    Decoding writes into tensors of fixed shapes, so that a compiled step is compiled once.

    Attributes
    ----------
    fixed : bool
        Whether keys, values and positions have their final size; unfilled places have position -1.
    """

    is_compileable = True

    def __init__(self, length: int) -> None:
        self._length = torch.tensor(0)
        super().__init__()
        self.max_cache_len = length
        self.fixed = self._stepping = False
        self._filled = torch.tensor(0)

    @property
    def logical(self) -> int:
        """Logical number of tokens, counted on the device."""
        return int(self._length)

    @logical.setter
    def logical(self, value: int) -> None:
        self._length = torch.full_like(self._length, value)

    @property
    def ready(self) -> bool:
        """Whether the next token needs no new memory: keys have their final size, or none come here."""
        return self.fixed or self.keys is None

    @classmethod
    def from_static(cls, layer: StaticLayer) -> PartialStaticLayer:
        """A layer with the contents of a static one."""
        new = cls(layer.max_cache_len)
        length = int(layer.get_seq_length())
        if length:
            new.keys, new.values = layer.keys[:, :, :length].clone(), layer.values[:, :, :length].clone()
            new.dtype, new.device, new.is_initialized = layer.keys.dtype, layer.keys.device, True
            new.logical = length
            new.positions = torch.arange(length, device=layer.keys.device).repeat(len(layer.keys), 1)
        return new

    def step(self, mask: Tensor | None, tokens: int) -> Tensor:
        """Take places for tokens all of which come here; returns the mask (batch, heads, tokens, places) of the layer.

        `mask` is that of the whole static cache, None if it leaves open all tokens before.
        """
        assert self.positions is not None
        if not torch.compiler.is_compiling() and self._length.device.type == "cpu":
            self._check_room(tokens)
        new = torch.arange(tokens, device=self.positions.device)
        self.positions.index_copy_(1, new + self._filled, (new + self._length).expand(len(self.positions), -1))
        self._filled.add_(tokens)
        self._length.add_(tokens)
        self._stepping = True
        held = self.positions[:, None, None, :]
        if mask is None:
            return (held >= 0) & (held <= (self._length - tokens + new)[:, None])
        mask = mask.to(held.device).expand(len(self.positions), -1, -1, -1)
        mask = mask.gather(3, held.clamp(min=0).expand(-1, mask.shape[1], mask.shape[2], -1))
        return mask.masked_fill(held < 0, False if mask.dtype == torch.bool else torch.finfo(mask.dtype).min)

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Store new keys and values; returns all that the new tokens can attend to."""
        if not self._stepping:
            seen = super().update(key_states, value_states, *args, **kwargs)
            self._fix()
            return seen
        self._stepping = False
        assert self.keys is not None
        assert self.values is not None
        tokens = key_states.shape[2]
        places = torch.arange(tokens, device=self.keys.device) + (self._filled - tokens)
        if self.keys.requires_grad or key_states.requires_grad:
            self.keys = self.keys.index_copy(2, places, key_states)
            self.values = self.values.index_copy(2, places, value_states)
        else:
            self.keys.index_copy_(2, places, key_states)
            self.values.index_copy_(2, places, value_states)
        return self.keys, self.values

    def _fix(self) -> None:
        """Make room for all tokens that may come."""
        if self.positions is None or self.keys is None or self.values is None:
            return
        held, room = self.keys.shape[2], self.max_cache_len - self.logical
        self._filled = torch.tensor(held, device=self.keys.device)
        self._length = self._length.to(self.keys.device)
        self.positions = torch.nn.functional.pad(self.positions, (0, room), value=-1)
        self.keys = torch.nn.functional.pad(self.keys, (0, 0, 0, room))
        self.values = torch.nn.functional.pad(self.values, (0, 0, 0, room))
        self.fixed = True

    def _loosen(self) -> None:
        """Drop the places that are not filled."""
        if self.fixed and self.positions is not None and self.keys is not None and self.values is not None:
            held = int(self._filled)
            self.positions = self.positions[:, :held]
            self.keys, self.values = self.keys[:, :, :held], self.values[:, :, :held]
        self.fixed = False

    def _settle(self) -> None:
        self._loosen()

    def _check_room(self, tokens: int) -> None:
        if self.logical + tokens > self.max_cache_len:
            raise ValueError(
                f"cache: {self.logical + tokens} tokens exceed the {self.max_cache_len} of this static cache"
            )

    def expect(self, positions: Tensor, query_length: int, ragged: bool = False) -> None:
        """Announce the next update; refuses more tokens than the static cache was made for."""
        self._check_room(query_length)
        super().expect(positions, query_length, ragged)

    def expect_all(self, query_length: int) -> bool:
        """Masks of a static cache have unfilled places, so that no update goes without bookkeeping."""
        return False

    def advance(self, query_length: int) -> None:
        """Count tokens none of which goes through this layer."""
        self._length.add_(query_length)

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self.fixed, self.is_initialized, self.keys, self.values = False, False, None, None

    def get_seq_length(self) -> Any:
        """Logical number of tokens, as a static layer says it: on the device."""
        return self._length

    def get_max_length(self) -> int:
        """Length of the static cache."""
        return self.max_cache_len

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Keys of a mask, which has a column for every place of the static cache."""
        return self.max_cache_len, 0


def is_static(cache: Any) -> bool:
    """Whether masks have a column for every place of this cache, filled or not."""
    layers = getattr(cache, "layers", None) or ()
    return any(isinstance(layer, StaticLayer | PartialStaticLayer) for layer in layers)


def refuse_cache(cache: Any) -> None:
    """Refuse caches that cannot be used under a plan, before anything has run."""
    if cache is None:
        return
    layers = getattr(cache, "layers", None)
    if layers is None or getattr(cache, "offloading", False):
        kind = "offloaded cache" if layers is not None else f"cache {type(cache).__name__}"
        raise NotImplementedError(f"skipping: the {kind} is not supported; use the default dynamic cache")
    for layer in layers:
        _refuse_layer(layer)


_KNOWN = (DynamicLayer, DynamicSlidingWindowLayer, StaticLayer, LinearAttentionLayer)


def _refuse_layer(layer: Any) -> None:
    if type(layer) not in (PartialLayer, PartialStaticLayer, *_KNOWN):
        raise NotImplementedError(
            f"skipping: the cache layer {type(layer).__name__} is not supported; use the default dynamic cache "
            "or a static one (no static sliding windows, quantised or offloaded cache)"
        )
