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
    vision = (batch["input_ids"] == image) & bool({"pixel_values", "pixel_values_images"} & set(batch))
    last = (prompt or vision.shape[1]) - 1
    run = _MaskedRun(text, len(decoder.layers), vision, last, {} if maps is None else maps)
    run.rotary = getattr(decoder, "rotary_emb", None)
    with ExitStack() as stack:
        stack.enter_context(torch.set_grad_enabled(gradients))
        for config in {id(c): c for c in (decoder.config, model.config.get_text_config())}.values():
            stack.callback(set_attention_implementation, config, attention_implementation(config))
            set_attention_implementation(config, "eager")
        for index, layer in enumerate(decoder.layers):
            attention = getattr(layer, "self_attn", None)
            if attention is None:
                stack.enter_context(patch.object(layer, "forward", run.recurrent(index, layer.forward)))
                continue
            stack.enter_context(patch.object(layer, "forward", run.layer(index, layer.forward)))
            stack.enter_context(patch.object(attention, "forward", run.attention(index, attention.forward)))
            if index in run.layers.get("mlp", ()):
                names = ("mlp", "feed_forward", "block_sparse_moe", "fc2")
                branch = next(getattr(layer, n) for n in names if hasattr(layer, n))
                stack.enter_context(patch.object(branch, "forward", _zero(branch.forward)))
        logits: torch.Tensor = model(**batch, use_cache=False).logits
        return logits


class _MaskedRun:
    """One forward under a plan: which tokens bypass each layer, and the forwards that carry this out.

    `vision` (batch, tokens) marks image tokens; `last` is the position of the last prompt token; `maps` receives the
    attention maps by layer.
    """

    def __init__(self, text: str, depth: int, vision: torch.Tensor, last: int, maps: dict[int, torch.Tensor]) -> None:
        words = [part.split(":") for part in text.split("/") if part != "none"]
        self.layers = {label: numbers(body, depth) for label, body in words if "=" not in body}
        keeps = [body.split("=") for label, body in words if label == "keep"]
        self.keeps = [(numbers(span, depth), sorted(numbers(tokens, 10_000))) for span, tokens in keeps]
        prunes = [body.split("=") for label, body in words if label == "prune"]
        self.prunes = {int(layer): float(fraction) for layer, fraction in prunes}
        self.vision, self.last, self.maps = vision, last, maps
        self.ordinal = vision.long().cumsum(1) - 1
        self.unpruned: dict[int, torch.Tensor] = {}
        self.rotary: Any = None

    def bypassing(self, index: int) -> torch.Tensor:
        """The tokens that bypass a layer, bool (batch, tokens)."""
        out = torch.zeros_like(self.vision)
        if index in self.layers.get("vision", ()):
            out |= self.vision
        if index in self.layers.get("text", ()):
            out |= ~self.vision
        for span, tokens in self.keeps:
            if index in span:
                out |= self.vision & ~torch.isin(self.ordinal, torch.tensor(tokens, device=self.vision.device))
        for first, fraction in self.prunes.items():
            if index >= first:
                if first not in self.unpruned:
                    self.unpruned[first] = self.highest(first, fraction)
                out |= self.vision & ~self.unpruned[first]
        return out

    def highest(self, first: int, fraction: float) -> torch.Tensor:
        """The image tokens to which the last prompt token attends most in the layer before `first`."""
        out = torch.zeros_like(self.vision)
        candidates = self.vision & ~self.bypassing(first - 1)
        for row in range(len(self.vision)):
            score = self.maps[first - 1][row, :, self.last].mean(0).detach()
            positions = [int(j) for j in torch.nonzero(candidates[row])]
            best = sorted(positions, key=lambda j: (-float(score[j]), j))
            out[row, best[: round(fraction * int(self.vision[row].sum()))]] = True
        return out

    def layer(self, index: int, original: Forward) -> Forward:
        """A layer's forward that masks bypassing tokens and restores their states, and those of frozen tokens."""

        def forward(states: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
            away = self.bypassing(index)
            if index in self.layers.get("renumber", ()):
                places = kwargs["position_ids"] - away.long().cumsum(1)
                kwargs |= {"position_ids": places, "position_embeddings": self.rotary(states, places)}
            mask = kwargs["attention_mask"]
            closed = away[:, None, None, :] & ~torch.eye(away.shape[1], dtype=torch.bool, device=away.device)
            kwargs["attention_mask"] = mask.masked_fill(closed, torch.finfo(mask.dtype).min)
            new = original(states, *args, **kwargs)
            back = away | (self.vision if index in self.layers.get("freeze", ()) else False)
            return torch.where(back.unsqueeze(-1), states, new[0] if isinstance(new, tuple) else new)

        return forward

    def recurrent(self, index: int, original: Forward) -> Forward:
        """The forward of a layer with a recurrent state, which reads each row's tokens without the bypassing ones."""

        def forward(states: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
            away, mask = self.bypassing(index), kwargs.get("attention_mask")
            new = states.clone()
            for row in range(len(states)):
                stays = ~away[row]
                if bool(stays.any()):
                    kwargs["attention_mask"] = None if mask is None else mask[row : row + 1, stays]
                    new[row, stays] = original(states[row : row + 1, stays], *args, **kwargs)[0]
            return new

        return forward

    def attention(self, index: int, original: Forward) -> Forward:
        """An attention module's forward that stores its map, and returns zeros if the plan drops it."""

        def forward(**kwargs: Any) -> tuple[torch.Tensor, None]:
            out, self.maps[index] = original(**kwargs)
            return (torch.zeros_like(out) if index in self.layers.get("attention", ()) else out), None

        return forward


def _zero(original: Forward) -> Forward:
    """A feed-forward branch that returns zeros, together with its routing if it has one."""

    def forward(states: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, object]:
        out = original(states)
        return (torch.zeros_like(out[0]), out[1]) if isinstance(out, tuple) else torch.zeros_like(out)

    return forward
