"""Slow reference for every kind of plan: the model's own code on the full sequence, eager, without a cache.

It parses the plan's text itself and shares no code with the rest of the engine, so that it can check the engine. In
each layer, tokens that bypass it are masked and their states restored afterwards; frozen tokens are only restored;
dropped halves of a layer return zeros, and so does the feed-forward for tokens that leave before it. Where a layer's
own attention chooses, the layer runs twice, first for its map alone.
"""

from __future__ import annotations

from collections.abc import Callable
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
    embedding = ("embed_tokens", "embed_in")
    decoder = next(m for m in model.modules() if hasattr(m, "layers") and any(hasattr(m, name) for name in embedding))
    image = next(getattr(model.config, name) for name in _IMAGE_TOKEN if hasattr(model.config, name))
    vision = (batch["input_ids"] == image) & bool({"pixel_values", "pixel_values_images"} & set(batch))
    last = (prompt or vision.shape[1]) - 1
    run = _MaskedRun(text, len(decoder.layers), vision, last, {} if maps is None else maps)
    run.real = batch["attention_mask"].bool() if "attention_mask" in batch else torch.ones_like(vision)
    run.rotary = getattr(decoder, "rotary_emb", None)
    with ExitStack() as stack:
        stack.enter_context(torch.set_grad_enabled(gradients))
        for config in {id(c): c for c in (decoder.config, model.config.get_text_config())}.values():
            stack.callback(set_attention_implementation, config, attention_implementation(config))
            set_attention_implementation(config, "eager")
        if any(where == "image" for where, *_ in run.merges):
            module = next(m for n, m in model.named_modules() if n.split(".")[-1] == "multi_modal_projector")
            stack.enter_context(patch.object(module, "forward", run.projector(module.forward)))
        for index, layer in enumerate(decoder.layers):
            attention = getattr(layer, "self_attn", None) or getattr(layer, "attention", None)
            if attention is None:
                stack.enter_context(patch.object(layer, "forward", run.recurrent(index, layer.forward)))
                continue
            stack.enter_context(patch.object(layer, "forward", run.layer(index, layer.forward)))
            stack.enter_context(patch.object(attention, "forward", run.attention(index, attention.forward)))
            if index in run.layers.get("mlp", ()) or index in run.leaves:
                names = ("mlp", "feed_forward", "block_sparse_moe", "fc2")
                branches = [next(getattr(layer, n) for n in names if hasattr(layer, n))]
                branches += [m for n, m in layer.named_children() if n in ("shared_mlp", "moe")]
                kept = None if index in run.layers.get("mlp", ()) else run.fed(index)
                for branch in branches:
                    stack.enter_context(patch.object(branch, "forward", _zero(branch.forward, kept)))
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
        ranks, leaves, merges = ([b.split("=") for label, b in words if label == n] for n in ("rank", "leave", "merge"))
        self.ranks = {int(layer): float(fraction) for layer, fraction in ranks}
        self.leaves = {int(layer): float(fraction) for layer, fraction in leaves}
        self.merges = [(layer, *body.split("~")) for layer, body in merges]
        self.unranked: dict[int, torch.Tensor] = {}
        self.unleft: dict[int, torch.Tensor] = {}
        self.real = vision
        self.vision, self.last, self.maps = vision, last, maps
        self.ordinal = vision.long().cumsum(1) - 1
        self.unpruned: dict[int, torch.Tensor] = {}
        self.rotary: Any = None

    def bypassing(self, index: int, *, ranked: bool = True) -> torch.Tensor:
        """The tokens that bypass a layer, bool (batch, tokens); those of its own choice if `ranked`."""
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
                    score = self.maps[first - 1][:, :, self.last].mean(1)
                    self.unpruned[first] = self.highest(score, self.vision & ~self.bypassing(first - 1), fraction)
                out |= self.vision & ~self.unpruned[first]
        for first in self.ranks:
            if index > first or (index == first and ranked):
                out |= self.vision & ~self.unranked[first]
        for first in self.leaves:
            if index > first:
                out |= self.vision & ~self.unleft[first]
        return out

    def highest(self, score: torch.Tensor, candidates: torch.Tensor, fraction: float) -> torch.Tensor:
        """The candidates with the highest scores (batch, tokens), a fraction of each row's image tokens."""
        out, score = torch.zeros_like(self.vision), score.detach()
        for row in range(len(self.vision)):
            positions = [int(j) for j in torch.nonzero(candidates[row])]
            best = sorted(positions, key=lambda j: (-float(score[row, j]), j))
            out[row, best[: round(fraction * int(self.vision[row].sum()))]] = True
        return out

    def product(self, index: int) -> torch.Tensor:
        """Attention to each token from text, summed, times that from image tokens, averaged; largest over heads."""
        away = self.bypassing(index)
        out = torch.zeros(self.vision.shape)
        for row, largest in enumerate(self.maps[index].detach().amax(1)):
            text = self.real[row] & ~self.vision[row] & ~away[row]
            text[self.last + 1 :] = False  # what is decoded later does not choose
            image = self.vision[row] & ~away[row]
            out[row] = largest[text].sum(0) * (largest[image].sum(0) / max(1, int(image.sum())))
        return out

    def fed(self, index: int) -> Callable[[], torch.Tensor]:
        """Which tokens (batch, tokens) the feed-forward of a layer changes, to be asked once the layer has attended."""

        def kept() -> torch.Tensor:
            if index in self.ranks and index not in self.unranked:
                return torch.ones_like(self.vision)  # the first run is for its map alone
            candidates = self.vision & ~self.bypassing(index)
            self.unleft[index] = self.highest(self.product(index), candidates, self.leaves[index])
            return ~self.vision | self.unleft[index]

        return kept

    def merged(self, index: int, states: torch.Tensor) -> torch.Tensor:
        """The states with the image tokens that are merged before a layer replaced."""
        new = states.clone()
        for row in range(len(states)):
            own = self.vision[row]
            new[row, own] = self.sums(str(index), states[row, own])
        return new

    def sums(self, where: str, tokens: torch.Tensor) -> torch.Tensor:
        """Image tokens (tokens, width) of one row, those merged at this place replaced."""
        new = tokens.clone()
        for layer, token, body in self.merges:
            if layer == where and int(token) < len(tokens):
                new[int(token)] = 0
                for term in body.split(","):
                    other, weight = term.split("x")
                    if int(other) < len(tokens):
                        new[int(token)] += float(weight) * tokens[int(other)]
        return new

    def projector(self, original: Forward) -> Forward:
        """A projector's forward on features (images, tokens, width) with those of each row merged."""

        def forward(features: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
            rows = torch.split(features.flatten(0, 1), self.vision.sum(1).tolist())
            merged = torch.cat([self.sums("image", row) for row in rows]).view(features.shape)
            out: torch.Tensor = original(merged, *args, **kwargs)
            return out

        return forward

    def layer(self, index: int, original: Forward) -> Forward:
        """A layer's forward that masks bypassing tokens and restores their states, and those of frozen tokens."""

        def forward(states: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
            states = self.merged(index, states)
            if index in self.ranks:
                away = self.bypassing(index, ranked=False)
                original(states, *args, **self.closed(index, states, away, kwargs))
                score = self.maps[index][:, :, self.last].mean(1)
                self.unranked[index] = self.highest(score, self.vision & ~away, self.ranks[index])
            away = self.bypassing(index)
            new = original(states, *args, **self.closed(index, states, away, kwargs))
            back = away | (self.vision if index in self.layers.get("freeze", ()) else False)
            return torch.where(back.unsqueeze(-1), states, new[0] if isinstance(new, tuple) else new)

        return forward

    def closed(self, index: int, states: torch.Tensor, away: torch.Tensor, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments of a layer with a mask and positions without these tokens."""
        # Rows of padding see nothing; in float64 the softmax, which is in float32, would make them NaN.
        lowest = max(torch.finfo(kind).min for kind in (torch.float32, kwargs["attention_mask"].dtype))
        mask = kwargs["attention_mask"].clamp(min=lowest)
        closed = away[:, None, None, :] & ~torch.eye(away.shape[1], dtype=torch.bool, device=away.device)
        kwargs = {**kwargs, "attention_mask": mask.masked_fill(closed, lowest)}
        if index in self.layers.get("renumber", ()):
            places = kwargs["position_ids"] - away.long().cumsum(1)
            kwargs |= {"position_ids": places, "position_embeddings": self.rotary(states, places)}
        return kwargs

    def recurrent(self, index: int, original: Forward) -> Forward:
        """The forward of a layer with a recurrent state, which reads each row's tokens without the bypassing ones."""

        def forward(states: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
            states = self.merged(index, states)
            away, mask = self.bypassing(index), kwargs.get("attention_mask")
            new = states.clone()
            if all(index in self.layers.get(half, ()) for half in ("attention", "mlp")):
                return new  # without both of its halves it is no layer
            for row in range(len(states)):
                stays = ~away[row]
                if bool(stays.any()):
                    kwargs["attention_mask"] = None if mask is None else mask[row : row + 1, stays]
                    new[row, stays] = original(states[row : row + 1, stays], *args, **kwargs)[0]
            return new

        return forward

    def attention(self, index: int, original: Forward) -> Forward:
        """An attention module's forward that stores its map, and returns zeros if the plan drops it."""

        def forward(*args: Any, **kwargs: Any) -> tuple[torch.Tensor, None]:
            out, self.maps[index] = original(*args, **kwargs)
            return (torch.zeros_like(out) if index in self.layers.get("attention", ()) else out), None

        return forward


def _zero(original: Forward, kept: Callable[[], torch.Tensor] | None = None) -> Forward:
    """A feed-forward branch that returns zeros, but for the tokens that are kept, and its routing if it has one."""

    def forward(states: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, object]:
        out = original(states)
        new = out[0] if isinstance(out, tuple) else out
        gone = torch.ones(1, dtype=torch.bool) if kept is None else ~kept().reshape(*new.shape[:-1], 1)
        new = new.masked_fill(gone.to(new.device), 0.0)
        return (new, out[1]) if isinstance(out, tuple) else new

    return forward
