"""Which tokens of a forward call each view takes, decided on the device without waiting for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from vlm.engine.forward_call import Call
from vlm.engine.last_token import last_tokens
from vlm.hidden_states.views import GOLDEN, MIX_1, MIX_2, SHIFTS, Modality, View, sample_seed

_NEVER = torch.iinfo(torch.int64).max


class Counts(NamedTuple):
    """What earlier calls of the same prompts contained, each (batch,)."""

    vision: Tensor
    text: Tensor
    blocks: Tensor
    # One more than the number of text tokens before the latest image token; 0 without one.
    mark: Tensor

    @classmethod
    def zero(cls, call: Call) -> Counts:
        """Those of prompts that begin with this call."""
        zeros = torch.zeros(len(call.real), dtype=torch.int64, device=call.real.device)
        return cls(zeros, zeros, zeros, zeros)


class Numbers(NamedTuple):
    """Ordinal of each token within its modality, its block, both (batch, tokens), and the counts after the call."""

    token: Tensor
    block: Tensor
    after: Counts


def number_tokens(call: Call, before: Counts) -> Numbers:
    """Number the image and text tokens of a call. Padding has arbitrary numbers."""
    vision = call.vision.cumsum(dim=1) + before.vision.unsqueeze(1)
    text = call.text.cumsum(dim=1) + before.text.unsqueeze(1)
    # A block begins at an image token that has more text before it than the image token before.
    marks = torch.where(call.vision, text + 1, 0)
    latest = torch.maximum(marks.cummax(dim=1).values, before.mark.unsqueeze(1))
    earlier = torch.cat([before.mark.unsqueeze(1), latest[:, :-1]], dim=1)
    blocks = (call.vision & (marks > earlier)).cumsum(dim=1) + before.blocks.unsqueeze(1)
    after = Counts(vision[:, -1], text[:, -1], blocks[:, -1], latest[:, -1])
    return Numbers(torch.where(call.vision, vision, text) - 1, blocks - call.vision.to(torch.int64), after)


@dataclass(frozen=True, eq=False)
class Chosen:
    """The tokens that one view takes of a call; each tensor is (batch, width).

    Attributes
    ----------
    view : View
        The view.
    places : int
        Where the tokens are in the call; for a mean, empty.
    table : int (batch, 4, width)
        Valid (0 or 1), ordinal (for a mean, the number of tokens), block, and hash value of a sampled token.
    """

    view: View
    places: Tensor
    table: Tensor


@dataclass(frozen=True, eq=False)
class Choice:
    """What all views take of one call, and how to take it from a layer's states on any device.

    Attributes
    ----------
    chosen : tuple of Chosen
        Means first, then tokens, each in the order of the views.
    masks : tuple of bool (batch, tokens)
        Of the means.
    """

    chosen: tuple[Chosen, ...]
    masks: tuple[Tensor, ...]
    _on: dict[torch.device, tuple[Tensor, ...]] = field(default_factory=dict)

    def tables(self) -> Tensor:
        """All tables side by side, int64 (batch, numbers)."""
        return torch.cat([chosen.table.flatten(1) for chosen in self.chosen], dim=1)

    def take(self, states: Tensor, mean_dtype: torch.dtype, token_dtype: torch.dtype) -> Tensor:
        """Bytes (batch, size) of what the views take of states (batch, tokens, width): means, then tokens."""
        places, *masks = self._moved(states.device)
        batch, parts = len(states), []
        wide = torch.float64 if states.dtype == torch.float64 else torch.float32
        for mask in masks:
            # Padding may hold anything, and 0 times infinity is not 0.
            total = torch.where(mask.unsqueeze(-1), states, 0).sum(dim=1, dtype=wide)
            mean = total / mask.sum(dim=1).clamp(min=1).unsqueeze(1)
            parts.append(mean.to(mean_dtype).view(torch.uint8))
        if places.shape[1]:
            rows = torch.arange(batch, device=states.device).unsqueeze(1)
            parts.append(states[rows, places].to(token_dtype).reshape(batch, -1).view(torch.uint8))
        return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]

    def _moved(self, device: torch.device) -> tuple[Tensor, ...]:
        if device not in self._on:
            places = torch.cat([chosen.places for chosen in self.chosen], dim=1)
            # A copy to the host that does not wait would be read before it has arrived.
            ahead = device.type == "cuda"
            self._on[device] = tuple(part.to(device, non_blocking=ahead) for part in (places, *self.masks))
        return self._on[device]


def choose(call: Call, views: Sequence[View], items: Sequence[str], numbers: Numbers) -> Choice:
    """What the views take of a call whose rows are these items."""
    means = [view for view in views if view.which == "mean"]
    masks = tuple(_mask(call, view.modality) for view in means)
    chosen = [_mean(view, mask) for view, mask in zip(means, masks, strict=True)]
    chosen += [_tokens(call, view, items, numbers) for view in views if view.which != "mean"]
    return Choice(tuple(chosen), masks)


def _mask(call: Call, modality: Modality | None) -> Tensor:
    return call.vision if modality == "vision" else call.text if modality == "text" else call.real


def _mean(view: View, mask: Tensor) -> Chosen:
    count = mask.sum(dim=1, keepdim=True)
    unused = torch.full_like(count, -1)
    table = torch.stack([(count > 0).to(torch.int64), count, unused, unused], dim=1)
    return Chosen(view, count[:, :0], table)


def _tokens(call: Call, view: View, items: Sequence[str], numbers: Numbers) -> Chosen:
    mask = _mask(call, view.modality)
    keys = torch.zeros_like(numbers.token)
    if view.which == "last":
        places = last_tokens(mask).unsqueeze(1)
        valid = mask.any(dim=1, keepdim=True)
    elif view.which == "all":
        # The one place that waits for the device: how many tokens the longest row has.
        width = int(mask.sum(dim=1).max())
        places = torch.argsort((~mask).to(torch.uint8), dim=1, stable=True)[:, :width]
        valid = mask.gather(1, places)
    else:
        keys = _hashes(items, view.modality or "text", numbers.token)
        width = min(view.size or 0, mask.shape[1])
        lowest = torch.where(mask, keys, _NEVER).topk(width, dim=1, largest=False).indices
        # In the order of the tokens; places without a token come last.
        length = mask.shape[1]
        places = torch.where(mask.gather(1, lowest), lowest, length).sort(dim=1).values
        valid, places = places < length, places.clamp(max=length - 1)
    fields = [valid.to(torch.int64), *(part.gather(1, places) for part in (numbers.token, numbers.block, keys))]
    return Chosen(view, places, torch.stack(fields, dim=1))


def _hashes(items: Sequence[str], modality: Modality, token: Tensor) -> Tensor:
    """Hash value of each token, as `vlm.hidden_states.views.sampled_tokens` computes it."""
    seeds = torch.tensor([sample_seed(item, modality) for item in items], dtype=torch.int64)
    z = (token + 1) * GOLDEN + seeds.to(token.device, non_blocking=True).unsqueeze(1)
    for shift, factor in zip(SHIFTS, (MIX_1, MIX_2, 1), strict=True):
        # The shift keeps the sign, so the bits that it brings in are cut off.
        z = (z ^ ((z >> shift) & ((1 << (64 - shift)) - 1))) * factor
    return (z >> 1) & _NEVER
