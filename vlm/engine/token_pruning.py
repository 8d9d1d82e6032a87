"""FastV inside the engine: the image tokens that the last token of a prompt attends to most stay."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from vlm.engine.attention_rows import attention_rows, row_of
from vlm.engine.flash_attention import Mask
from vlm.engine.forward_call import Call
from vlm.engine.hooks import AttentionObserver
from vlm.plans.plan import Prune


def ranking(prunings: Iterable[Prune]) -> AttentionObserver:
    """An observer that decides, in the layer before each pruning, who stays: memo["pruned", layer] of the call."""
    fractions = {layer - 1: (layer, fraction) for layer, fraction in prunings}

    def observe(call: Call, index: int, query: Tensor, key: Tensor, mask: Mask, scaling: float) -> None:
        if index in fractions and bool(call.vision.any()):
            layer, fraction = fractions[index]
            scores = _scores(call, index, query, key, mask, scaling)
            call.memo["pruned", layer] = most_attended(scores, call.vision, fraction)

    return observe


def _scores(call: Call, layer: int, query: Tensor, key: Tensor, mask: Mask, scaling: float) -> Tensor:
    """Head-mean attention (batch, tokens) of each row's last token to the tokens of this call, -1 for the unseen."""
    batch, length = call.real.shape
    place = torch.arange(length, device=call.real.device)
    row, runs = row_of(call, layer, torch.where(call.real, place, 0).amax(dim=1))
    if not bool((runs | ~call.vision.any(dim=1)).all()):
        raise ValueError(
            f"skipping: pruning ranks by the attention of the prompt's last token in layer {layer}, but that token "
            "does not run there; end the prompt with text"
        )
    weights = attention_rows(row.unsqueeze(1), query, key, mask, scaling)[:, :, 0].mean(dim=1)
    keys = call.key_positions.get(layer)
    if keys is None:
        end = call.past + length
        keys = torch.arange(end - key.shape[2], end, device=key.device).expand(batch, -1)
    # Keys of earlier calls and filler go to a last column that is cut off.
    column = torch.where(keys >= call.past, keys - call.past, length)
    return weights.new_full((batch, length + 1), -1.0).scatter(1, column, weights)[:, :length]


def most_attended(scores: Tensor, vision: Tensor, fraction: float) -> Tensor:
    """The round(fraction x image tokens) best of each row, ties to the earlier; (batch, tokens) booleans.

    A score below 0 marks a token that took no part and cannot be chosen.
    """
    count = torch.round(vision.sum(dim=1).to(torch.float64) * fraction)
    possible = vision & (scores >= 0)
    order = torch.argsort(torch.where(possible, scores, -1.0), dim=1, descending=True, stable=True)
    rank = torch.argsort(order, dim=1)
    return possible & (rank < count.unsqueeze(1))
