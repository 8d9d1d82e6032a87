"""The states of one forward call, held until the call has ended, so that a call that fails leaves nothing behind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from redundancy.array_conversion import as_labels
from vlm.engine.forward_call import Call
from vlm.engine.kv_cache import cache_in
from vlm.models.types import Arguments

Modality = Literal["vision", "text"]
MODALITIES: tuple[Modality, ...] = ("vision", "text")


class Part(NamedTuple):
    """The tokens of one modality of one prompt: rows start..stop of every held state."""

    modality: Modality
    row: int
    start: int
    stop: int


@dataclass(eq=False)
class HeldCall:
    """Rows (tokens, d) of the wanted states of one call, token by token in the order of `parts`.

    State l < L is what enters decoder layer l, state L what leaves the last layer.
    """

    wanted: frozenset[int]
    depth: int
    modalities: tuple[Modality, ...]
    batch: int = 0
    parts: tuple[Part, ...] = ()
    rows: dict[int, Tensor] = field(default_factory=dict)
    _index: Tensor | None = None
    _on_device: dict[torch.device, Tensor] = field(default_factory=dict)

    def take(self, call: Call, layer: int, before: Tensor, after: Tensor) -> None:
        """Keep what is wanted of one layer's input and output."""
        if self._index is None:
            self._begin(call)
        if layer in self.wanted:
            self.rows[layer] = self._gathered(before)
        if layer == self.depth - 1 and self.depth in self.wanted:
            self.rows[self.depth] = self._gathered(after)

    @property
    def complete(self) -> bool:
        """Whether every wanted state has come."""
        return self.rows.keys() == self.wanted

    def usable(self, *, normalise: bool) -> dict[Part, bool]:
        """Which parts have finite (and, if they are to be normalised, nonzero) states in every wanted layer."""
        bad: Tensor | None = None
        for rows in self.rows.values():
            norms = torch.linalg.vector_norm(rows, dim=-1, dtype=torch.float64)
            here = ~torch.isfinite(norms)
            if normalise:
                here |= norms == 0
            here = here.to("cpu") if bad is None else here.to(bad.device)
            bad = here if bad is None else bad | here
        flags = np.zeros(0, dtype=bool) if bad is None else bad.numpy()
        return {part: not flags[part.start : part.stop].any() for part in self.parts}

    def _begin(self, call: Call) -> None:
        masks = torch.stack([call.vision, call.text]).cpu().numpy()
        self.batch, length = masks.shape[1:]
        parts, places, start = [], [], 0
        for modality in self.modalities:
            for row in range(self.batch):
                tokens = np.flatnonzero(masks[MODALITIES.index(modality), row])
                if tokens.size:
                    parts.append(Part(modality, row, start, start + tokens.size))
                    places.append(row * length + tokens)
                    start += tokens.size
        self.parts = tuple(parts)
        self._index = torch.from_numpy(np.concatenate(places) if places else np.zeros(0, dtype=np.int64))

    def _gathered(self, states: Tensor) -> Tensor:
        device = states.device
        if device not in self._on_device:
            assert self._index is not None
            self._on_device[device] = self._index.to(device)
        # A copy: the model may change its states in place.
        return states.detach().flatten(0, -2).index_select(0, self._on_device[device])


@dataclass(eq=False)
class Announced:
    """Images of the prompts to come, as `expect` announces them: before every forward call or never."""

    record: str
    images: tuple[str, ...] | None = None
    always: bool | None = None

    def expect(self, groups: ArrayLike) -> None:
        """Note the images of the next call's rows."""
        if self.always is False:
            raise ValueError(
                f"expect: {self.record} already holds prompts without an image label; call it before every forward or "
                "never"
            )
        labels = as_labels(groups, name="groups")
        if labels.ndim != 1 or not labels.size:
            raise ValueError(f"groups: expected one label per row of the batch, got shape {labels.shape}")
        self.images, self.always = tuple(str(label) for label in labels.tolist()), True

    def check(self, given: Arguments) -> None:
        """Refuse a prompt whose images are not known, before it has run."""
        ids, cache = given.get("input_ids"), cache_in(given)
        if not isinstance(ids, Tensor) or (cache is not None and int(cache.get_seq_length()) > 0) or not self.always:
            return
        if self.images is None:
            raise ValueError(f"expect: {self.record} knows the images of earlier prompts; call it before every forward")
        if len(self.images) != len(ids):
            raise ValueError(f"groups: expected one label per row of the batch, got {len(self.images)} for {len(ids)}")

    def taken(self, batch: int) -> Sequence[str | None]:
        """The labels of a call that has ended."""
        if self.images is None:
            self.always = False
            return [None] * batch
        images, self.images = self.images, None
        return images


def in_turn(parts: Sequence[Part], usable: dict[Part, bool]) -> Iterator[Part]:
    """The usable parts."""
    return (part for part in parts if usable[part])
