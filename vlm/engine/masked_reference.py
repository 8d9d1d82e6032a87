"""Slow reference for every kind of plan: the model's own code on the full sequence, eager, without a cache.

It parses the plan's text itself and shares no code with the rest of the engine, so that it can check the engine. In
each layer, tokens that bypass it are masked and their states restored afterwards; frozen tokens are only restored;
dropped halves of a layer return zeros.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import torch

from vlm.models.transformers_internals import attention_implementation, set_attention_implementation
from vlm.models.types import Forward, Model

_IMAGE_TOKEN = ("image_token_id", "image_token_index")


def numbers(text: str, size: int) -> set[int]:
    """The numbers below `size` that a text such as "0-4+24-" names."""
    result: set[int] = set()
    for item in text.split("+"):
        start, dash, stop = item.partition("-")
        result |= set(range(int(start), (int(stop) if stop else size) if dash else int(start) + 1))
    return {n for n in result if n < size}


def planned_logits(
    model: Model,
    batch: dict[str, torch.Tensor],
    text: str,
    *,
    prompt: int | None = None,
    maps: dict[int, torch.Tensor] | None = None,
    gradients: bool = False,
) -> torch.Tensor:
    """Logits (batch, tokens, vocabulary) of one uncached forward under a plan.

    Parameters
    ----------
    model : Model
        A model of any family.
    batch : dict
        Arguments of its forward.
    text : str
        The plan's text form.
    prompt : int, optional
        Number of prompt tokens, the last of which decides prunings; default: all tokens.
    maps : dict, optional
        Receives the attention maps (batch, heads, queries, keys) by layer.
    gradients : bool
        Whether gradients are recorded.
    """
    decoder = next(m for m in model.modules() if hasattr(m, "layers") and hasattr(m, "embed_tokens"))
    image = next(getattr(model.config, name) for name in _IMAGE_TOKEN if hasattr(model.config, name))
    depth, vision = len(decoder.layers), (batch["input_ids"] == image) & ("pixel_values" in batch)
    last = (prompt or vision.shape[1]) - 1
    words = [part.split(":") for part in text.split("/") if part != "none"]
    layers = {label: numbers(body, depth) for label, body in words if "=" not in body}
    keeps = [body.split("=") for label, body in words if label == "keep"]
    prunes = {int(body.split("=")[0]): float(body.split("=")[1]) for label, body in words if label == "prune"}
    ordinal = vision.long().cumsum(1) - 1
    maps = {} if maps is None else maps
    left: dict[int, torch.Tensor] = {}

    def bypassing(index: int) -> torch.Tensor:
        out = torch.zeros_like(vision)
        if index in layers.get("vision", ()):
            out |= vision
        if index in layers.get("text", ()):
            out |= ~vision
        for span, tokens in keeps:
            if index in numbers(span, depth):
                kept = torch.tensor(sorted(numbers(tokens, 10_000)), device=vision.device)
                out |= vision & ~torch.isin(ordinal, kept)
        for first, fraction in prunes.items():
            if index >= first:
                if first not in left:
                    left[first] = chosen(first, fraction)
                out |= vision & ~left[first]
        return out

    def chosen(first: int, fraction: float) -> torch.Tensor:
        out = torch.zeros_like(vision)
        away = bypassing(first - 1)
        for row in range(len(vision)):
            score = maps[first - 1][row, :, last].mean(0).detach()
            there = [int(j) for j in torch.nonzero(vision[row] & ~away[row])]
            best = sorted(there, key=lambda j: (-float(score[j]), j))
            out[row, best[: round(fraction * int(vision[row].sum()))]] = True
        return out

    def wrap(index: int, original: Forward) -> Forward:
        def forward(states: torch.Tensor, **kwargs: Any) -> Any:
            away = bypassing(index)
            mask = kwargs["attention_mask"]
            closed = away[:, None, None, :] & ~torch.eye(away.shape[1], dtype=torch.bool, device=away.device)
            kwargs["attention_mask"] = mask.masked_fill(closed, torch.finfo(mask.dtype).min)
            new = original(states, **kwargs)
            back = away | (vision if index in layers.get("freeze", ()) else False)
            return torch.where(back.unsqueeze(-1), states, new[0] if isinstance(new, tuple) else new)

        return forward

    def seeing(index: int, original: Forward) -> Forward:
        def forward(**kwargs: Any) -> Any:
            out, maps[index] = original(**kwargs)
            return (torch.zeros_like(out) if index in layers.get("attention", ()) else out), None

        return forward

    def silent(original: Forward) -> Forward:
        def forward(states: torch.Tensor) -> Any:
            out = original(states)
            return (torch.zeros_like(out[0]), out[1]) if isinstance(out, tuple) else torch.zeros_like(out)

        return forward

    with ExitStack() as stack:
        stack.enter_context(torch.set_grad_enabled(gradients))
        for config in {id(c): c for c in (decoder.config, model.config.get_text_config())}.values():
            stack.callback(set_attention_implementation, config, attention_implementation(config))
            set_attention_implementation(config, "eager")
        for index, layer in enumerate(decoder.layers):
            stack.enter_context(patch.object(layer, "forward", wrap(index, layer.forward)))
            stack.enter_context(patch.object(layer.self_attn, "forward", seeing(index, layer.self_attn.forward)))
            if index in layers.get("mlp", ()):
                branch = layer.mlp if hasattr(layer, "mlp") else layer.feed_forward
                stack.enter_context(patch.object(branch, "forward", silent(branch.forward)))
        logits: torch.Tensor = model(**batch, use_cache=False).logits
        return logits
