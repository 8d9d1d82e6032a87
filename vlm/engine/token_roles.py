"""Which tokens of a call take part in a layer under a plan."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import inf
from typing import Any

import torch
from torch import Tensor

from vlm.engine.forward_call import Call
from vlm.engine.kv_cache import PartialLayer
from vlm.plans.plan import LayerPlan
from vlm.plans.ranges import EVERYTHING


@dataclass(frozen=True, eq=False)
class Active:
    """Some tokens of a call: index (batch, rows) into the call's `length`, and which rows are real.

    Ragged batches are filled on the left; `valid` is None when there is no filler.
    """

    index: Tensor
    valid: Tensor | None
    length: int

    @property
    def rows(self) -> int:
        return self.index.shape[1]

    @property
    def everything(self) -> bool:
        """Whether these are all tokens of the call."""
        return self.valid is None and self.rows == self.length

    @cached_property
    def flat(self) -> Tensor:
        """The index (batch * rows,) into the call's tokens, row after row of the batch."""
        return numbered(self.index, self.length)

    @cached_property
    def real(self) -> Tensor | None:
        """Which of these rows (number of them,) are no filler; None for all."""
        return None if self.valid is None else torch.nonzero(self.valid.flatten())[:, 0]

    @cached_property
    def places(self) -> Tensor:
        """The index with -1 for filler."""
        return self.index if self.valid is None else torch.where(self.valid, self.index, -1)


@dataclass(frozen=True, eq=False)
class Roles:
    """Tokens that run through a layer, tokens that are only keys and values there, and both together."""

    running: Active
    frozen: Active | None
    seen: Active


def numbered(index: Tensor, length: int) -> Tensor:
    """An index (batch, rows) along the second axis as one (batch * rows,) into both flattened."""
    first = torch.arange(len(index), device=index.device).unsqueeze(1) * length
    return (index + first).flatten()


def roles(call: Call, step: LayerPlan, cache: Any) -> Roles:
    """Worked out once per call for all layers that the plan treats alike."""
    if not call.images and (call.past or step.kept == EVERYTHING):
        return _without_images(call, step)
    key = ("roles", step.vision, step.text, step.kept, step.pruned)
    if key not in call.memo:
        images = _present(call, step, cache)
        # Padding counts as text here: it must keep its place so that rows of a batch stay aligned.
        text = ~call.vision if step.text else torch.zeros_like(call.vision)
        seen = text if step.vision == "skipped" else text | images
        everybody = _gathered(seen)
        if step.vision == "frozen" and bool(images.any()):
            call.memo[key] = Roles(_gathered(text), _gathered(images), everybody)
        else:
            call.memo[key] = Roles(everybody, None, everybody)
    found: Roles = call.memo[key]
    return found


def _without_images(call: Call, step: LayerPlan) -> Roles:
    """All tokens or none, which asks nothing of the device: so it is for every decoded token."""
    key = ("roles", step.text)
    if key not in call.memo:
        batch, length = call.real.shape
        index = torch.arange(length if step.text else 0, device=call.real.device).expand(batch, -1)
        everybody = Active(index, None, length)
        call.memo[key] = Roles(everybody, None, everybody)
    found: Roles = call.memo[key]
    return found


def _gathered(stays: Tensor) -> Active:
    counts = stays.sum(dim=1)
    least, rows = (int(n) for n in torch.stack([counts.min(), counts.max()]).tolist())
    # A stable sort brings the tokens that stay to the right end, in order; filler is on the left.
    order = torch.argsort(stays.to(torch.uint8), dim=1, stable=True)[:, stays.shape[1] - rows :]
    valid = torch.arange(rows, device=order.device) >= rows - counts.unsqueeze(1)
    return Active(order, valid if least < rows else None, stays.shape[1])


def _present(call: Call, step: LayerPlan, cache: Any) -> Tensor:
    """Image tokens (batch, tokens) of the call that are neither pruned nor left out of a keep."""
    present = call.vision
    for layer, _ in step.pruned:
        if bool(call.vision.any()):
            if ("pruned", layer) not in call.memo:
                raise RuntimeError(
                    f"skipping: pruning at layer {layer} did not see layer {layer - 1} attend; leave the model's "
                    "attention implementation alone inside the context"
                )
            present = present & call.memo["pruned", layer]
    if step.kept != EVERYTHING:
        number = _ordinals(call, cache)
        inside = [(number >= a) & (number < (inf if b is None else b)) for a, b in step.kept]
        present = present & torch.stack(inside).any(dim=0)
    return present


def _ordinals(call: Call, cache: Any) -> Tensor:
    """Number of each image token (batch, tokens) among its sample's, counted on through calls on one cache.

    Where image tokens were is kept by one layer of the cache, which follows crops and beams.
    """
    if "ordinals" not in call.memo:
        before = torch.zeros(len(call.vision), 1, dtype=torch.long, device=call.vision.device)
        layers = [layer for layer in getattr(cache, "layers", ()) if isinstance(layer, PartialLayer)]
        keeper = next((layer for layer in layers if layer.images is not None), layers[0] if layers else None)
        known = None if keeper is None or not call.past else keeper.images
        if known is not None:
            before = known.sum(dim=1, keepdim=True)
        elif call.past and bool(call.vision.any()):
            raise ValueError(
                "skipping: the plan keeps image tokens by their number, but this cache was begun outside the plan, "
                "so that the images before are not counted; begin it under the plan"
            )
        if keeper is not None and (not call.past or bool(call.vision.any())):
            held = call.vision.new_zeros(len(before), call.past)
            if known is not None:
                held[:, : known.shape[1]] = known
            keeper.images = torch.cat([held, call.vision], dim=1)
        call.memo["ordinals"] = call.vision.cumsum(dim=1) - 1 + before
    ordinals: Tensor = call.memo["ordinals"]
    return ordinals
