"""FitPrune inside the engine: image tokens that attend in a layer and leave before its feed-forward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vlm.engine.attention_event import AttentionEvent, AttentionObserver
from vlm.engine.attention_rows import attention_rows
from vlm.engine.forward_call import Call
from vlm.engine.half_layers import halves
from vlm.engine.hooks import Engine
from vlm.engine.token_pruning import by_token, most_attended
from vlm.models.types import Forward

# Rows of the map at a time: all heads of a whole map would be large.
_ROWS = 64


def choosing(fractions: Mapping[int, Sequence[float | None]]) -> AttentionObserver:
    """An observer that decides, once a layer has attended, which image tokens go on (`plan_state.left`).

    `fractions` holds by layer one fraction per plan of the rows, None where no token of a plan leaves there.
    """

    def observe(event: AttentionEvent) -> None:
        call, layer = event.call, event.layer
        if layer in fractions and bool(call.vision.any()):
            each = len(call.vision) // len(fractions[layer])
            by_row = [fraction for fraction in fractions[layer] for _ in range(each)]
            vision = call.vision.to(event.query.device)
            chosen = torch.tensor([fraction is not None for fraction in by_row], device=vision.device)
            stay = most_attended(product_scores(event), vision, [1.0 if f is None else f for f in by_row])
            call.plan_state.left[layer] = torch.where(chosen.unsqueeze(1), stay, vision)

    return observe


def product_scores(event: AttentionEvent) -> Tensor:
    """FitPrune's score (batch, tokens) of the tokens of this call, -1 for those without a key in the layer."""
    text, image = text_and_image_sums(event)
    return by_token(event, text * image)


def text_and_image_sums(event: AttentionEvent) -> tuple[Tensor, Tensor]:
    """What text tokens, summed, and image tokens, averaged, read from each key (batch, keys); largest over heads."""
    call, here = event.call, event.query.device
    places = _places(call, event.layer, event.query.shape[2], here)
    inside = places.clamp(min=0)
    masks = call.text & call.prompt, call.vision
    text, image = ((mask.to(here).gather(1, inside) & (places >= 0)).float() for mask in masks)
    sums = event.query.new_zeros((2, len(places), event.key.shape[2]), dtype=torch.float32)
    for first in range(0, places.shape[1], _ROWS):
        part = slice(first, min(first + _ROWS, places.shape[1]))
        rows = torch.arange(part.start, part.stop, device=here).expand(len(places), -1)
        largest = attention_rows(event, rows).amax(dim=1)
        kinds = torch.stack([text[:, part], image[:, part]])
        # Rows of filler and padding may be undefined.
        largest = torch.where((kinds.sum(dim=0) > 0).unsqueeze(-1), largest, 0.0)
        sums += (kinds.unsqueeze(2) @ largest).squeeze(2)
    return sums[0], sums[1] / image.sum(dim=1, keepdim=True).clamp(min=1.0)


def _places(call: Call, layer: int, rows: int, device: torch.device) -> Tensor:
    """Place in the call (batch, rows) of each query row of a layer, -1 for filler."""
    places = call.query_positions.get(layer)
    if places is None:
        places = torch.arange(rows, device=device).expand(len(call.vision), -1)
    return places.to(device)


def fed_fewer(engine: Engine, index: int, width: int, dtype: torch.dtype) -> dict[nn.Module, Forward]:
    """The forward of a layer's feed-forward on the tokens that have not left, zeros for the others.

    Raises
    ------
    NotImplementedError
        The layer's feed-forward is not one module that takes and returns states of each token by itself.
    """
    layer = engine.parts.layers[index]
    branch = halves(layer, width, dtype).feed_forward
    if len(branch) != 1:
        raise NotImplementedError(
            f"skipping: the feed-forward of layer {index}, a {type(layer).__name__}, is not one module, so that tokens "
            f"cannot leave before it (leave:{index}); use prune: or rank:"
        )
    (module,) = branch
    original = module.forward

    def forward(states: Tensor, *args: Any, **kwargs: Any) -> Any:
        call = engine.call
        if call is None or call.decoding or not call.images or not bool(call.vision.any()):
            return original(states, *args, **kwargs)
        stays = call.plan_state.left.get(index)
        if stays is None or states.ndim != 3 or args or kwargs:
            raise NotImplementedError(
                f"skipping: the feed-forward of layer {index}, a {type(module).__name__}, runs before the attention or "
                f"takes more than states (batch, tokens, width), so that tokens cannot leave before it (leave:{index})"
            )
        places = _places(call, index, states.shape[1], states.device)
        goes = (~call.vision.to(states.device) | stays.to(states.device)).gather(1, places.clamp(min=0)) & (places >= 0)
        where = torch.nonzero(goes.flatten())[:, 0]
        flat = states.flatten(0, 1)
        out = original(flat.index_select(0, where).unsqueeze(0))
        new = out[0] if isinstance(out, tuple) else out
        full = flat.new_zeros(flat.shape, dtype=new.dtype).index_copy(0, where, new.view(-1, new.shape[-1]))
        full = full.view(states.shape)
        return (full, *out[1:]) if isinstance(out, tuple) else full

    return {module: forward}
