"""What an observer of attention is given: one layer that has just attended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vlm.engine.flash_layout import Mask
from vlm.engine.forward_call import Call
from vlm.models.precision import has_float64


@dataclass(frozen=True, eq=False, repr=False)
class AttentionEvent:
    """Inputs of one layer's attention.

    Attributes
    ----------
    call : Call
        The forward call under way.
    layer : int
        Index of the decoder layer.
    query : Tensor (batch, heads, rows, d)
        Query vectors, rotary embedding applied.
    key, value : Tensor (batch, key heads, keys, d)
        Key and value vectors, those of the cache included. With fewer key heads than heads, each serves a group of
        query heads.
    mask : Tensor (batch or 1, heads or 1, rows, keys), Layout or None
        Added to the scores, or boolean with True for "may attend"; a :class:`~vlm.engine.flash_layout.Layout` under
        flash attention. None: attention is causal by row number.
    scaling : float
        Factor of the scores, usually d ** -0.5.
    softcap : float or None
        Scores x become softcap * tanh(x / softcap) before the mask; None where they do not.
    sinks : Tensor (heads,) or None
        Each head's score of a key that holds nothing, which takes its share of the softmax; None where there is none.
    """

    call: Call
    layer: int
    query: Tensor
    key: Tensor
    value: Tensor
    mask: Mask
    scaling: float
    softcap: float | None = None
    sinks: Tensor | None = None

    def measurable(self) -> AttentionEvent:
        """This event with its tensors on one device, that of the layer or, without float64 there, the processor."""
        here = self.query.device if has_float64(self.query.device) else torch.device("cpu")
        if here == self.query.device == self.call.real.device:
            return self
        mask = self.mask if self.mask is None else self.mask.to(here)
        query, key, value = map(measurable, (self.query, self.key, self.value))
        sinks = None if self.sinks is None else measurable(self.sinks)
        return replace(self, call=self.call.on(here), query=query, key=key, value=value, mask=mask, sinks=sinks)


def measurable(tensor: Tensor) -> Tensor:
    """A tensor where there is float64: itself on most devices, else a copy on the processor."""
    return tensor if has_float64(tensor.device) else tensor.to("cpu")


AttentionObserver = Callable[[AttentionEvent], None]


class Peeked(Exception):
    """Carries a layer's queries and keys out of its attention before it attends."""

    def __init__(self, event: AttentionEvent) -> None:
        super().__init__(f"layer {event.layer}")
        self.event = event
