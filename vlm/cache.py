"""A key-value cache layer that holds only the tokens that went through its decoder layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicLayer


class PartialLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of some positions; lengths are reported as if it held them all.

    The rest of transformers (mask sizes, positions, cropping, beam reordering) counts logical positions, so
    it need not know that tokens are missing. `positions` (batch, held) is the logical position of each
    held key, -1 for filler in ragged batches.
    """

    keys: Tensor | None
    values: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.positions: Tensor | None = None
        self.logical = 0
        self._incoming: tuple[Tensor, int] | None = None

    @classmethod
    def adopt(cls, layer: Any) -> PartialLayer:
        """Take over a plain cache layer, all of whose positions are held."""
        if isinstance(layer, PartialLayer):
            return layer
        if type(layer) is not DynamicLayer:
            raise NotImplementedError(
                f"skipping: the cache layer {type(layer).__name__} is not supported; use the default dynamic cache "
                "(no static, quantised, offloaded or sliding-window cache)"
            )
        new = cls()
        length = layer.get_seq_length()
        if length:
            new.keys, new.values, new.is_initialized = layer.keys, layer.values, True
            new.dtype, new.device = layer.keys.dtype, layer.keys.device
            new.logical = length
            new.positions = torch.arange(length, device=layer.keys.device).repeat(layer.keys.shape[0], 1)
        return new

    def expect(self, positions: Tensor, query_length: int) -> None:
        """Announce the next update: all held positions after it, and how many logical tokens it stands for."""
        self._incoming = (positions, query_length)

    def advance(self, query_length: int) -> None:
        """Tokens of which none goes through this layer."""
        self.logical += query_length

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if self._incoming is None:
            raise RuntimeError(
                "this cache was filled under a skip plan and is used outside it; start a new cache, or continue "
                "inside vlm.skipping with the same plan from the start"
            )
        (self.positions, length), self._incoming = self._incoming, None
        self.logical += length
        return super().update(key_states, value_states)  # type: ignore[no-any-return]

    def get_seq_length(self) -> int:
        return self.logical

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.logical + query_length, 0

    def reset(self) -> None:
        super().reset()
        self.positions, self.logical, self._incoming = None, 0, None

    def crop(self, tokens_to_remove: int) -> None:
        if tokens_to_remove > 0:
            raise ValueError("crop: expected a negative number of tokens to remove")
        self.logical = max(0, self.logical + tokens_to_remove)
        if self.positions is None or self.keys is None or self.values is None:
            return
        kept = torch.where(self.positions < self.logical, self.positions, -1)
        columns = (kept >= 0).any(dim=0)
        self.positions = kept[:, columns]
        self.keys, self.values = self.keys[..., columns, :], self.values[..., columns, :]

    def reorder_cache(self, beam_idx: Tensor) -> None:
        self.batch_select_indices(beam_idx)

    def batch_repeat_interleave(self, repeats: int) -> None:
        if self.positions is not None and self.keys is not None and self.values is not None:
            self.keys = self.keys.repeat_interleave(repeats, dim=0)
            self.values = self.values.repeat_interleave(repeats, dim=0)
            self.positions = self.positions.repeat_interleave(repeats, dim=0)

    def batch_select_indices(self, indices: Tensor) -> None:
        if self.positions is not None and self.keys is not None and self.values is not None:
            indices = indices.to(self.keys.device)
            self.keys, self.values = self.keys[indices], self.values[indices]
            self.positions = self.positions[indices]
