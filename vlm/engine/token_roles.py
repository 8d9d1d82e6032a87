"""Which tokens of a call run, are frozen or are seen in a layer under a plan."""

from __future__ import annotations

from math import inf

import torch
from torch import Tensor

from vlm.engine.active_tokens import Active, Roles
from vlm.engine.forward_call import Call
from vlm.engine.kv_cache import PartialLayer
from vlm.engine.plan_state import Entry
from vlm.engine.row_plans import RowStep, plan_of_row
from vlm.models.types import Cache
from vlm.plans.plan import LayerPlan
from vlm.plans.ranges import EVERYTHING


def roles(call: Call, step: LayerPlan | RowStep, cache: Cache | None, device: torch.device) -> Roles:
    """Roles of the tokens in a layer, on its device. Cached per call; layers with the same plan share the result."""
    found = _roles(call, step, cache)
    if found.running.index.device == device:
        return found
    moved = call.plan_state.moved
    entry = moved.get((id(found), device))
    if entry is None:
        entry = moved[id(found), device] = Entry(found.to(device), (found,))
    return entry.value


def _roles(call: Call, step: LayerPlan | RowStep, cache: Cache | None) -> Roles:
    alike = isinstance(step, LayerPlan) or step.text or not any(row.text for row in step.rows)
    if alike and not call.images and (call.past or step.kept == EVERYTHING):
        return _without_images(call, step)
    cached = call.plan_state.roles
    plain = (step.vision, step.text, step.kept, step.pruned, step.ranked, step.left)
    key = step if isinstance(step, RowStep) else plain
    result = cached.get(key)
    if result is None:
        result = cached[key] = _with_images(call, step, cache)
    return result


def _with_images(call: Call, step: LayerPlan | RowStep, cache: Cache | None) -> Roles:
    if isinstance(step, RowStep):
        of_plans = [_running_and_frozen(call, row, cache) for row in step.rows]
        rows = torch.arange(len(call.vision), device=call.vision.device)
        which = plan_of_row(len(rows), len(step.rows), rows.device)
        running, frozen = (torch.stack(masks)[which, rows] for masks in zip(*of_plans, strict=True))
    else:
        running, frozen = _running_and_frozen(call, step, cache)
    if step.vision == "frozen" and bool(frozen.any()):
        return Roles(_gathered(running), _gathered(frozen), _gathered(running | frozen))
    everybody = _gathered(running)
    return Roles(everybody, None, everybody)


def _running_and_frozen(call: Call, step: LayerPlan, cache: Cache | None) -> tuple[Tensor, Tensor]:
    """Which tokens (batch, tokens) run and which are frozen."""
    images, nobody = _present(call, step, cache), torch.zeros_like(call.vision)
    # Padding counts as text here: it must keep its place so that the rows of a batch stay aligned.
    text = ~call.vision if step.text else nobody
    return (text | images if step.vision == "run" else text), (images if step.vision == "frozen" else nobody)


def _without_images(call: Call, step: LayerPlan | RowStep) -> Roles:
    """Either all tokens or none run, so no device synchronisation is needed. This is the path of decoding steps."""
    cached = call.plan_state.roles
    result = cached.get(step.text)
    if result is None:
        batch, length = call.real.shape
        index = torch.arange(length if step.text else 0, device=call.real.device).expand(batch, -1)
        everybody = Active(index, None, length)
        result = cached[step.text] = Roles(everybody, None, everybody)
    return result


def _gathered(stays: Tensor) -> Active:
    """The tokens marked in a mask (batch, tokens), filled up on the left to the longest row."""
    counts = stays.sum(dim=1)
    least, rows = (int(n) for n in torch.stack([counts.min(), counts.max()]).tolist())
    # A stable sort moves the tokens that stay to the right end, in order; filler is on the left.
    order = torch.argsort(stays.to(torch.uint8), dim=1, stable=True)[:, stays.shape[1] - rows :]
    valid = torch.arange(rows, device=order.device) >= rows - counts.unsqueeze(1)
    return Active(order, valid if least < rows else None, stays.shape[1])


def _present(call: Call, step: LayerPlan, cache: Cache | None) -> Tensor:
    """Image tokens (batch, tokens) of the call that are neither gone by a choice nor left out by a keep."""
    present, state = call.vision, call.plan_state
    choices = ((state.pruned, step.pruned, 1), (state.ranked, step.ranked, 0), (state.left, step.left, 0))
    for decided, pairs, back in choices:
        for layer, _ in pairs:
            if bool(call.vision.any()):
                if layer not in decided:
                    raise RuntimeError(
                        f"skipping: the choice of tokens at layer {layer} did not see layer {layer - back} attend; "
                        "leave the model's attention implementation alone inside the context"
                    )
                present = present & decided[layer].to(present.device)
    if step.kept != EVERYTHING:
        number = ordinals(call, cache)
        inside = [(number >= a) & (number < (inf if b is None else b)) for a, b in step.kept]
        present = present & torch.stack(inside).any(dim=0)
    return present


def ordinals(call: Call, cache: Cache | None) -> Tensor:
    """Number of each image token (batch, tokens) in its sample, earlier calls on the same cache included.

    The positions of image tokens are stored in one layer of the cache, which follows cropping and beam reordering.
    """
    state = call.plan_state
    if state.ordinals is None:
        before = torch.zeros(len(call.vision), 1, dtype=torch.long, device=call.vision.device)
        layers = [layer for layer in getattr(cache, "layers", ()) if isinstance(layer, PartialLayer)]
        keeper = next((layer for layer in layers if layer.images is not None), layers[0] if layers else None)
        earlier = None if keeper is None or not call.past else keeper.images
        if earlier is not None:
            before = earlier.sum(dim=1, keepdim=True).to(call.vision.device)
        elif call.past and bool(call.vision.any()):
            if keeper is None:
                raise ValueError(
                    "skipping: a plan that merges image tokens and takes none out of any layer does not count the "
                    "images of earlier calls on a cache; give the prompt in one call, or let the merged tokens leave "
                    "(keep:)"
                )
            raise ValueError(
                "skipping: the plan names image tokens by their number, but this cache was begun outside the plan, "
                "so that the images before are not counted; begin it under the plan (prefix tuning begins every cache: "
                "use a plan without keep: and merge:)"
            )
        if keeper is not None and (not call.past or bool(call.vision.any())):
            held = call.vision.new_zeros(len(before), call.past)
            if earlier is not None:
                held[:, : earlier.shape[1]] = earlier.to(held.device)
            keeper.images = torch.cat([held, call.vision], dim=1)
        state.ordinals = call.vision.cumsum(dim=1) - 1 + before
    return state.ordinals
