"""FastV inside the engine: the image tokens that the last prompt token attends to most stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from vlm.engine.attention_event import AttentionEvent, AttentionObserver
from vlm.engine.attention_rows import attention_rows, row_of
from vlm.engine.last_token import last_tokens


def ranking(fractions: Mapping[int, Sequence[float | None]]) -> AttentionObserver:
    """An observer that decides, in the layer before each pruning, which image tokens stay (`plan_state.pruned`).

    `fractions` holds by layer one fraction per plan of the rows, None where a plan does not prune there.
    """

    def observe(event: AttentionEvent) -> None:
        call, layer = event.call, event.layer + 1
        if layer in fractions and bool(call.vision.any()):
            each = len(call.vision) // len(fractions[layer])
            by_row = [fraction for fraction in fractions[layer] for _ in range(each)]
            vision = call.vision.to(event.query.device)
            pruned = torch.tensor([fraction is not None for fraction in by_row], device=vision.device)
            stay = most_attended(last_token_scores(event, pruned), vision, [1.0 if f is None else f for f in by_row])
            call.plan_state.pruned[layer] = torch.where(pruned.unsqueeze(1), stay, vision)

    return observe


def last_token_scores(event: AttentionEvent, pruned: Tensor) -> Tensor:
    """Head-mean attention (batch, tokens) of each row's last token to the tokens of this call, -1 for unseen ones."""
    call, layer, here = event.call, event.layer, event.query.device
    row, runs = row_of(call, layer, last_tokens(call.prompt).to(here))
    if not bool((runs | ~pruned | ~call.vision.any(dim=1).to(here)).all()):
        raise ValueError(
            f"skipping: pruning ranks by the attention of the prompt's last token in layer {layer}, but that token "
            "does not run there; end the prompt with text"
        )
    return by_token(event, attention_rows(event, row.unsqueeze(1))[:, :, 0].mean(dim=1))


def by_token(event: AttentionEvent, values: Tensor) -> Tensor:
    """Values (batch, keys) of a layer's keys as (batch, tokens) of the call, -1 for tokens without a key there."""
    call = event.call
    batch, length = call.real.shape
    keys = call.key_positions.get(event.layer)
    if keys is None:
        end = call.past + length
        keys = torch.arange(end - event.key.shape[2], end, device=values.device).expand(batch, -1)
    # Keys of earlier calls and filler go to an extra column that is cut off.
    column = torch.where(keys >= call.past, keys - call.past, length)
    return values.new_full((batch, length + 1), -1.0).scatter(1, column, values)[:, :length]


def most_attended(scores: Tensor, vision: Tensor, fractions: float | Sequence[float]) -> Tensor:
    """The round(fraction x image tokens) highest scores of each row, ties to the earlier token.

    Parameters
    ----------
    scores : (batch, tokens)
        A score below 0 marks a token that did not take part and cannot be chosen.
    vision : bool (batch, tokens)
        Which tokens are image tokens.
    fractions : float or one per row
        In [0, 1].

    Returns
    -------
    bool (batch, tokens)
    """
    # In Python's numbers: some devices have no float64, and float32 rounds some halves to the other side.
    by_row = [fractions] * len(vision) if isinstance(fractions, float) else fractions
    counts = [round(n * fraction) for n, fraction in zip(vision.sum(dim=1).tolist(), by_row, strict=True)]
    count = torch.tensor(counts, device=vision.device)
    possible = vision & (scores >= 0)
    order = torch.argsort(torch.where(possible, scores, -1.0), dim=1, descending=True, stable=True)
    rank = torch.argsort(order, dim=1)
    return possible & (rank < count.unsqueeze(1))
