"""Image tokens that become weighted sums of image tokens before a layer."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vlm.engine.forward_call import Call
from vlm.engine.hooks import Engine
from vlm.engine.kv_cache import cache_in
from vlm.engine.layer_forward import partial_cache
from vlm.engine.token_roles import ordinals
from vlm.models.layer_parts import device_of
from vlm.models.types import Arguments, Forward
from vlm.plans.plan import SkipPlan
from vlm.plans.text_form import FEATURES, Terms

# Of one plan before one layer: ordinal of a token -> what it becomes.
Sums = Mapping[int, Terms]


def merged_first(engine: Engine, index: int, sums: Sequence[Sums], keeper: int | None, following: Forward) -> Forward:
    """The forward of a layer whose image tokens are merged before it runs.

    Parameters
    ----------
    engine : Engine
    index : int
        The layer.
    sums : sequence of Sums
        One per plan of the rows.
    keeper : int or None
        Cache slot of the first shortened layer that attends, where numbers of image tokens are kept.
    following : function
        The layer's forward under the rest of the plan.
    """
    layer = engine.parts.layers[index]
    names = list(inspect.signature(type(layer).forward).parameters)[2:]

    def forward(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        call = engine.current()
        kwargs |= dict(zip(names, args, strict=False))
        shown = call.images and bool(call.vision.any())
        # A prompt that begins without an image counts too: one may follow on its cache.
        if not call.decoding and (shown or not call.past):
            cache = cache_in(kwargs)
            if keeper is not None:
                partial_cache(cache, keeper)
            numbers = ordinals(call, cache)
            if shown:
                states = hidden_states.to(device_of(layer) or hidden_states.device)
                hidden_states = merged_states(call, states, numbers, sums)
        return following(hidden_states, **kwargs)

    return forward


def merged_states(call: Call, states: Tensor, numbers: Tensor, sums: Sequence[Sums]) -> Tensor:
    """States (batch, tokens, width) with the named image tokens replaced by sums, all of the states given.

    Parameters
    ----------
    call : Call
    states : Tensor (batch, tokens, width)
    numbers : int (batch, tokens)
        Number of each image token in its sample.
    sums : sequence of Sums
        One per plan; rows take them in turn, each for as many rows as there are times as many rows as plans.

    Raises
    ------
    ValueError
        A sum joins tokens of this call with some of an earlier call on the cache.
    """
    each = len(states) // len(sums)
    rows: list[int] = []
    targets: list[int] = []
    values: list[Tensor] = []
    for row, shown in enumerate(call.vision.cpu()):
        own = sums[row // each]
        places = torch.nonzero(shown)[:, 0].tolist()
        if not own or not places:
            continue
        first = int(numbers[row, places[0]])
        place = dict(enumerate(places, first))
        wanted: list[tuple[int, list[int], list[float]]] = []
        for token, terms in own.items():
            named = {token, *(other for other, _ in terms)}
            if min(named) < first and not named.isdisjoint(place):
                raise ValueError(
                    f"skipping: merge: image token {token} is joined with tokens of an earlier call on this cache, "
                    f"whose states are gone ({', '.join(map(str, sorted(named)))}; this call begins at {first}); give "
                    "the prompt in one call"
                )
            if token in place:
                found = [(place[other], weight) for other, weight in terms if other in place]
                wanted.append((place[token], [p for p, _ in found], [w for _, w in found]))
        for target, sources, weights in wanted:
            scale = torch.tensor(weights, dtype=torch.float32, device=states.device)
            rows.append(row)
            targets.append(target)
            values.append((scale @ states[row, sources].float()).to(states.dtype))
    if not rows:
        return states
    where = (torch.tensor(rows, device=states.device), torch.tensor(targets, device=states.device))
    return states.index_put(where, torch.stack(values))


class MergedFeatures:
    """The projector's forward on features of the vision encoder that are merged.

    Raises
    ------
    NotImplementedError
        The model has no projector that takes features (images, tokens, width), one for each image token.
    """

    def __init__(self, engine: Engine, plans: Sequence[SkipPlan]) -> None:
        self.engine = engine
        self.sums = [{token: terms for layer, token, terms in plan.merges if layer == FEATURES} for plan in plans]
        self.projector = getattr(engine.parts.inner, "multi_modal_projector", None)
        # Features of an image that `generate` encoded ahead of the call that reads them.
        self.ahead: int | None = None
        if any(self.sums) and not isinstance(self.projector, nn.Module):
            raise NotImplementedError(
                f"skipping: {self._name} has no multi_modal_projector, so that features cannot be merged before it "
                "(merge:image=); merge tokens before layer 0 (merge:0=)"
            )

    @property
    def _name(self) -> str:
        return type(self.engine.parts.model).__name__

    def forwards(self) -> dict[nn.Module, Forward]:
        """The projector's forward; empty if no plan merges features."""
        if self.projector is None or not any(self.sums):
            return {}
        original = self.projector.forward

        def forward(features: Tensor, *args: Any, **kwargs: Any) -> Any:
            return original(self._merged(features), *args, **kwargs)

        return {self.projector: forward}

    def check(self, given: Arguments) -> None:
        """Refuse, before it runs, a call whose images were encoded ahead of it but are not one in each row."""
        size, self.ahead = self.ahead, None
        ids = given.get("input_ids")
        if size is None or ids is None or given.get("mm_encoder_outputs") is None:
            return
        counts = torch.stack([ids == token for token in self.engine.parts.placeholders]).any(dim=0).sum(dim=1)
        if bool((counts != size).any()):
            raise NotImplementedError(
                f"skipping: merge:image= while generating needs one image of {size} tokens in every row, got rows of "
                f"{', '.join(map(str, counts.tolist()))} image tokens; run them apart, or merge before layer 0 "
                "(merge:0=)"
            )

    def _merged(self, features: Tensor) -> Tensor:
        call = self.engine.call
        whole = isinstance(features, Tensor) and features.ndim == 3
        if call is None and whole and len(features) % len(self.sums) == 0:
            self.ahead = features.shape[1]
            return merged_features([features.shape[1]] * len(features), features, self.sums)
        if call is None or call.past or not whole or features.shape[:2].numel() != int(call.vision.sum()):
            raise NotImplementedError(
                "skipping: merge:image= needs the whole prompt in one call, and one image token for each feature of "
                f"the encoder; this call of {self._name} has others (tiles, row ends, pooling, or a cache before it); "
                "merge tokens before layer 0 (merge:0=)"
            )
        return merged_features(call.vision.sum(dim=1).tolist(), features, self.sums)


def merged_features(counts: Sequence[int], features: Tensor, sums: Sequence[Sums]) -> Tensor:
    """Features (images, tokens, width) with the named ones merged; `counts` are the features of each row in turn."""
    flat, first = features.flatten(0, 1), 0
    new = flat
    for row, count in enumerate(counts):
        own = sums[row // (len(counts) // len(sums))]
        named = [token for token in own if token < count]
        if named:
            matrix = torch.zeros(len(named), count, dtype=torch.float32, device=flat.device)
            for line, token in enumerate(named):
                for other, weight in own[token]:
                    if other < count:
                        matrix[line, other] = weight
            values = (matrix @ flat[first : first + count].float()).to(flat.dtype)
            new = new.index_copy(0, torch.tensor(named, device=flat.device) + first, values)
        first += count
    return new.view(features.shape)
